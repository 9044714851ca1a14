"""Files of LoRAs: found on this machine or fetched, and told from others by what is in them."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import httpx2
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Tier
from qwen_image_studio.models.folders import is_path
from qwen_image_studio.models.hub import NotPulled, file_of
from qwen_image_studio.models.modelscope import modelscope_folders
from qwen_image_studio.models.pins import commit_of, snapshot
from qwen_image_studio.models.revision import mark
from qwen_image_studio.models.table import Model
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.system.files import at_home

LOG = logging.getLogger(__name__)


class InFile(Protocol):
    """Where the file of a LoRA lies, which may be one of the operator's or one that belongs to a tier."""

    @property
    def repository(self) -> str:
        """Repository id on the Hub or a local folder; empty for a file alone."""

    @property
    def file(self) -> str:
        """Path of the file in it, or on this machine."""

    @property
    def revision(self) -> str:
        """Commit, branch or tag of the repository; empty for the one that is here, else its newest."""


def place_of(lora: InFile) -> Path | None:
    """Return where the file lies on this machine; None where it is not here. Nothing is fetched."""
    return next((path for path in _places(lora) if path.is_file()), None)


def bring(name: str, lora: InFile) -> Path:
    """Return the file, fetched into the Hugging Face cache if need be. Raises StudioError ``model_unavailable``."""
    if (here := place_of(lora)) is not None:
        return here
    if _local(lora) is not None:
        raise unusable(name, "its file is not there; put it back, or correct STUDIO_LORAS")
    try:
        if not lora.revision:
            return file_of(lora.repository, lora.file)
        # A pull would move the pin of the repository, to which other files may belong.
        return Path(hf_hub_download(lora.repository, lora.file, revision=lora.revision))
    except (NotPulled, HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
        LOG.warning("cannot fetch %s of %s: %s", lora.file, lora.repository, error)
        reason = f"{lora.file} is not on this machine and cannot be fetched from {lora.repository}"
        raise unusable(name, f"{reason}; check the names and the network, or name a file") from error


def marked(name: str, path: Path) -> str:
    """Return what tells the file's content from any other. Raises StudioError ``model_unavailable``."""
    try:
        return mark_of(path)
    except OSError as error:
        LOG.warning("cannot read LoRA %s: %s", name, error)
        raise unusable(name, "its file cannot be read; the server's log says more") from error


def mark_of(path: Path) -> str:
    """Return what tells the file's content from any other. Raises OSError."""
    about = path.stat()
    return _mark(path, about.st_size, about.st_mtime_ns)


def marks_of(model: Model) -> dict[str, str]:
    """Return what tells each LoRA of a model from others whose file is here and can be read, by the name in offers."""
    loras: dict[str, InFile] = {
        tier_mark(tier): recipe.lora for tier, recipe in model.tiers.items() if recipe.lora is not None
    }
    marks: dict[str, str] = {}
    for name, lora in {**loras, **model.loras}.items():
        with suppress(OSError):
            if (place := place_of(lora)) is not None:
                marks[name] = mark_of(place)
    return marks


def tier_mark(tier: Tier) -> str:
    """Return the name in offers of the LoRA that belongs to a tier; no offered one can have it."""
    return f"tier:{tier.value}"


def with_loras(revision: str | None, model: Model, plan: PaintPlan) -> str | None:
    """Return what tells the weights that a plan is painted with: the model's, of that revision, and those of LoRAs.

    None where some of them are not on this machine, or cannot be read.
    """
    places = [place_of(lora) for lora in _files(model, plan)]
    if revision is None or None in places:
        return None
    try:
        return " ".join([revision, *(mark_of(place) for place in places if place)])
    except OSError as error:  # it was taken away meanwhile, or may not be read: whoever paints says so
        LOG.warning("cannot read a LoRA: %s", error)
        return None


def files_of(model: Model) -> Iterator[tuple[str, InFile]]:
    """Yield every LoRA that a model may be painted with, after its name for people: its tiers' and the offered ones."""
    for tier, recipe in model.tiers.items():
        if recipe.lora is not None:
            yield name_of(tier), recipe.lora
    yield from model.loras.items()


def name_of(tier: Tier) -> str:
    """Return what the LoRA of a tier is called for people."""
    return f"of the tier {tier.value}"


def unusable(name: str, reason: str) -> StudioError:
    """Return the error for a LoRA that cannot be used; `reason` is a sentence with the remedy, without full stop."""
    return StudioError("model_unavailable", f"LoRA {name}: {reason}.", param="loras")


def _files(model: Model, plan: PaintPlan) -> Iterator[InFile]:
    if (own := model.recipe(plan.tier).lora) is not None:
        yield own
    for use in plan.loras:
        if use.name in model.loras:
            yield model.loras[use.name]


def _local(lora: InFile) -> Path | None:
    """Return the path of a file that no hub has; None for one of a repository."""
    folder = at_home(lora.repository)
    return folder / lora.file if not lora.repository or folder.is_dir() or is_path(lora.repository) else None


def _places(lora: InFile) -> Iterator[Path]:
    """Yield where the file may lie, first where it is looked for first."""
    if (local := _local(lora)) is not None:
        yield local
    elif not lora.revision:
        if commit := commit_of(lora.repository):
            yield snapshot(lora.repository, commit) / lora.file
        yield from (folder / lora.file for folder in modelscope_folders(lora.repository))
    else:
        with suppress(HFValidationError):  # no name that the hub could know
            found = try_to_load_from_cache(lora.repository, lora.file, revision=lora.revision)
            yield from [Path(found)] if isinstance(found, str) else []


@lru_cache(maxsize=256)
def _mark(path: Path, size: int, written: int) -> str:
    """Return the mark of a file with that size and time of writing, so that it is read once for each."""
    return mark(path)
