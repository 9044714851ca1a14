"""``qwen-image-studio weights``: bring models here, say where they are, and find out whether they are whole."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.models.fetching import size_of
from qwen_image_studio.models.folders import Kind, Place, file_of, is_path, lacking, patterns_of, place_of
from qwen_image_studio.models.hub import NotPulled, Pulled, pull, source_in_words
from qwen_image_studio.models.lora_files import place_of as lora_place
from qwen_image_studio.models.pins import read_pin
from qwen_image_studio.models.served import named_models
from qwen_image_studio.models.table import MODELS, Model, find_model
from qwen_image_studio.models.tiers import TierLora
from qwen_image_studio.models.verifying import Verified, verify, verify_lora
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import largest_card_gib

_LINE_S = 30.0
"""Seconds between two lines about a pull that nobody watches on a terminal."""
_SHOWN = 12
"""Digits of a commit that are shown."""


@click.group()
def weights() -> None:
    """Weights of models: pull them, list them, verify them."""


@weights.command("pull")
@click.argument("name", metavar="MODEL")
@click.option("--revision", help="Commit, branch or tag to take from now on; default: the pinned commit.")
@click.option("--latest", is_flag=True, help="Take the newest commit from now on.")
def pull_weights(name: str, revision: str | None, latest: bool) -> None:
    """Fetch the weights of MODEL and the LoRAs of its tiers from the hub, or from the mirror that HF_ENDPOINT names.

    The first pull pins the newest commit; later ones, and the server, take the same. Broken off, it goes on later.
    """
    if revision and latest:
        raise click.UsageError("Name --revision or --latest, not both.")
    if revision and (".." in revision or revision.startswith("/")):
        raise click.UsageError(f"--revision {revision}: name a commit, a branch or a tag.")
    model = find_model(name, {**MODELS, **_served()})
    _refuse_folder(model)
    click.echo(f"{model.name}, licence {model.licence}: {source_in_words()}.", err=True)
    patterns = patterns_of(model, model.part_names)
    try:
        with _Progress().shown() as progress:
            brought = pull(model.repository, patterns, revision=revision, latest=latest, progress=progress)
            loras, failed = _bring_loras(model, progress, latest=latest)
    except KeyboardInterrupt:
        raise CannotServe(f"{model.name}: stopped. What has come is kept; the same command goes on there.") from None
    click.echo(_told(model, brought, loras))
    for line in _not_brought(model, failed):
        click.echo(line, err=True)
    if any(error.here for error in failed.values() if error):
        sys.exit(1)


@weights.command("list")
def list_weights() -> None:
    """List models: name, whether served, where the weights are, commit, size on disk, whole or not, LoRAs, licence."""
    served = _served()
    for model in {**served, **{name: row for name, row in MODELS.items() if name not in served}}.values():
        click.echo("\t".join(_cells(model, is_served=model.name in served)))
    click.echo(f"As it is set, {source_in_words()}.", err=True)


@weights.command("verify")
@click.argument("name", metavar="[MODEL]", required=False)
def verify_weights(name: str | None) -> None:
    """Compare files with the sums that the hub listed, offline; without MODEL, those of every model that is here."""
    models = {**MODELS, **_served()}
    chosen = [find_model(name, models)] if name else [model for model in models.values() if place_of(model)]
    if not all([_verify(model) for model in chosen]):
        sys.exit(1)


def _verify(model: Model) -> bool:
    """Verify a model and its tiers' LoRAs; say what was found, and return whether all is right."""
    if (place := place_of(model)) is None:
        raise CannotServe(f"{model.name} is not on this machine: qwen-image-studio weights pull {model.name}.")
    with _Progress().shown() as progress:
        progress.begin(f"{model.name}: verifying", _size(place.folder))
        found = verify(model, place, progress.add)
        loras = [verify_lora(repository, files, progress.add) for repository, files in _loras(model).items()]
    for path in (*found.missing, *found.damaged):
        state = "is missing" if path in found.missing else "is damaged"
        click.echo(f"{model.name}: {path} {state}; {_remedy(model, place)}", err=True)
    for path in (path for lora in loras for path in lora.damaged):
        click.echo(f"{model.name}: {path} is damaged; qwen-image-studio weights pull {model.name}", err=True)
    if found.sound and not any(lora.damaged for lora in loras):
        click.echo(_sound(model, found, loras))
        return True
    return False


def _sound(model: Model, found: Verified, loras: Iterable[Verified]) -> str:
    if not found.summed:
        return f"{model.name}: its weight files are there and not cut off; their sums are not known here."
    return f"{model.name}: {found.summed + sum(lora.summed for lora in loras)} files are as the hub listed them."


def _remedy(model: Model, place: Place) -> str:
    if model.miniature:
        return "git checkout, or pip install --force-reinstall ./server, brings it back"
    if place.kind is Kind.HUB:
        return f"qwen-image-studio weights pull {model.name}"
    return f"bring it into {place.folder} again from where that came from"


def _refuse_folder(model: Model) -> None:
    """Raise CannotServe for a model that nothing is pulled for, since it lies in a folder."""
    if model.miniature:
        raise CannotServe(f"{model.name}: its weights came with the package; there is nothing to pull.")
    if is_path(model.repository):
        raise CannotServe(f"{model.name} is served from {model.repository} (STUDIO_MODELS); nothing is pulled there.")


