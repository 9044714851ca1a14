"""The requests of ``replayed.toml``, and whether a client would find in an answer what it reads."""

import base64
import binascii
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image


def _png(alpha: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGBA", (96, 64), (200, 30, 30, alpha)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = _png(255)
MASK = _png(0)
"""A mask in OpenAI's convention that lets everything change."""
_WRITTEN = {
    "{base64}": base64.b64encode(PICTURE).decode(),
    "{data_url}": f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}",
}


@dataclass(frozen=True)
class Replayed:
    """A request as a client sends it, and what the client reads of the answer."""

    id: str
    client: str
    version: str
    task: str
    path: str
    reads: Mapping[str, str]
    method: str = "POST"
    key_header: str = "Authorization"
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    nulls: Sequence[str] = ()
    """Names of the JSON's fields that are null, for which TOML has no word."""
    form: Sequence[Sequence[str]] = ()
    files: Sequence[Sequence[str]] = ()
    urlencoded: bool = False
    lacks: Sequence[str] = ()
    how: str = "replayed"
    """How the client was tried, as the page of clients says it."""

    @property
    def body(self) -> dict[str, Any] | None:
        """Return the JSON with its pictures in place; None for a form."""
        return None if self.json is None else {**_filled(self.json), **dict.fromkeys(self.nulls)}

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Return the form's texts in order."""
        return [(name, _filled(value)) for name, value in self.form]

    @property
    def parts(self) -> list[tuple[str, tuple[str, bytes, str]]]:
        """Return the form's files in order: field, file name, bytes and type."""
        return [(name, (file, MASK if name == "mask" else PICTURE, kind)) for name, file, kind in self.files]

    def headers_with(self, key: str) -> dict[str, str]:
        """Return the headers, with the API key where the client puts it."""
        return {**self.headers, self.key_header: f"Bearer {key}" if self.key_header == "Authorization" else key}

    def misses(self, answer: Any) -> list[str]:
        """Return a sentence for each thing that the client would not find in the answer's JSON as it wants it."""
        wrong = [f"{path}: no {kind}" for path, kind in self.reads.items() if not _KINDS[kind](_at(answer, path))]
        return wrong + [f"{path}: is there" for path in self.lacks if _at(answer, path) is not None]


def read_replayed() -> list[Replayed]:
    """Return the rows of the table."""
    text = (Path(__file__).parent / "replayed.toml").read_text(encoding="utf-8")
    return [Replayed(**row) for row in tomllib.loads(text)["row"]]


def _filled(value: Any) -> Any:
    """Return a value with pictures in place of their words."""
    if isinstance(value, Mapping):
        return {name: _filled(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    return _WRITTEN.get(value, value) if isinstance(value, str) else value


def _at(answer: Any, path: str) -> Any:
    """Return what stands at a path such as ``data.0.url``; None where nothing does."""
    for step in path.split("."):
        try:
            answer = answer[int(step)] if isinstance(answer, list) else answer[step]
        except (KeyError, IndexError, TypeError):
            return None
    return answer


def _is_picture(value: object) -> bool:
    try:
        Image.open(BytesIO(base64.b64decode(str(value), validate=True))).load()
    except (OSError, binascii.Error):
        return False
    return True


_KINDS = {
    "text": lambda value: isinstance(value, str) and bool(value),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "link": lambda value: isinstance(value, str) and value.startswith(("http://", "https://")),
    "base64": _is_picture,
}
