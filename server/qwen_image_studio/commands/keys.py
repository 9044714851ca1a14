"""``qwen-image-studio keys``: make, list and revoke API keys."""

import click

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


def _keys() -> KeyStore:
    return KeyStore(open_database(Settings()))


@keys.command("add")
@click.argument("name")
@click.option("--owner", default=None, help="Who its jobs and images belong to; default: NAME.")
def keys_add(name: str, owner: str | None) -> None:
    """Make a key and print it, this once."""
    click.echo(_keys().add(name, owner))


@keys.command("list")
def keys_list() -> None:
    """List the keys' names and owners."""
    for key in _keys().all():
        click.echo(f"{key.name}\t{key.owner}\t{'revoked' if key.revoked_at else 'active'}")


@keys.command("revoke")
@click.argument("name")
def keys_revoke(name: str) -> None:
    """End a key at once."""
    if not _keys().revoke(name):
        raise StudioError("invalid_value", f"There is no active key '{name}'.")
