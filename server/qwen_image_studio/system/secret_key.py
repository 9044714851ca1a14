"""The secret key of a server: that of the settings, else one that is made once and kept in DATA_DIR."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from qwen_image_studio.contract.errors import CannotServe
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.files import sync_folder, write_durably

_KEPT_IN = "secret_key"


def secret_keys(settings: Settings) -> Sequence[bytes]:
    """Return the present secret key, and after it the earlier ones that still count.

    Raises CannotServe where the kept one is empty or damaged.
    """
    present = settings.secret_key.get_secret_value() or _kept_secret(settings.data_dir / _KEPT_IN)
    return [key.encode() for key in (present, *settings.secret_key_fallbacks)]


def check_secret_key(settings: Settings) -> None:
    """Raise CannotServe where the file with the secret key cannot sign links; one that is not there is made later."""
    path = settings.data_dir / _KEPT_IN
    if not settings.secret_key.get_secret_value() and path.exists():
        _read_secret(path)


def take_over(settings: Settings, folder: Path) -> str:
    """Have the settings' server sign with the key that is kept in another data folder. Return what the operator still
    has to do so that links which were given out go on working; nothing where it is empty.

    Raises CannotServe where the settings' data folder keeps another key.
    """
    theirs, ours = folder / _KEPT_IN, settings.data_dir / _KEPT_IN
    named = {settings.secret_key.get_secret_value(), *settings.secret_key_fallbacks} - {""}
    if not theirs.exists():
        no_key = f"{folder} keeps no secret key. Set STUDIO_SECRET_KEY to that of the server whose data it is"
        return "" if named else f"{no_key}; without it links that were given out work no more."
    key = _read_secret(theirs)
    if key in named:
        return ""
    if settings.secret_key.get_secret_value():
        return (
            f"STUDIO_SECRET_KEY is not the key in {theirs}. If links were signed with that one, set "
            "STUDIO_SECRET_KEY_FALLBACKS to it, or they work no more."
        )
    if not ours.exists():
        _make_secret(ours, key.encode())
    if _read_secret(ours) != key:
        raise CannotServe(
            f"{ours} is another key than {theirs}, with which links were signed that are to go on working. Delete "
            f"{ours} if no link was signed with it, or set STUDIO_SECRET_KEY_FALLBACKS to the key in {theirs}."
        )
    return ""


def _kept_secret(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_secret(path, secrets.token_urlsafe(48).encode())
    return _read_secret(path)


def _make_secret(path: Path, key: bytes) -> None:
    """Keep a key, which is durable before it has its name: after a power cut there is all of it or nothing."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_durably(fresh, key, 0o600)
        with suppress(FileExistsError):  # if two processes start together, the first one wins, with a complete key
            path.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def _read_secret(path: Path) -> str:
    """Return the key in a file. Raises CannotServe for one without a key, as a power cut or a full disk leaves it."""
    try:
        found = path.read_text()
    except UnicodeDecodeError:
        found = ""
    if not found.strip() or "\0" in found:
        raise CannotServe(
            f"The file {path} holds no key to sign links with: it is empty or damaged. Copy it from a backup, so that "
            "links which were given out go on opening; or delete it, and the server makes a new one."
        )
    return found
