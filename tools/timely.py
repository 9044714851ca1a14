"""An adapter of requests whose answers, headers and body together, are over by a deadline.

The time limits of requests begin anew with every byte, so a server that sends one now and then would hold a call for
ever.
"""

from collections.abc import Callable, Mapping
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from tools.public_hosts import PublicConnection

Pools = dict[str, Any]
"""Makers of urllib3's connection pools by scheme."""


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
        manager.pool_classes_by_scheme = self._timely_pools()
        return manager

    def direct_pools(self) -> Pools:
        """Return the pools of connections without a proxy."""
        return self._timely_pools()

    def _timely_pools(self) -> Pools:
        return pools_of(_Timely, _TimelyTls, {"until": self._until})


class _Timely(HTTPConnection):
    """A connection whose answers are read within the deadline of the moment at which each begins."""

    until: Callable[[], float]
    response_class = PublicConnection.response_class  # type: ignore[assignment]

    @property
    def deadline(self) -> float:
        """Time on the monotonic clock, in seconds; the reader of an answer asks for it."""
        return self.until()


class _TimelyTls(_Timely, HTTPSConnection):
    """The same over TLS."""


def pools_of(plain: type[HTTPConnection], tls: type[HTTPSConnection], limits: Mapping[str, Any]) -> Pools:
    """Return urllib3's pools of these connections, each of which gets ``limits`` as its attributes.

    Nothing here is a class of its own: those of every call would stay in memory until Python looks for circles.
    """
    return {"http": _maker(HTTPConnectionPool, plain, limits), "https": _maker(HTTPSConnectionPool, tls, limits)}


def _maker(
    kind: type[HTTPConnectionPool], connection: type[HTTPConnection], limits: Mapping[str, Any]
) -> Callable[..., HTTPConnectionPool]:
    def connected(**settings: Any) -> HTTPConnection:
        made = connection(**settings)
        vars(made).update(limits)
        return made

    def pool(host: str, port: int | None = None, **settings: Any) -> HTTPConnectionPool:
        made = kind(host, port, **settings)
        vars(made)["ConnectionCls"] = connected
        return made

    return pool
