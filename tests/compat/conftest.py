"""Fixtures of the plugin's tests, which these need too."""

from tests.plugin.conftest import _no_proxy_from_outside, plugin, sdk_python

__all__ = ["_no_proxy_from_outside", "plugin", "sdk_python"]
