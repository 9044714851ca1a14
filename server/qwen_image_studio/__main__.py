"""The command line: ``qwen-image-studio COMMAND``. Each command is a few lines around the module that does the work."""

import json
import logging
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
import psutil
from pydantic import ValidationError

from qwen_image_studio import __version__
from qwen_image_studio.commands.keys import keys, person
from qwen_image_studio.commands.layers import layers
from qwen_image_studio.commands.log import log
from qwen_image_studio.commands.move import move
from qwen_image_studio.commands.review import review
from qwen_image_studio.commands.safety import safety
from qwen_image_studio.commands.times import age
from qwen_image_studio.commands.usage import usage
from qwen_image_studio.commands.webhooks import webhooks
from qwen_image_studio.commands.weights import weights
from qwen_image_studio.contract.errors import BadTemplates, CannotServe, StudioError
from qwen_image_studio.contract.words import Anchor, AspectRatio, LogFormat, Prefer, Tier
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.database.tables import REVISION
from qwen_image_studio.gallery import open_gallery
from qwen_image_studio.gallery.pruning import prune as prune_old
from qwen_image_studio.host.supervise import serve as run_server
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.local.files import batch_to_files, paint_to_files
from qwen_image_studio.local.options import painting_options, part_options, region, roles_option
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.recipe import check_files
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.devices import devices, largest_card_gib
from qwen_image_studio.system.logs import write_log
from qwen_image_studio.system.processes import die_with_parent
from qwen_image_studio.variables import described, example, unknown_variables

_log = logging.getLogger(__name__)


@click.group()
@click.version_option(__version__)
def cli() -> None:
    """Qwen-Image Studio: a self-hosted image server for Dify and for any HTTP client."""


for _group in (keys, person, usage, webhooks, safety, review, log, weights, move, layers):
    cli.add_command(_group)


