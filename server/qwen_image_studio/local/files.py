"""Operations from the shell: from files to files, without a server."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.contract.words import Operation, OutputFormat
from qwen_image_studio.credentials import Ingredient
from qwen_image_studio.gallery.attempt import origin_of, statement_on
from qwen_image_studio.imaging import Origin, encode
from qwen_image_studio.imaging.documents import can_make, document, layer_stem
from qwen_image_studio.imaging.opening import read_header
from qwen_image_studio.local.loras import with_files
from qwen_image_studio.local.studio import LocalStudio
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.operations.request import validated
from qwen_image_studio.planning.engine import Painted
from qwen_image_studio.planning.plan import PaintPlan, Plan
from qwen_image_studio.prompts.filling import check_job, fill
from qwen_image_studio.prompts.table import of_row, read_file, read_table
from qwen_image_studio.recipe import MASK, Input, Prepared, Upload, check_files
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, largest_card_gib

_SIGNED = frozenset({"PNG", "JPEG", "WEBP"})
"""Kinds of files whose content credentials are read; those of others are not kept."""
_FORMATS = {".png": OutputFormat.PNG, ".jpg": OutputFormat.JPEG, ".jpeg": OutputFormat.JPEG, ".webp": OutputFormat.WEBP}


def paint_to_files(
    operation: str, inputs: Sequence[Path], output: Path, options: dict[str, Any], mask: Path | None = None
) -> None:
    """Paint one request to files, with a progress bar on stderr and a line for each file on stdout.

    `options` are the contract's parameters by name; None stands for one left out. Raises StudioError and CannotServe.
    """
    if output.suffix.lower() not in _FORMATS:
        raise StudioError("invalid_value", f"{output}: the name must end in {', '.join(_FORMATS)}.", param="output")
    if not output.parent.is_dir():
        raise StudioError("invalid_value", f"{output.parent} is not a folder; make it first.", param="output")
    studio, asked = _open_studio(options)
    asked |= {"operation": operation, "output_format": _FORMATS[output.suffix.lower()]}
    _told(*_paint(studio, asked, inputs, _numbered(output), mask))


def layers_to_files(image: Path, folder: Path, documents: Sequence[str], options: dict[str, Any]) -> None:
    """Take an image apart into files of a folder, which is made: one for each layer, one of what they make together,
    and the `documents` (psd, pptx) that are asked for.

    `options` are the contract's parameters by name; None stands for one left out. Raises StudioError and CannotServe.
    """
    for kind in documents:
        if not can_make(ArchiveFormat(kind)):
            raise refusal("document", f"{kind} needs pip install 'qwen-image-studio[design]'; or leave it out")

    studio, asked = _open_studio(options)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def path_of(number: int, plan: Plan) -> Path:
        written.append(folder / f"{layer_stem(plan.layer_of(number))}.{plan.output_format.value}")
        return written[-1]

    _told(*_paint(studio, {**asked, "operation": Operation.LAYERS}, [image], path_of))
    for kind in documents:
        path = folder / f"layers.{kind}"
        path.write_bytes(document(kind, [_read(each) for each in written], studio.label.producer))
        click.echo(path)


def _told(lines: Sequence[str], warnings: Sequence[str]) -> None:
    """Print a line for each file, and the warnings."""
    for line in lines:
        click.echo(line)
    for warning in warnings:
        click.echo(f"Note: {warning}", err=True)


def _numbered(output: Path) -> Callable[[int, Plan], Path]:
    """Return the function that names the file of each picture: `output`, or of several a numbered one beside it."""
    return lambda number, plan: output if plan.images == 1 else output.with_stem(f"{output.stem}-{number}")


def batch_to_files(operation: str, table: Path, folder: Path, name: str, options: dict[str, Any]) -> None:
    """Paint one request for each row of a CSV or JSON file into a folder; the files are numbered from 1, like the rows.

    `name` is the suffix of the files, such as ``.png``. A row whose file exists is not painted again. Where a row
    fails, the reason is printed and the others go on; at the end StudioError tells how many have failed.
    """
    if name not in _FORMATS:
        raise StudioError("invalid_value", f"{name}: the format must be one of {', '.join(_FORMATS)}.", param="format")
    written = read_file(_read(table))
    read = read_table(written.text)
    for warning in (*written.warnings, *read.warnings):
        click.echo(f"Note: {warning}", err=True)
    rows = read.rows
    studio, asked = _open_studio(options)
    job = {**asked, "operation": operation}
    check_job(job, rows)
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for number, row in enumerate(rows, start=1):
        output = folder / f"row-{number:03d}{name}"
        if output.exists() or output.with_stem(f"{output.stem}-0").exists():
            click.echo(f"{output}  there already")
            continue
        try:
            with of_row(number - 1):
                filled = fill(job, row)
                inputs = [table.parent / file for file in _listed(filled.pop("image", None))]
                filled["output_format"] = _FORMATS[name]
                lines, _ = _paint(studio, filled, inputs, _numbered(output))
        except StudioError as error:
            failed += 1
            click.echo(f"Error: {error.message}", err=True)
            continue
        for line in lines:
            click.echo(line)
    if failed:
        raise StudioError("rows_failed", f"{failed} of {len(rows)} rows failed; run it again for those alone.")


def _paint(
    studio: LocalStudio,
    asked: dict[str, Any],
    inputs: Sequence[Path],
    path_of: Callable[[int, Plan], Path],
    mask: Path | None = None,
) -> tuple[list[str], list[str]]:
    """Paint one request to the file that `path_of` names for each picture, by its number from 0 and the plan; return a
    line for each file, and the warnings.
    """
    request = validated(asked)
    uploads = [Upload(str(path), _read(path)) for path in inputs]
    uploads += [] if mask is None else [Upload(MASK, _read(mask))]
    prepared = studio.prepare(request, uploads)
    plan, warnings, label = prepared.plan, list(prepared.warnings), studio.place_of(prepared)
    lines = []
    with click.progressbar(length=plan.all_steps, label=label, file=sys.stderr) as bar:
        for number, painted in enumerate(studio.paint(prepared, _Progress(bar, label).report)):
            path = path_of(number, plan)
            told = _write(path, painted, prepared, studio, uploads, plan.layer_of(number))
            lines.append(_line(path, painted))
            warnings += [warning for warning in (*painted.warnings, *told) if warning not in warnings]
    return lines, warnings


def _write(
    path: Path,
    painted: Painted,
    prepared: Prepared,
    studio: LocalStudio,
    uploads: Sequence[Upload],
    layer: int | None,
) -> list[str]:
    """Write the picture as a whole or not at all, since an existing file counts as done; return warnings about its
    signature.
    """
    label, credentials = studio.label, studio.credentials
    before: Origin = prepared.inputs[0].origin if prepared.inputs else {}
    made_from = origin_of(prepared.plan, painted.seed, before, layer)
    # The suffix of the file decides the format, whatever an instruction says.
    output_format = _FORMATS[path.suffix.lower()]
    quality = prepared.plan.output_quality
    image = label.on(painted.image) if isinstance(prepared.plan, PaintPlan) else painted.image
    by_ai, producer = "model" in made_from, label.producer
    data = encode(image, output_format, made_from, by_ai=by_ai, quality=quality, producer=producer)
    told: list[str] = []
    if credentials is not None:
        said = statement_on(prepared.plan, made_from, _sources(prepared.inputs, uploads))
        signed = credentials.signed(data, output_format.mime_type, said)
        data, told = signed.data, [signed.warning] if signed.warning else []
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_bytes(data)
    fresh.replace(path)
    return told


def _sources(inputs: Sequence[Input], uploads: Sequence[Upload]) -> list[Ingredient]:
    """Return the files that the inputs come from, with their own content credentials; those of kinds that have none,
    and a mask that was drawn from a region, as they were taken in.
    """
    found = []
    for number, taken in enumerate(inputs):
        data = uploads[number].data if number < len(uploads) else b""
        header = read_header(data)
        if header is not None and header.format in _SIGNED:
            found.append(Ingredient(data, OutputFormat(header.format.lower()).mime_type))
        elif taken.received is not None:
            found.append(Ingredient(taken.received.png, OutputFormat.PNG.mime_type))
    return found


def _line(path: Path, painted: Painted) -> str:
    seed = "" if painted.seed is None else f"  seed {painted.seed}"
    saved = "" if painted.compute_saved is None else f"  {painted.compute_saved:.0%} of the work saved"
    return f"{path}  {painted.image.width}x{painted.image.height}{seed}{saved}"


def _listed(images: Any) -> list[str]:
    """Return the names of the files in a row's cell, which may be one name, a list or empty."""
    return [str(images)] if isinstance(images, str) else [str(each) for each in images or ()]


class _Progress:
    """A progress bar that shows an engine's reports."""

    def __init__(self, bar: Any, label: str) -> None:
        self._bar, self._label = bar, label

    def report(self, phase: str, step: int, steps: int) -> None:
        """Show the phase and how many steps are done."""
        self._bar.label = f"{self._label}: {phase}"
        self._bar.update(max(0, step - self._bar.pos))


def _open_studio(options: dict[str, Any]) -> tuple[LocalStudio, dict[str, Any]]:
    """Return a studio that has the model named by --model, and the parameters that were given."""
    asked = {name: value for name, value in options.items() if value is not None and value != ()}
    settings = Settings()
    card_gib = largest_card_gib(settings)
    model, _, folder = str(asked.get("model", "")).partition("=")
    if folder or (model and model not in configured_models(settings, card_gib=card_gib)):
        settings = settings.model_copy(update={"models": (asked["model"],)})
        asked["model"] = model
    check_files(settings)
    models, loras = with_files(configured_models(settings, card_gib=card_gib), asked.pop("loras", ()))
    asked |= {"loras": loras} if loras else {}
    return LocalStudio(settings, models, devices(settings)[0].id), asked


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StudioError("unsupported_image", f"{path} cannot be read ({error.strerror}).", param="image") from error
