"""``qwen-image-studio move``: a server's rows and files to another database and store."""

import sys
import time
from pathlib import Path

import click
from sqlalchemy import make_url

from qwen_image_studio.database.damage import shown
from qwen_image_studio.host.move import Moved
from qwen_image_studio.host.move import move as move_all
from qwen_image_studio.settings import Settings

_TELL_S = 2.0
_SHOWN = 10


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--from-database", default="", help="The database to move from; default: SQLite in FOLDER.")
@click.option("--from-storage", default="", help="The store to move from; default: files in FOLDER/images.")
@click.option("--check", is_flag=True, help="Only compare, after a move and before the server starts.")
def move(folder: Path, from_database: str, from_storage: str, check: bool) -> None:
    """Move the server whose data folder is FOLDER to where the settings say: STUDIO_DATABASE_URL, STUDIO_STORAGE_URL.

    Stop the server first. FOLDER stays as it is. Cut off, the command goes on when it is run again. PostgreSQL reads
    the password of --from-database from PGPASSWORD or ~/.pgpass as well.
    """
    settings = Settings()
    places = {"data_dir": folder, "database_url": from_database, "storage_url": from_storage}
    moved = move_all(settings, settings.model_copy(update=places), _Progress(), check=check)
    click.echo("\n".join(_lines(moved)))
    if not check:
        click.echo("\n".join(_next(moved, settings, folder)))
    if not moved.is_whole:
        sys.exit(1)


class _Progress:
    """Tells on stderr how far a move is, every few seconds."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, what: str, done: int, in_all: int) -> None:
        if done == in_all or time.monotonic() - self._told_at >= _TELL_S:
            self._told_at = time.monotonic()
            click.echo(f"{what}: {done} of {in_all}", err=True)


def _lines(moved: Moved) -> list[str]:
    """Return what was moved, with numbers and sums."""
    lines = []
    if moved.rows is None:
        lines.append("The database stays where it is.")
    else:
        for name, tally in moved.rows.tallies.items():
            verdict = "DIFFERS" if name in moved.rows.differing else "the same there"
            lines.append(f"{name}: {tally.rows} rows, sum {tally.sum}, {verdict}")
        lines += [
            f"{count} values of {name} were changed, since PostgreSQL does not take them as they were (NUL, too long "
            "a text, NaN)"
            for name, count in moved.rows.cleaned.items()
        ]
    if moved.files is None:
        lines.append("The files stay where they are.")
        return lines
    files = moved.files
    lines.append(f"files: {files.files}, {files.bytes / 1e6:.1f} MB, the same there ({files.put} of them put now)")
    lines += _named("DIFFER there or are missing there", files.differing)
    lines += _named("are not what was made, in the source already; they were moved as they are", files.changed)
    lines += _named("were lost before: rows name them, and the source has no such files", files.missing)
    return lines


def _named(said: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return [f"{len(keys)} files {said}: {', '.join(sorted(keys)[:_SHOWN])}{more}"]


def _next(moved: Moved, settings: Settings, folder: Path) -> list[str]:
    """Return what is left to do."""
    url, lines = make_url(settings.database), ["Next:"]
    if moved.advice:
        lines.append(f"* {moved.advice}")
    if moved.rows is not None and url.get_backend_name() != "sqlite":
        lines.append(f"* Start the server with the same settings; its database is {shown(url)}.")
        if not settings.secret_key.get_secret_value():
            lines.append(
                f"* Every other host has to sign links with the same key: set STUDIO_SECRET_KEY there to what "
                f"{settings.data_dir / 'secret_key'} holds."
            )
    else:
        lines.append("* Start the server with the same settings.")
    lines.append(f"* Do not start a server with the old settings any more. Delete what was moved from {folder}, which")
    lines.append("  is as it was, once all is well.")
    return lines