def _served() -> Mapping[str, Model]:
    settings = Settings()
    return named_models(settings, card_gib=largest_card_gib(settings))


def _loras(model: Model) -> dict[str, list[str]]:
    """Return the files of the tiers' LoRAs by the repository that they are pulled from."""
    files: dict[str, list[str]] = {}
    for lora in [recipe.lora for recipe in model.tiers.values()]:
        if lora and not is_path(lora.repository) and lora.file not in files.setdefault(lora.repository, []):
            files[lora.repository].append(lora.file)
    return files


def _bring_loras(
    model: Model, progress: "_Progress", *, latest: bool
) -> tuple[Sequence[Pulled], Mapping[str, NotPulled | None]]:
    """Pull the LoRAs of the tiers; return what has come, and by repository what has not all come, with the error."""
    brought: list[Pulled] = []
    failed: dict[str, NotPulled | None] = {}
    for repository, files in _loras(model).items():
        try:
            brought.append(pull(repository, files, latest=latest, progress=progress))
        except NotPulled as error:
            failed[repository] = error
        else:
            if not all(_is_lora_here(repository, file) for file in files):
                failed[repository] = None
    return brought, failed


def _not_brought(model: Model, failed: Mapping[str, NotPulled | None]) -> Iterator[str]:
    """Yield a line for each LoRA that could not be had: the tier that lacks it, why, and the remedy."""
    remedy = f"qwen-image-studio weights pull {model.name}"
    for tier, recipe in model.tiers.items():
        if (lora := recipe.lora) is None or lora.repository not in failed:
            continue
        error = failed[lora.repository]
        if error is not None or not _is_lora_here(lora.repository, lora.file):
            why = error or f"{lora.repository} has no file {lora.file}."
            yield (
                f"{model.name}: tier {tier}: its LoRA {lora.file} has not come: {why} The other tiers paint "
                f"without it; once it can be had, here or from another mirror (HF_ENDPOINT): {remedy}."
            )


def _told(model: Model, brought: Pulled, loras: Sequence[Pulled]) -> str:
    fetched = brought.fetched + sum(lora.fetched for lora in loras)
    pin = read_pin(model.repository)
    named = f" ({pin.revision})" if pin and pin.revision != brought.commit else ""
    tiers = f", and {sum(lora.size for lora in loras) / 1e9:.1f} GB of LoRAs" if loras else ""
    return (
        f"{model.name} is here: commit {brought.commit[:_SHOWN]}{named} of {model.repository}, "
        f"{brought.size / 1e9:.1f} GB in {brought.folder}{tiers}; fetched: {fetched / 1e9:.1f} GB."
    )


def _cells(model: Model, *, is_served: bool) -> Iterator[str]:
    place = place_of(model)
    yield model.name
    yield "served" if is_served else "-"
    yield "not here" if place is None else f"{place.kind}: {place.folder}" + (f", {model.file}" if model.file else "")
    yield place.folder.name[:_SHOWN] if place and place.kind is Kind.HUB else "-"
    yield f"{(_size(place.folder) + (size_of(file_of(model)) if model.file else 0)) / 1e9:.1f} GB" if place else "-"
    absent = lacking(model, place.folder, model.part_names) if place else []
    yield "-" if place is None else f"lacks {absent[0]}{_more(absent)}" if absent else "whole"
    loras = [_is_lora_here(repository, file) for repository, files in _loras(model).items() for file in files]
    yield f"{sum(loras)} of {len(loras)} LoRAs"
    yield model.licence


def _is_lora_here(repository: str, file: str) -> bool:
    return lora_place(TierLora(repository, file)) is not None


def _more(absent: Sequence[str]) -> str:
    return f" and {len(absent) - 1} more" if len(absent) > 1 else ""


def _size(folder: Path) -> int:
    """Return how many bytes the files of a folder have."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Progress:
    """A bar on a terminal; otherwise a line now and then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: Any = None
        self._size = self._done = 0
        self._told_at = 0.0

    @contextmanager
    def shown(self) -> Iterator["_Progress"]:
        """Show what begins within the block."""
        try:
            yield self
        finally:
            self._end()

    def begin(self, what: str, size: int) -> None:
        """Begin a bar, or say in a line what begins; of nothing, say nothing."""
        self._end()
        self._size, self._done, self._told_at = size, 0, time.monotonic()
        if size and sys.stderr.isatty():
            self._bar = click.progressbar(
                length=size, label=what, file=sys.stderr, update_min_steps=max(1, size // 1000)
            )
            self._bar.render_progress()
        elif size:
            click.echo(f"{what}: {size / 1e9:.2f} GB", err=True)

    def add(self, count: int) -> None:
        """Move the bar; without one, say how far it is where the last line is half a minute old."""
        with self._lock:
            self._done += count
            if self._bar:
                self._bar.update(count)
            elif self._size and time.monotonic() > self._told_at + _LINE_S:
                self._told_at = time.monotonic()
                click.echo(f"{self._done / 1e9:.2f} of {self._size / 1e9:.2f} GB", err=True)

    def _end(self) -> None:
        if self._bar:
            self._bar.render_finish()
        self._bar = None
