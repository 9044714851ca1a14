"""An adapter of requests whose answers, headers and body together, are over by a deadline.

The time limits of requests begin anew with every byte, so a server that sends one now and then would hold a call for
ever.
"""

from collections.abc import Callable
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from tools.public_hosts import PublicConnection

Pools = dict[str, type[HTTPConnectionPool]]
"""Classes of urllib3's connection pools by scheme."""


class TimelyAdapter(HTTPAdapter):
    """An adapter whose answers end at ``until()``, in ``time.monotonic`` seconds, also those through a proxy."""

    def __init__(self, until: Callable[[], float]) -> None:
        self._until = until
        super().__init__()

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """Use connections that know the deadline."""
        super().init_poolmanager(*args, **settings)
        self.poolmanager.pool_classes_by_scheme = self.direct_pools()

    def proxy_manager_for(self, proxy: Any, **settings: Any) -> Any:
        """Use such connections to a proxy as well."""
        manager = super().proxy_manager_for(proxy, **settings)
        manager.pool_classes_by_scheme = _timely_pools(self._until)
        return manager

    def direct_pools(self) -> Pools:
        """Return the pools of connections without a proxy."""
        return _timely_pools(self._until)


def _timely_pools(until: Callable[[], float]) -> Pools:
    class Plain(HTTPConnection):
        deadline = property(lambda _: until())
        response_class = PublicConnection.response_class  # type: ignore[assignment]

    class Tls(HTTPSConnection):
        deadline = property(lambda _: until())
        response_class = PublicConnection.response_class  # type: ignore[assignment]

    return pools_of(Plain, Tls)


def pools_of(plain: type[HTTPConnection], tls: type[HTTPSConnection]) -> Pools:
    """Return urllib3's pools with these connections."""

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = tls

    return {"http": PlainPool, "https": TlsPool}
