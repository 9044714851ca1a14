"""Folders of models: found on this machine or fetched, checked, and measured before anything is loaded."""

import json
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.models.hub import NotPulled, pull
from qwen_image_studio.models.modelscope import modelscope_folders
from qwen_image_studio.models.pins import commit_of, snapshot
from qwen_image_studio.models.table import Model
from qwen_image_studio.system.files import at_home

LOG = logging.getLogger(__name__)
TRANSFORMER = "transformer"
WEIGHED = ("text_encoder", "vae", TRANSFORMER)
"""Names of the parts that have weights, and so take memory."""


class Kind(StrEnum):
    """Who laid a model's folder."""

    FOLDER = "its folder"
    HUB = "the hub's cache"
    MODELSCOPE = "ModelScope's cache"


@dataclass(frozen=True)
class Place:
    """Where a model lies on this machine, whole or not."""

    folder: Path
    kind: Kind


def find_folder(model: Model, parts: Collection[str]) -> Path:
    """Return the local folder with these parts of the model, pulled into the Hugging Face cache if need be.

    Raises StudioError ``model_unavailable``.
    """
    check_file(model)
    place = place_of(model)
    if place and (place.kind is Kind.FOLDER or not lacking(model, place.folder, parts)):
        return place.folder
    if is_path(model.repository):
        raise unavailable(model, "there is no such folder")
    try:
        return pull(model.repository, patterns_of(model, parts)).folder
    except NotPulled as error:
        LOG.warning("%s", error)
        raise unavailable(model, error.reason) from error


def place_of(model: Model) -> Place | None:
    """Return where the model's folder is on this machine; None where there is none. Nothing is fetched.

    A repository is in the Hugging Face cache, at the commit that is pinned, or in ModelScope's; the first that is whole
    is taken, else the first.
    """
    folder = at_home(model.repository)
    if folder.is_dir():
        return Place(folder, Kind.FOLDER)
    if is_path(model.repository):
        return None
    found = [Place(folder, Kind.MODELSCOPE) for folder in modelscope_folders(model.repository)]
    if (commit := commit_of(model.repository)) and (folder := snapshot(model.repository, commit)).is_dir():
        found.insert(0, Place(folder, Kind.HUB))
    if len(found) < 2:
        return found[0] if found else None
    return next((place for place in found if is_whole(place.folder, weighed(model))), found[0])


def whole_place(model: Model) -> Place | None:
    """Return where the model lies with all its weights; None where they are not, or not all, on this machine."""
    place = place_of(model)
    if place is None or not is_whole(place.folder, weighed(model)) or (model.file and not file_of(model).is_file()):
        return None
    return place


def weighed(model: Model) -> tuple[str, ...]:
    """Return the parts whose weights lie in the model's folder: a transformer in a file of its own does not."""
    return tuple(name for name in WEIGHED if not (model.file and name == TRANSFORMER))


def file_of(model: Model) -> Path:
    """Return the path of the file that the transformer is read from, where it has one of its own."""
    return at_home(model.file)


def check_file(model: Model) -> None:
    """Raise StudioError ``model_unavailable`` where the model's transformer has a file of its own that is not there."""
    if model.file and not file_of(model).is_file():
        raise unavailable(model, f"there is no file {file_of(model).name}; correct STUDIO_MODELS", packaged=False)


def patterns_of(model: Model, parts: Collection[str]) -> list[str]:
    """Return which files of the model's repository make up these parts, as patterns of ``fnmatch``."""
    patterns = ["model_index.json", *(f"{part}/*" for part in parts if part not in WEIGHED or part in weighed(model))]
    if "processor" in parts:
        patterns.append("tokenizer/*")
    if model.file:
        patterns.append(f"{TRANSFORMER}/config.json")
    return patterns


def lacking(model: Model, folder: Path, parts: Collection[str]) -> list[str]:
    """Return what the folder lacks of these parts: names of weight files, and of parts that are not there at all."""
    absent: list[str] = []
    for name in parts:
        part = folder / name
        if not part.is_dir() or not any(part.iterdir()):
            absent.append(f"{name}/")
        elif name in weighed(model):
            absent += [f"{name}/{file.name}" for file in _absent(part)]
    return absent


