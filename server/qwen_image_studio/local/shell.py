"""Every operation from a shell: the same plan, engine and encoding as a job, without a server."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from PIL import Image

from qwen_image_studio.adjusting.engine import AdjustEngine
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import LIGHT, AspectRatio, OutputFormat, PromptKind
from qwen_image_studio.gallery.attempt import facts
from qwen_image_studio.guard.terms import check_words
from qwen_image_studio.imaging import Facts, encode, open_image, read_facts
from qwen_image_studio.imaging.masks import Mask, open_mask, region_mask
from qwen_image_studio.intake import Submission, Upload, check_files, checked, validated
from qwen_image_studio.models.table import configured_models
from qwen_image_studio.operations.plan import plan
from qwen_image_studio.operations.requests import InpaintRequest, Request
from qwen_image_studio.operations.texts import filled, texts_of
from qwen_image_studio.planning.engine import Engine, Painted, open_engine
from qwen_image_studio.planning.plan import Plan
from qwen_image_studio.prompts.table import check_job, decode, fill, of_row, read_rows
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, largest_card_gib

Command = TypeVar("Command", bound=Callable[..., Any])
_FORMATS = {".png": OutputFormat.PNG, ".jpg": OutputFormat.JPEG, ".jpeg": OutputFormat.JPEG, ".webp": OutputFormat.WEBP}
_OPTIONS = (
    click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True,
                 help="File to write: .png, .jpg or .webp; with -n 2 and more, numbered files."),
    click.option("--model", help="A model's name, or NAME=FOLDER; default: as the server's."),
    click.option("--negative-prompt", help="What to keep out."),
    click.option("--steps", type=int, help="Denoising steps; default: the model's."),
    click.option("--guidance-scale", type=float, help="True CFG; 1 is off; default: the model's."),
    click.option("--seed", type=int, help="Default: random; it is printed."),
    click.option("-n", "n", type=int, help="How many images; default: 1."),
    click.option("--output-quality", type=int, help="1 to 100, of .jpg and .webp; default: 95."),
)  # fmt: skip
_SIZES = (
    click.option("--size", help="WIDTHxHEIGHT in pixels."),
    click.option("--aspect-ratio", type=click.Choice([ratio.value for ratio in AspectRatio])),
)
_PARTS = (
    click.option("--strength", type=float, help="How far to go from what is there, above 0 to 1."),
    click.option("--prompt-kind", type=click.Choice([kind.value for kind in PromptKind]),
                 help="What PROMPT is; default: an instruction where the model takes one."),
)  # fmt: skip


def part_options(command: Command) -> Command:
    """Give a click command the options of painting a part of an image or its surroundings."""
    for option in reversed((*_OPTIONS, *_PARTS)):
        command = option(command)
    return command


def painting_options(command: Command) -> Command:
    """Give a click command the options of painting a whole image."""
    for option in reversed((*_OPTIONS, *_SIZES)):
        command = option(command)
    return command


def region(_context: click.Context, _option: click.Parameter, value: str | None) -> dict[str, float] | None:
    """Read X,Y,WIDTH,HEIGHT."""
    if value is None:
        return None
    try:
        x, y, width, height = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("write X,Y,WIDTH,HEIGHT in pixels, or in fractions of the image") from None
    return {"x": x, "y": y, "width": width, "height": height}


def paint_to_files(
    operation: str, inputs: Sequence[Path], output: Path, options: dict[str, Any], mask: Path | None = None
) -> None:
    """Paint one request to files, with a progress bar on stderr and a line per file on stdout.

    Raises StudioError and CannotServe; options are the parameters of the contract, None where left out.
    """
    if output.suffix.lower() not in _FORMATS:
        raise StudioError("invalid_value", f"{output}: the name must end in {', '.join(_FORMATS)}.", param="output")
    if not output.parent.is_dir():
        raise StudioError("invalid_value", f"{output.parent} is not a folder; make it first.", param="output")
    easel, asked = _easel(options)
    asked |= {"operation": operation, "output_format": _FORMATS[output.suffix.lower()]}
    lines, warnings = easel.paint(asked, inputs, output, mask)
    for line in lines:
        click.echo(line)
    for warning in warnings:
        click.echo(f"Note: {warning}", err=True)


def batch_to_files(operation: str, table: Path, folder: Path, name: str, options: dict[str, Any]) -> None:
    """Paint one request for each row of a CSV or JSON file into a folder, in whose files rows are numbered from 1.

    `name` is how the files end, such as ``.png``. Rows whose file is there already are not painted again. A row that
    fails says why, and the others go on; at the end a StudioError tells how many did.
    """
    if name not in _FORMATS:
        raise StudioError("invalid_value", f"{name}: the format must be one of {', '.join(_FORMATS)}.", param="format")
    rows = read_rows(decode(_read(table)))
    easel, job = _easel(options)
    job |= {"operation": operation, "output_format": _FORMATS[name]}
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
                asked = fill(job, row)
                inputs = [table.parent / file for file in _listed(asked.pop("image", None))]
                lines, _ = easel.paint(asked, inputs, output)
        except StudioError as error:
            failed += 1
            click.echo(f"Error: {error.message}", err=True)
            continue
        for line in lines:
            click.echo(line)
    if failed:
        raise StudioError("rows_failed", f"{failed} of {len(rows)} rows failed; run it again for those alone.")


class Easel:
    """Paints requests on this machine; what it has loaded for one serves the next."""

    def __init__(self, settings: Settings) -> None:
        """Raises CannotServe for a file of the operator's that cannot be used."""
        check_files(settings)
        self._settings = settings
        self._models = configured_models(settings, card_gib=largest_card_gib(settings))
        self._engine: Engine | None = None

    def paint(
        self, asked: dict[str, Any], inputs: Sequence[Path], output: Path, mask: Path | None = None
    ) -> tuple[list[str], list[str]]:
        """Paint one request to a file, or to numbered ones; a line for each, and the warnings. Raises StudioError."""
        request = validated(asked)
        files = [_read(path) for path in inputs]
        uploads = [Upload("image", file) for file in files] + ([] if mask is None else [Upload("mask", _read(mask))])
        request = filled(checked(Submission(request, uploads)).request, self._settings.templates)
        check_words(texts_of(request), self._settings.blocked_terms)
        images = [self._opened(path, file) for path, file in zip(inputs, files, strict=True)]
        allowed = self._mask(request, mask, images)
        sizes, has_font = [image.size for image in images], self._settings.font is not None
        planned, warnings = plan(request, self._models, sizes, allowed, has_font=has_font)
        images += [] if allowed is None else [allowed.image]
        planned = planned.model_copy(update={"output_format": asked["output_format"]})  # the name's, whatever was said
        before = read_facts(files[0]) if planned.model == LIGHT else {}
        engine = self._engine_for(planned)
        label = f"{planned.model} on {engine.device}"
        lines = []
        with click.progressbar(length=planned.steps_of_one * len(planned.seeds), label=label, file=sys.stderr) as bar:
            for number, painted in enumerate(engine.paint(planned, images, _Progress(bar, label).report)):
                path = output if len(planned.seeds) == 1 else output.with_stem(f"{output.stem}-{number}")
                _write(path, painted, planned, before)
                lines.append(_told(path, painted))
                warnings += [warning for warning in painted.warnings if warning not in warnings]
        return lines, warnings

    def _engine_for(self, planned: Plan) -> Engine:
        if planned.model == LIGHT:
            return AdjustEngine(self._settings)
        if self._engine is None:
            self._engine = open_engine(self._settings, self._models, devices(self._settings)[0].id)
        return self._engine

    def _mask(self, request: Request, file: Path | None, images: Sequence[Image.Image]) -> Mask | None:
        if not isinstance(request, InpaintRequest):
            return None
        if request.region is not None:
            return region_mask(request.region, images[0].size)
        assert file is not None  # noqa: S101 - checked with the request
        return open_mask(_read(file), images[0].size, **self._settings.image_limits)

    def _opened(self, path: Path, data: bytes) -> Image.Image:
        return open_image(data, param=str(path), **self._settings.image_limits)


