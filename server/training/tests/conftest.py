"""The miniature and an engine that holds it, as the server's tests have them."""

from tests.server.conftest import engine, miniature, one_thread

__all__ = ["engine", "miniature", "one_thread"]
