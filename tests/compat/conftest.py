"""The plugin under each SDK, as in its own tests."""

from tests.support.plugin import plugin, sdk_python

__all__ = ["plugin", "sdk_python"]