def _write(path: Path, painted: Painted, planned: Plan, before: Facts) -> None:
    """Write the picture whole or not at all: a file that is there counts as done."""
    made_from = facts(planned, painted.seed, before)
    data = encode(
        painted.image, planned.output_format, made_from, by_ai="model" in made_from, quality=planned.output_quality
    )
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_bytes(data)
    fresh.replace(path)


def _told(path: Path, painted: Painted) -> str:
    seed = "" if painted.seed is None else f"  seed {painted.seed}"
    saved = "" if painted.compute_saved is None else f"  {painted.compute_saved:.0%} of the work saved"
    return f"{path}  {painted.image.width}x{painted.image.height}{seed}{saved}"


def _listed(images: Any) -> list[str]:
    """The files that a row names, one or several."""
    return [str(images)] if isinstance(images, str) else [str(each) for each in images or ()]


class _Progress:
    """An engine's report as a progress bar."""

    def __init__(self, bar: Any, label: str) -> None:
        self._bar, self._label = bar, label

    def report(self, phase: str, step: int, steps: int) -> None:
        """Show the phase and how many steps are done."""
        self._bar.label = f"{self._label}: {phase}"
        self._bar.update(max(0, step - self._bar.pos))


def _easel(options: dict[str, Any]) -> tuple[Easel, dict[str, Any]]:
    """An easel with the model that --model names, and the parameters that were given."""
    asked = {name: value for name, value in options.items() if value is not None}
    settings = Settings()
    model, _, folder = str(asked.get("model", "")).partition("=")
    if folder or (model and model not in configured_models(settings, card_gib=largest_card_gib(settings))):
        settings = settings.model_copy(update={"models": (asked["model"],)})
        asked["model"] = model
    return Easel(settings), asked


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StudioError("unsupported_image", f"{path} cannot be read ({error.strerror}).", param="image") from error
