"""The allow-list of LoRAs: what the operator offers by name, for which models and to whom.

A file of TOML with a table ``[[loras]]`` for each; its fields are those of :class:`Lora`. Each process reads it once.
"""

import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qwen_image_studio.contract.caller import Caller
from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.contract.loras import LoraName
from qwen_image_studio.contract.words import MAX_LORA_SCALE, Language
from qwen_image_studio.system.files import at_home

SUFFIX = ".safetensors"
"""Ending of the files that are loaded. Other formats, such as pickles of torch, can hold code, which would run."""
_TABLE = "loras"


class Lora(BaseModel):
    """One LoRA that is offered."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: LoraName
    """Name by which requests ask for it."""
    models: tuple[str, ...] = Field(min_length=1)
    """Models that it was made for, by name, alias or repository id."""
    file: str = Field(min_length=1)
    """Path of the safetensors file: in the repository, where one is named, else on this machine, seen from the folder
    of the allow-list.
    """
    repository: str = ""
    """Repository id on the Hub, or a local folder; empty for a file alone."""
    revision: str = ""
    """Commit, branch or tag of the repository; empty for the one that is here, else its newest."""
    scale: float = Field(1.0, ge=-MAX_LORA_SCALE, le=MAX_LORA_SCALE, allow_inf_nan=False)
    """Weight where a request names none."""
    max_scale: float = Field(MAX_LORA_SCALE, gt=0, le=MAX_LORA_SCALE, allow_inf_nan=False)
    """Largest weight that may be asked for, either side of 0."""
    keys: frozenset[str] | None = None
    """Names of the API keys, or of their owners, that may use it; left out: all."""
    licence: str = Field(min_length=1)
    """Licence of the file, as an SPDX identifier where there is one."""
    about: Mapping[Language, str]
    """A sentence on what it does, in each language."""
    words: Mapping[Language, tuple[str, ...]] = Field(default_factory=dict)
    """Words that call for it in a prompt, in each language; left out: it needs none."""

    @field_validator("about", "words", mode="before")
    @classmethod
    def _is_a_table(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            raise ValueError('write it in both languages, as {en = "…", zh = "…"}')
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.file.endswith(SUFFIX):
            raise ValueError(f"file: it has to be a {SUFFIX} file; others can hold code and are not loaded")
        if abs(self.scale) > self.max_scale:
            raise ValueError("scale: it is beyond max_scale")
        if self.revision and not self.repository:
            raise ValueError("revision: it belongs to a repository")
        for field in ("about", *(["words"] if self.words else [])):
            if set(getattr(self, field)) != set(Language):
                raise ValueError(f"{field}: it has to be there in both languages, en and zh")
        return self

    def is_for(self, caller: Caller) -> bool:
        """Return whether the caller may use it; whoever needs no key here is the operator."""
        return self.keys is None or caller.key is None or bool(self.keys & {caller.key, caller.owner})


def usable(loras: Mapping[str, Lora], caller: Caller) -> dict[str, Lora]:
    """Return those that the caller may use; of others it hears nothing."""
    return {name: lora for name, lora in loras.items() if lora.is_for(caller)}


@cache
def offered(file: Path | None) -> Collection[Lora]:
    """Return the LoRAs of the operator's file; none without a file.

    Raises CannotServe that names the entry and the field for a file that cannot be used.
    """
    if file is None:
        return ()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(f"{file} cannot be read: {error}") from error
    if others := set(content) - {_TABLE}:
        raise _wrong(f"{file} has '{min(others)}'; the file may hold tables [[{_TABLE}]] and nothing else")
    rows = content.get(_TABLE, [])
    if not isinstance(rows, list):
        raise _wrong(f"{file}: write each LoRA as a table [[{_TABLE}]]")
    loras = [_read(file, number, row) for number, row in enumerate(rows, start=1)]
    names = [lora.name.casefold() for lora in loras]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _wrong(f"{file} has two LoRAs that are called {twice}")
    return tuple(loras)


def _read(file: Path, number: int, row: object) -> Lora:
    try:
        lora = Lora.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        named = row.get("name") if isinstance(row, dict) else None
        said = str(first["msg"]).removeprefix("Value error, ")
        place = "".join(f"{part}: " for part in first["loc"])
        raise _wrong(f"{file}: LoRA {named or number}: {place}{said}") from error
    if lora.repository:
        return lora
    return lora.model_copy(update={"file": str(file.parent.absolute() / at_home(lora.file))})


def _wrong(problem: str) -> CannotServe:
    return CannotServe(f"STUDIO_LORAS: {problem}")