def main() -> None:
    """Run the command line; a failure that the user can mend ends in one line on stderr and exit code 1."""
    write_log(log_format=_log_format())
    try:
        _warn_of_slips()
        cli(prog_name="qwen-image-studio")
    except (CannotServe, StudioError, BadTemplates, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        said = first["msg"].removeprefix("Value error, ")
        click.echo(f"Error: STUDIO_{name}: {said} (it is {first['input']!r}).", err=True)
        sys.exit(1)


def _log_format() -> LogFormat:
    """Return how the log is written; as text where the settings cannot be read, which is told later."""
    with suppress(ValidationError, UnicodeDecodeError):
        return Settings().log_format
    return LogFormat.TEXT


def _warn_of_slips() -> None:
    """Name variables that are no settings. Raises CannotServe where ``.env`` cannot be read."""
    try:
        sentences = unknown_variables()
    except UnicodeDecodeError as error:
        raise CannotServe("The file .env is not in UTF-8; save it as UTF-8.") from error
    # What `serve` has started would only say it again, and `doctor` says it in its report.
    if "--parent" not in sys.argv and sys.argv[1:] != ["doctor"]:
        for sentence in sentences:
            _log.warning("%s", sentence)


_parent = click.option("--parent", type=int, default=None, help="Process to die with.")
_name = click.option("--name", default="", help="Name under which it takes leases; default: one of its own.")


@cli.command()
def migrate() -> None:
    """Bring the tables of the database to the newest revision; on PostgreSQL the other commands leave it to this one
    and to `serve`.
    """
    open_database(Settings(), "migrate").close()
    click.echo(f"The tables have the newest revision, {REVISION}.")


@cli.command()
def serve() -> None:
    """Run everything: the web process, one worker per device and one for adjustments. Stop it with Ctrl-C."""
    settings = Settings()
    configured_models(settings, card_gib=largest_card_gib(settings))  # a wrong name is better told now than in a log
    run_server(settings)


@cli.command()
@_parent
def web(parent: int | None) -> None:
    """Run the web process alone."""
    from qwen_image_studio.host.checks import check_models_named, check_storage, refuse_open_door
    from qwen_image_studio.host.webserver import WebServer

    if parent is not None:
        die_with_parent(parent)
    settings = Settings()
    with closing(open_database(settings, "web")) as database:
        refuse_open_door(settings, database)
        if parent is None:
            check_models_named(settings, database)
            check_storage(settings)
    check_files(settings)
    WebServer(settings, configured_models(settings, card_gib=largest_card_gib(settings))).run()


@cli.command()
@click.option("--device", default=None, help="cpu, cuda:0, ...; default: the first there is.")
@_name
@_parent
def worker(device: str | None, name: str, parent: int | None) -> None:
    """Run the worker of one device alone. Adjustments have one of their own: `light`."""
    from qwen_image_studio.host.checks import check_storage
    from qwen_image_studio.host.credentials import check_credentials
    from qwen_image_studio.worker.process import run_worker

    if parent is not None:
        die_with_parent(parent)
    settings = Settings()
    if parent is None:
        check_storage(settings)
        check_credentials(settings)
    models = configured_models(settings, card_gib=largest_card_gib(settings))
    run_worker(settings, models, device or devices(settings)[0].id, name)


@cli.command()
@_name
@_parent
def light(name: str, parent: int | None) -> None:
    """Run the worker that does adjustments, which need no model."""
    from qwen_image_studio.host.checks import check_models_named, check_storage
    from qwen_image_studio.host.credentials import check_credentials
    from qwen_image_studio.worker.process import run_light_worker

    if parent is not None:
        die_with_parent(parent)
    settings = Settings()
    if parent is None:
        with closing(open_database(settings, "light")) as database:
            check_models_named(settings, database)
        check_storage(settings)
        check_credentials(settings)
    check_files(settings)
    run_light_worker(settings, psutil.Process(parent).create_time() if parent is not None else 0.0, name)


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_images = partial(click.option, "-i", "--image", "images", type=_FILE, multiple=True, required=True)


@cli.command()
@click.argument("prompt")
@click.option("-i", "--image", type=_FILE, help="An image to start from.")
@click.option("--strength", type=float, help="How far to go from that image, above 0 to 1; default: 0.6.")
@painting_options
def generate(prompt: str, image: Path | None, output: Path, **options: Any) -> None:
    """Paint PROMPT to a file, without a server."""
    paint_to_files("generate", [] if image is None else [image], output, {"prompt": prompt, **options})


@cli.command()
@click.argument("prompt")
@_images(
    help="The image to change; several, as many as the model takes, in the order in which the instruction numbers them."
)
@roles_option
@click.option("--prefer", type=click.Choice([choice.value for choice in Prefer]), help="Default: auto.")
@painting_options
def edit(prompt: str, images: tuple[Path, ...], output: Path, **options: Any) -> None:
    """Change images as the instruction PROMPT says, without a server."""
    paint_to_files("edit", images, output, {"prompt": prompt, **options})


@cli.command()
@click.argument("prompt")
@_images(help="The image to change; after it, images to take things from.")
@roles_option
@click.option("--mask", type=_FILE, help="White may change, black stays.")
@click.option("--region", callback=region, help="Instead: X,Y,WIDTH,HEIGHT in pixels, or in fractions of the image.")
@click.option("--feather", type=int, help="Width of the soft edge in pixels, inwards, 0 to 256; default: narrow.")
@part_options
def inpaint(prompt: str, images: tuple[Path, ...], mask: Path | None, output: Path, **options: Any) -> None:
    """Change a part of an image as PROMPT says, and no pixel beyond it, without a server."""
    paint_to_files("inpaint", images, output, {"prompt": prompt, **options}, mask)


@cli.command()
@click.argument("prompt", default="")
@click.option("-i", "--image", type=_FILE, required=True)
@click.option("--left", type=int, help="Pixels to add on this side.")
@click.option("--right", type=int, help="Pixels to add on this side.")
@click.option("--top", type=int, help="Pixels to add on this side.")
@click.option("--bottom", type=int, help="Pixels to add on this side.")
@click.option("--aspect-ratio", help="Instead: the shape to reach, such as 16:9.")
@click.option("--size", help="Instead: WIDTHxHEIGHT to reach, in pixels.")
@click.option(
    "--anchor",
    type=click.Choice([anchor.value for anchor in Anchor]),
    help="Where the image stands on the canvas of that shape or size; default: center.",
)
@part_options
def outpaint(prompt: str, image: Path, output: Path, **options: Any) -> None:
    """Continue an image beyond its edges, without a server; PROMPT may be left out."""
    paint_to_files("outpaint", [image], output, {"prompt": prompt, **options})


@cli.command()
@click.argument("prompt")
@click.option("-i", "--image", type=_FILE, required=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
def adjust(prompt: str, image: Path, output: Path) -> None:
    """Change an image without a model, as PROMPT says: "rotate it 90 degrees, then make it brighter"."""
    paint_to_files("adjust", [image], output, {"prompt": prompt})


@cli.command()
@click.argument("table", type=_FILE)
@click.argument("prompt")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the pictures; what is there already is not painted again.",
)
@click.option("--operation", type=click.Choice(["generate", "edit", "adjust"]), default="generate", show_default=True)
@click.option("-i", "--image", help="For edits: the file of a row, such as {{file}}, beside TABLE.")
@click.option("--format", "name", default="png", show_default=True, help="png, jpg or webp.")
@click.option("--seed", help="The seed of all rows, or {{column}}; default: random.")
@click.option("--model", help="A model's name, or NAME=FOLDER, or NAME=FILE; default: as the server's.")
@click.option("--aspect-ratio", type=click.Choice([ratio.value for ratio in AspectRatio]))
@click.option("--tier", type=click.Choice([tier.value for tier in Tier]), help="Default: quality.")
@click.option("--lora", "loras", metavar="NAME[:SCALE]", multiple=True, help="As for generate; or {{column}}.")
@click.option("--background", help="auto, opaque, transparent, or {{column}}; default: auto.")
@click.option("--steps", type=int, help="Denoising steps; default: the tier's.")
def batch(table: Path, prompt: str, folder: Path, operation: str, name: str, **options: Any) -> None:
    """Paint PROMPT for each row of TABLE (CSV or JSON), whose values replace {{column}} in it, without a server."""
    batch_to_files(operation, table, folder, f".{name}", {"prompt": prompt, **options})


@cli.command()
@click.option(
    "--older-than", "older_than_s", callback=age, required=True, help="Age since a job's end or an upload: 30d, 12h."
)
@click.option("--dry-run", is_flag=True, help="Only count.")
def prune(older_than_s: float, dry_run: bool) -> None:
    """Delete what is older: ended jobs with all they made, and uploads that no job uses."""
    settings = Settings()
    with open_store(settings) as store:
        pruned = prune_old(open_gallery(settings, store), store, settings, older_than_s, dry_run=dry_run)
    kept = f"; {pruned.kept} jobs stay, since others wait for their images" if pruned.kept else ""
    click.echo(
        f"{'To delete' if dry_run else 'Deleted'}: {pruned.jobs} jobs, {pruned.uploads} uploads, {pruned.leftovers} "
        f"leftover files{kept}."
    )


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def backup(folder: Path) -> None:
    """Back up database, pictures and secret key as FOLDER, also while the server runs."""
    from qwen_image_studio.host.backup import back_up

    settings = Settings()
    made = back_up(settings, folder)
    click.echo(f"Backed up to {folder}: {made.files} files, {made.bytes / 1e6:.1f} MB.")
    if made.missing:
        click.echo(f"{len(made.missing)} files of pictures were lost before, such as {made.missing[0]}.", err=True)
    if settings.secret_key.get_secret_value():
        click.echo("STUDIO_SECRET_KEY is not in the backup; links go on opening where it is set again.", err=True)


@cli.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--without-damaged", is_flag=True, help="Leave pictures out that are damaged in the backup.")
def restore(folder: Path, without_damaged: bool) -> None:
    """Restore the backup FOLDER into STUDIO_DATA_DIR, which has to be empty."""
    from qwen_image_studio.host.restore import restore as restore_backup

    settings = Settings()
    restored = restore_backup(settings, folder, without_damaged=without_damaged)
    for path in restored.damaged:
        click.echo(f"{path} is damaged and was left out.", err=True)
    click.echo(f"Restored into {settings.data_dir}: {restored.manifest.files - len(restored.damaged)} files.")


@cli.command()
def doctor() -> None:
    """Say what this machine can paint with, what is missing and what to do."""
    from qwen_image_studio.host.doctor import examine

    lines, healthy = examine(Settings())
    click.echo("\n".join(lines))
    sys.exit(0 if healthy else 1)


@cli.command()
@click.option("--env", is_flag=True, help="As a file .env in which every line is commented out.")
def settings(env: bool) -> None:
    """List every setting with its default and meaning."""
    click.echo(example() if env else described())


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    import tempfile

    from qwen_image_studio.web.app import create_app
    from qwen_image_studio.web.openapi import document

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(data_dir=Path(folder), database_url=""), {})
        click.echo(json.dumps(document(app), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