def _absent(part: Path) -> list[Path]:
    """Return the files that a part with weights should have and has not; an unreadable index is one of them."""
    try:
        return [file for file in (part / "config.json", *_weight_files(part)) if not file.is_file()]
    except (ValueError, KeyError, OSError):
        return [part / f"{_stem(part)}.safetensors.index.json"]


def is_path(repository: str) -> bool:
    """Return whether that names a folder and cannot be a repository id."""
    return at_home(repository).is_absolute() or repository.startswith((".", "~"))


def inspect(folder: Path, model: Model, classes: Mapping[str, str]) -> int:
    """Check that each part is there, complete, and of its family's class; return how many numbers the parts hold.

    `classes` maps a part's name to its class. Raises StudioError ``model_unavailable`` that names the part.
    """
    check_file(model)
    for name in classes:
        if not (part := folder / name).is_dir() or not any(part.iterdir()):
            raise unavailable(model, f"it has no {name}/, which every model of this family has")
    return sum(_count(folder / name, model, expected) for name, expected in classes.items() if name in WEIGHED)


def _count(part: Path, model: Model, expected: str) -> int:
    """Check a part that has weights; return how many numbers they are."""
    try:
        absent = _absent(part) if part.name in weighed(model) else []
        if absent:
            raise unavailable(model, f"{part.name}/ is incomplete, it lacks {absent[0].name}; fetch it again")
        if (found := _class_of(part)) != expected:
            raise unavailable(model, f"it is not a model of this family: its {part.name} is {found}, not {expected}")
        files = _weight_files(part) if part.name in weighed(model) else [file_of(model)]
        return sum(_count_numbers(file) for file in files)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        damaged = f"a file in {part.name}/" if part.name in weighed(model) else f"{file_of(model).name}, or its config,"
        raise unavailable(model, f"{damaged} is damaged; fetch it again") from error


def is_whole(folder: Path, parts: Collection[str] = WEIGHED) -> bool:
    """Return whether the folder has all weight files of these parts."""
    try:
        return all(file.is_file() for part in parts for file in _weight_files(folder / part))
    except (ValueError, KeyError, OSError):
        return False


def unavailable(model: Model, reason: str, packaged: bool = True) -> StudioError:
    """Return the error for a model that cannot be loaded; it names the repository but not the host's folders.

    `packaged` says whether what is wrong came with the package, if the model did: a file that was named did not.
    """
    path = at_home(model.repository)
    shown = "/".join(path.parts[-2:]) if path.is_absolute() else model.repository
    remedy = (
        " Its weights belong to the package: git checkout, or pip install --force-reinstall ./server, brings them back."
        if model.miniature and packaged
        else ""
    )
    return StudioError("model_unavailable", f"{model.name} ({shown}): {reason}.{remedy}", param="model")


def _class_of(part: Path) -> str:
    config = _read_json(part / "config.json")
    # diffusers writes _class_name, transformers writes architectures.
    return str(config.get("_class_name") or (config.get("architectures") or ["unknown"])[0])


def _count_numbers(path: Path) -> int:
    """Count the numbers in a safetensors file from its head.

    Of a GGUF file, it is as many as would take its bytes in bf16: its weights stay as they are in memory.
    """
    if path.suffix.casefold() == ".gguf":
        return path.stat().st_size // 2
    tensors, _ = head_of(path)
    return sum(math.prod(tensor["shape"]) for tensor in tensors.values())


def head_of(path: Path) -> tuple[dict[str, Any], int]:
    """Return what a safetensors file says of each of its tensors, and the byte at which their data begin.

    It begins with eight bytes of length, little-endian, then JSON. Raises ValueError or AttributeError for another kind
    of file, and OSError.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"{path.name} is not a safetensors file")
        head = json.loads(file.read(length))
    return {name: about for name, about in head.items() if name != "__metadata__"}, 8 + length


def _weight_files(part: Path) -> list[Path]:
    """Return the weight files that the part's index names; without an index, the one file that should be there."""
    stem = _stem(part)
    index = part / f"{stem}.safetensors.index.json"
    if index.is_file():
        return [part / shard for shard in sorted(set(_read_json(index)["weight_map"].values()))]
    return [part / f"{stem}.safetensors"]


def _stem(part: Path) -> str:
    # transformers and diffusers name their files differently
    return "model" if part.name == "text_encoder" else "diffusion_pytorch_model"


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
