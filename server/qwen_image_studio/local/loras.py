"""LoRAs without a server: those of the operator's allow-list, and files that the person at the shell names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from qwen_image_studio.contract.errors import StudioError, from_validation, refusal
from qwen_image_studio.contract.words import MAX_NAME_CHARS, Language
from qwen_image_studio.models.loras import SUFFIX, Lora
from qwen_image_studio.models.table import Model
from qwen_image_studio.system.files import at_home

_SCALED = re.compile(r"(?P<name>.+?)(?::(?P<scale>[-+]?[0-9.]+))?")


def with_files(models: Mapping[str, Model], asked: Sequence[str]) -> tuple[Mapping[str, Model], list[str]]:
    """Return the models with each LoRA that is asked for as FILE or FILE:SCALE, and what is asked for by names.

    Raises StudioError for a file that is not there, or of another format.
    """
    found: dict[str, Lora] = {}
    names = []
    for written in asked:
        match = _SCALED.fullmatch(written)
        if match is not None and is_file(match["name"]):
            lora = lora_of(Path(match["name"]))
            found[lora.name] = lora
            names.append(lora.name if match["scale"] is None else f"{lora.name}:{match['scale']}")
        else:
            names.append(written)
    return {name: replace(model, loras={**model.loras, **found}) for name, model in models.items()}, names


def is_file(written: str) -> bool:
    """Return whether a text means a file and no name of the allow-list."""
    return written.endswith(SUFFIX) or "/" in written or Path(written).is_file()


def lora_of(path: Path, name: str | None = None) -> Lora:
    """Return the LoRA in a file, by default under the file's name. Raises StudioError."""
    called = name or re.sub(r"[^\w.-]+", "-", path.stem).lstrip("-.")[:MAX_NAME_CHARS] or "lora"
    if not at_home(path).is_file():
        raise refusal("loras", f"{path} is not there; name a file, or a LoRA of the allow-list (STUDIO_LORAS)")
    told = dict.fromkeys(Language, path.name)
    try:
        file = str(at_home(path).absolute())
        return Lora(name=called, models=("*",), file=file, licence="not told", about=told)
    except ValidationError as error:
        said = from_validation(error, where="LoRA")
        raise StudioError(said.code, f"loras: {path.name}: {said.message}", param="loras") from error
