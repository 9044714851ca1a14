"""Folders of models: found on this machine or fetched, checked, and measured before anything is loaded."""

import json
import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.models.table import Model

LOG = logging.getLogger(__name__)
WEIGHED = ("text_encoder", "vae", "transformer")
"""Names of the parts that have weights, and so take memory."""


def find_folder(model: Model, parts: Collection[str]) -> Path:
    """Return the local folder with these parts of the model, fetched into the Hugging Face cache if need be.

    Raises StudioError ``model_unavailable``.
    """
    folder = Path(model.repository).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model.repository.startswith((".", "~")):
        raise unavailable(model, "there is no such folder")
    patterns = ["model_index.json", *(f"{part}/*" for part in parts)]
    if "processor" in parts:
        patterns.append("tokenizer/*")
    cause: Exception
    try:
        return Path(snapshot_download(model.repository, allow_patterns=patterns))
    except GatedRepoError as error:
        cause, reason = error, "its terms have to be accepted on the Hub first; then set HF_TOKEN"
    except (RepositoryNotFoundError, HFValidationError) as error:
        cause, reason = error, "no such repository or folder; check the name, or set HF_TOKEN if it is private"
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        cause, reason = error, "it is not on this machine and cannot be fetched; check the network or name a folder"
    LOG.warning("cannot fetch %s: %s", model.repository, cause)
    raise unavailable(model, reason) from cause


def inspect(folder: Path, model: Model, classes: Mapping[str, str]) -> int:
    """Check that each part is there, complete, and of its family's class; return how many numbers the parts hold.

    `classes` maps a part's name to its class. Raises StudioError ``model_unavailable`` that names the part.
    """
    count = 0
    for name, expected in classes.items():
        part = folder / name
        if not part.is_dir() or not any(part.iterdir()):
            raise unavailable(model, f"it has no {name}/, which every model of this family has")
        if name not in WEIGHED:
            continue
        try:
            absent = [file.name for file in [part / "config.json", *_weight_files(part)] if not file.is_file()]
            if absent:
                raise unavailable(model, f"{name}/ is incomplete, it lacks {absent[0]}; fetch it again")
            if (found := _class_of(part)) != expected:
                raise unavailable(model, f"it is not a model of this family: its {name} is {found}, not {expected}")
            count += sum(_count_numbers(file) for file in _weight_files(part))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise unavailable(model, f"a file in {name}/ is damaged; fetch it again") from error
    return count


def is_whole(folder: Path) -> bool:
    """Return whether the folder has all weight files of every part that has weights."""
    try:
        return all(file.is_file() for part in WEIGHED for file in _weight_files(folder / part))
    except (ValueError, KeyError, OSError):
        return False


def unavailable(model: Model, reason: str) -> StudioError:
    """Return the error for a model that cannot be loaded; it names the repository but not the host's folders."""
    path = Path(model.repository).expanduser()
    shown = "/".join(path.parts[-2:]) if path.is_absolute() else model.repository
    remedy = (
        " Its weights belong to the package: git checkout, or pip install --force-reinstall ./server, brings them back."
        if model.miniature
        else ""
    )
    return StudioError("model_unavailable", f"{model.name} ({shown}): {reason}.{remedy}", param="model")


def _class_of(part: Path) -> str:
    config = _read_json(part / "config.json")
    # diffusers writes _class_name, transformers writes architectures.
    return str(config.get("_class_name") or (config.get("architectures") or ["unknown"])[0])


def _count_numbers(path: Path) -> int:
    """Count the numbers in a safetensors file from its head: eight bytes of length, little-endian, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"{path.name} is not a safetensors file")
        head = json.loads(file.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")


def _weight_files(part: Path) -> list[Path]:
    """Return the weight files that the part's index names; without an index, the one file that should be there."""
    stem = "model" if part.name == "text_encoder" else "diffusion_pytorch_model"
    index = part / f"{stem}.safetensors.index.json"
    if index.is_file():
        return [part / shard for shard in sorted(set(_read_json(index)["weight_map"].values()))]
    return [part / f"{stem}.safetensors"]


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
