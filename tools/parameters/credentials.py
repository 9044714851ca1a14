"""The credentials that the administrator enters for the provider."""

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from tools.client import StudioClient
from tools.parameters.tolerant import Tolerant, lowered
from tools.wishes import Language, language_of

DAEMONS_LIMIT = "PLUGIN_MAX_EXECUTION_TIMEOUT"
"""Name of the plugin daemon's setting of how long a call may last, in seconds; the daemon hands its environment on."""
USUAL_LIMIT_S = 600
MARGIN_S = 10
"""Time between the end of the longest budget and that of the daemon's, in seconds."""
_SPOKEN = ("brief", "prompt", "style_words", "product", "theme", "style", "occasion", "audience", "headline", "reason")
"""Parameters that hold a person's own words, the first that is there decides."""


class Credentials(Tolerant):
    """The credentials that the administrator entered for the provider."""

    FREE_TEXTS: ClassVar[frozenset[str]] = frozenset(("api_key",))

    server_url: str
    api_key: str = Field("", repr=False)
    verify_tls: bool = True
    time_budget: float = Field(540, ge=30, allow_inf_nan=False, validate_default=True)
    """Time for one call of a tool, in seconds."""
    language: Annotated[Literal["auto", "en", "zh"], BeforeValidator(lowered)] = "auto"
    """Language of progress, answers and errors; ``auto`` is that of the prompt."""

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

    @field_validator("time_budget")
    @classmethod
    def _within_the_daemons_limit(cls, value: float) -> float:
        longest = max(_longest_budget(), USUAL_LIMIT_S - MARGIN_S)
        if value > longest:
            raise ValueError(
                f"takes 30 to {longest:g} seconds; for more, first raise {DAEMONS_LIMIT} of Dify's plugin daemon, "
                "which ends a call at that time"
            )
        return min(value, _longest_budget())  # where the daemon's limit was lowered

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


def _longest_budget() -> float:
    """Return the longest time budget under the daemon's limit, in seconds."""
    said = os.environ.get(DAEMONS_LIMIT, "").strip()
    limit = int(said) if re.fullmatch(r"[1-9]\d{0,6}", said) else USUAL_LIMIT_S
    return max(limit - MARGIN_S, 1)


def language_for(credentials: Mapping[str, Any], parameters: Mapping[str, Any]) -> Language:
    """Return the language in which a call speaks: that of the setting, else of the person's own words."""
    setting = lowered(credentials.get("language"))
    if setting == "zh" or setting == "en":
        return setting
    said = (parameters.get(name) for name in _SPOKEN)
    return language_of(next((text for text in said if isinstance(text, str) and text.strip()), ""))


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
