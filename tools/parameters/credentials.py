"""The credentials that the administrator enters for the provider."""

import ipaddress
import re
from typing import ClassVar

from pydantic import Field, field_validator

from tools.client import StudioClient
from tools.parameters.tolerant import Tolerant


class Credentials(Tolerant):
    """The credentials that the administrator entered for the provider."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset(("api_key",))

    server_url: str
    api_key: str = Field("", repr=False)
    verify_tls: bool = True
    time_budget: float = Field(540, ge=30, le=590, allow_inf_nan=False)
    """Time for one call of a tool, in seconds; Dify's plugin daemon ends a call at 600."""

    @field_validator("server_url")
    @classmethod
    def _base_address(cls, value: str) -> str:
        if not (match := re.fullmatch(r"(?i)(https?)://([^/?#\s]+)(/[^?#\s]*)?", value)):
            raise ValueError("write the server's address with http:// or https://, such as http://gpu-box:8300")
        scheme, host, path = match.group(1).lower(), match.group(2), match.group(3) or ""
        if "@" in host:
            raise ValueError("leave user and password out of the address; the key belongs into api_key")
        if not _is_possible(host):
            raise ValueError("the host or the port cannot be right; write it like http://gpu-box:8300")
        # People often paste the address of a route instead of the base.
        return f"{scheme}://{host}{re.sub(r'(/v1(/.*)?)?/*$', '', path)}"

    @field_validator("api_key")
    @classmethod
    def _printable(cls, value: str) -> str:
        key = re.sub(r"(?i)^bearer\s+", "", value)
        if not re.fullmatch(r"[!-~]*", key):
            raise ValueError("has a character that no key has, such as a space or a line break; copy it again")
        return key

    def client(self) -> StudioClient:
        """Return a client with these credentials; its time budget begins now."""
        return StudioClient(self.server_url, self.api_key, verify_tls=self.verify_tls, time_budget_s=self.time_budget)


def _is_possible(host: str) -> bool:
    """Return whether a host with its port is well-formed, so that nothing fails because of it later."""
    if not (match := re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::(\d{1,5}))?", host)):
        return False
    literal, name, port = match.groups()
    try:
        if literal:
            ipaddress.IPv6Address(literal)
        else:
            name.encode("idna")
    except ValueError:
        return False
    return int(port or 80) in range(1, 65536)
