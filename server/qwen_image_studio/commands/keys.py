"""``qwen-image-studio keys``: make, list and revoke API keys, and say what each may do."""

import click

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings

_SCOPES = ",".join(Scope)


@click.group()
def keys() -> None:
    """Make, list and revoke API keys, and say what each may do."""


def _keys() -> KeyStore:
    return KeyStore(open_database(Settings()))


def _scopes(_context: click.Context, _parameter: click.Parameter, value: str) -> list[Scope]:
    """Return the scopes of a list such as ``generate,edit``."""
    try:
        return [Scope(name.strip()) for name in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"write one or more of {_SCOPES}, with commas between them") from error


@keys.command("add")
@click.argument("name")
@click.option("--owner", default=None, help="Who its jobs and images belong to; default: NAME.")
@click.option("--scopes", default="generate,edit", show_default=True, callback=_scopes, help=f"Of {_SCOPES}.")
def keys_add(name: str, owner: str | None, scopes: list[Scope]) -> None:
    """Make a key and print it, this once."""
    click.echo(_keys().add(name, owner, scopes))


@keys.command("scopes")
@click.argument("name")
@click.argument("scopes", callback=_scopes)
def keys_scopes(name: str, scopes: list[Scope]) -> None:
    """Give a key SCOPES, such as generate,edit,review, in place of those it has."""
    _keys().grant(name, scopes)


@keys.command("list")
def keys_list() -> None:
    """List the keys: name, owner, state and scopes."""
    for key in _keys().all():
        scopes = ",".join(scope for scope in Scope if scope in key.scopes)
        click.echo(f"{key.name}\t{key.owner}\t{'revoked' if key.revoked_at else 'active'}\t{scopes}")


@keys.command("revoke")
@click.argument("name")
def keys_revoke(name: str) -> None:
    """End a key at once."""
    if not _keys().revoke(name):
        raise StudioError("invalid_value", f"There is no active key '{name}'.")
