"""An engine with the miniature for the tests of the server."""

from tests.support.miniature import engine, miniature, one_thread

__all__ = ["engine", "miniature", "one_thread"]
