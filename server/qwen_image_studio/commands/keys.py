"""``qwen-image-studio keys``: make, list, limit, rotate and revoke API keys, and say what each may do."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from pydantic import ValidationError

from qwen_image_studio.commands.times import age
from qwen_image_studio.contract.caller import person_of_dify
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Policy, Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import USUAL, ApiKey, KeyStore
from qwen_image_studio.settings import Settings

_SCOPES = ",".join(Scope)
_HELP = {
    "images_per_day": "Images of a day in UTC.",
    "images_per_month": "Images of a month in UTC.",
    "requests_per_minute": "Submits within 60 seconds; reads do not count.",
    "jobs_at_once": "Jobs that have not ended; a batch is one.",
    "max_pixels": "Largest picture: 1536x1536, any shape of as many pixels, or a number of pixels.",
    "max_steps": "Denoising steps.",
}
_OPTION = {"max_pixels": "max-size"}
"""Names of options that are not those of their limits."""
_PERSONS = "per_user_"
"""What the options of each person's limits begin with."""


@click.group()
def keys() -> None:
    """Make, list, limit, rotate and revoke API keys, and say what each may do."""


def _keys() -> KeyStore:
    return KeyStore(open_database(Settings()))


# -- reading options -----------------------------------------------------------------------------------------------


def _scopes(_context: click.Context, _parameter: click.Parameter, value: str) -> list[Scope]:
    """Return the scopes of a list such as ``generate,edit``."""
    try:
        return [Scope(name.strip()) for name in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"write one or more of {_SCOPES}, with commas between them") from error


def _user(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Return a Dify user's id. An empty one has no person: its jobs are those of nobody."""
    if not value.strip():
        raise click.BadParameter("write the id that Dify has for the person")
    return value


def _limit(_context: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    """Return a limit's number, a size as its pixels, and ``none`` as it is."""
    if value is None or value == "none":
        return value
    if match := re.fullmatch(r"([0-9]{1,5})[x×*]([0-9]{1,5})", value):
        return int(match[1]) * int(match[2])
    if not re.fullmatch(r"[0-9]{1,10}", value):
        kind = (
            "a size such as 1536x1536, a number of pixels"
            if str(parameter.name).endswith("pixels")
            else "a number from 0 up"
        )
        raise click.BadParameter(f"write {kind}, or none to take the limit away")
    return int(value)


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each limit of a key, and for each of its persons."""
    for prefix, whose in ((_PERSONS, "Of each person"), ("", "Of the whole key")):
        for name in reversed(Limits.model_fields):
            flag = f"--{prefix}{_OPTION.get(name, name)}".replace("_", "-")
            text = f"{whose}: {_HELP[name][0].lower()}{_HELP[name][1:]}"
            command = click.option(flag, f"{prefix}{name}", callback=_limit, help=text)(command)
    return command


def _changed(limits: Limits, given: dict[str, Any], prefix: str) -> Limits:
    """Return limits with those that were given. Raises StudioError where one cannot be."""
    said = {name: given[f"{prefix}{name}"] for name in Limits.model_fields if given[f"{prefix}{name}"] is not None}
    new = {name: None if value == "none" else value for name, value in said.items()}
    try:
        return Limits.model_validate({**limits.model_dump(), **new})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        flag = f"--{prefix}{_OPTION.get(name, name)}".replace("_", "-")
        raise StudioError("invalid_value", f"{flag}: {first['msg'].lower()} (it is {first['input']}).") from error


# -- commands ------------------------------------------------------------------------------------------------------


@keys.command("add")
@click.argument("name")
@click.option("--owner", default=None, help="Who its jobs and images belong to; default: NAME.")
@click.option("--scopes", default=",".join(USUAL), show_default=True, callback=_scopes, help=f"Of {_SCOPES}.")
@click.option("--policy", type=click.Choice([each.value for each in Policy]), help="Safety; default: the server's.")
@click.option("--if-none", is_flag=True, help="Only where the server has no key yet, else do nothing: for scripts.")
@_limits
def keys_add(
    name: str, owner: str | None, scopes: list[Scope], policy: str | None, if_none: bool, **given: Any
) -> None:
    """Make a key and print it, this once."""
    limits, store = KeyLimits(key=_changed(Limits(), given, ""), person=_changed(Limits(), given, _PERSONS)), _keys()
    if if_none and store.any():
        click.echo("There is a key already; none was made.", err=True)
        return
    click.echo(store.add(name, owner, scopes, limits, None if policy is None else Policy(policy)))


@keys.command("scopes")
@click.argument("name")
@click.argument("scopes", callback=_scopes)
def keys_scopes(name: str, scopes: list[Scope]) -> None:
    """Give a key SCOPES, such as generate,edit,review, in place of those it has."""
    _keys().grant(name, scopes)


@keys.command("policy")
@click.argument("name")
@click.argument("policy", type=click.Choice([*(each.value for each in Policy), "default"]), required=False)
def keys_policy(name: str, policy: str | None) -> None:
    """Say what the classifier's scores do to pictures of a key (default: as STUDIO_SAFETY says); show what they do."""
    store = _keys()
    if policy is not None:
        store.govern(name, None if policy == "default" else Policy(policy))
    click.echo(store.get(name).policy or "default")


@keys.command("limit")
@click.argument("name")
@_limits
def keys_limit(name: str, **given: Any) -> None:
    """Set limits of a key, and show all that it has; others stay, and none takes one away."""
    store = _keys()
    before = store.get(name).limits
    limits = KeyLimits(key=_changed(before.key, given, ""), person=_changed(before.person, given, _PERSONS))
    if limits != before:
        store.limit(name, limits)
    click.echo(_shown(limits))


@keys.command("rotate")
@click.argument("name")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    callback=age,
    help="How long the old one goes on: 12h, 7d; 0h ends it.",
)
def keys_rotate(name: str, overlap: float) -> None:
    """Make another key in place of this one and print it, this once; the old one goes on working for a while."""
    click.echo(_keys().rotate(name, overlap))


@keys.command("list")
def keys_list() -> None:
    """List the keys: name, owner, state, scopes and limits, with tabs between them; and a policy of its own."""
    for key in _keys().all():
        scopes = ",".join(scope for scope in Scope if scope in key.scopes)
        own = [] if key.policy is None else [f"policy {key.policy}"]
        click.echo("\t".join([key.name, key.owner, _state(key), scopes, _shown(key.limits), *own]))


@keys.command("revoke")
@click.argument("name")
def keys_revoke(name: str) -> None:
    """End a key at once, with the one before its rotation."""
    if not _keys().revoke(name):
        raise StudioError("invalid_value", f"There is no active key '{name}'.")


@click.command("person")
@click.argument("user_id", callback=_user)
def person(user_id: str) -> None:
    """Print the name that the plugin gives the person with Dify's USER_ID, as in `user`, usage and limits."""
    click.echo(person_of_dify(user_id))


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.old_until is None or key.old_until <= time.time():
        return "active"
    return f"active (the old one until {datetime.fromtimestamp(key.old_until, UTC):%Y-%m-%d %H:%M} UTC)"


def _shown(limits: KeyLimits) -> str:
    """Return limits as the options by which they were set."""
    both = (("", limits.key), (_PERSONS, limits.person))
    texts = [
        f"--{prefix}{_OPTION.get(name, name)} {value}".replace("_", "-")
        for prefix, one in both
        for name, value in one.by_name().items()
    ]
    return " ".join(texts) or "no limits"
