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


def _kept_secret(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_secret(path)
    return _read_secret(path)


def _make_secret(path: Path) -> None:
    """Make a key, which is durable before it has its name: after a power cut there is all of it or nothing."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_durably(fresh, secrets.token_urlsafe(48).encode(), 0o600)
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
