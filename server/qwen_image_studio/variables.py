"""The settings as an operator meets them: the variables of the environment, each with its default and its meaning.

``qwen-image-studio settings`` lists them; ``docs/settings.md`` is generated from them, and a test keeps it fresh.
"""

import textwrap
from collections.abc import Iterator
from difflib import get_close_matches

from pydantic import SecretStr
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from qwen_image_studio.settings import PREFIX, Settings


def unknown_variables() -> list[str]:
    """Return a sentence for each variable of the environment and of ``.env`` that looks like a setting and is none.

    They do no harm, since other programs use the prefix, too (Android Studio has STUDIO_JDK); yet it may be a slip.
    """
    known = [name.upper() for name in Settings.model_fields]
    read = [*DotEnvSettingsSource(Settings).env_vars, *EnvSettingsSource(Settings).env_vars]
    found = dict.fromkeys(name.upper() for name in read if name.upper().startswith(PREFIX))
    names = [name.removeprefix(PREFIX) for name in found if name.removeprefix(PREFIX) not in known]
    return [f"{PREFIX}{name} is not a setting and changes nothing{_meant(name, known)}" for name in names]


def _meant(name: str, known: list[str]) -> str:
    if likely := get_close_matches(name, known, n=1):
        return f"; did you mean {PREFIX}{likely[0]}?"
    return "; 'qwen-image-studio settings' lists those there are."


def described() -> str:
    """Return every setting as a Markdown table, for ``qwen-image-studio settings`` and docs/settings.md."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, default, meaning in _all_settings():
        rows.append(f"| `{name}` | {f'`{default}`' if default else '(empty)'} | {meaning} |")
    return "\n".join(rows)


def example() -> str:
    """Return every setting as a line of ``.env`` that is commented out, for ``.env.example``."""
    parts = [
        "# Settings of the server: copy this file to .env where the server starts, and uncomment what you change.\n"
        "# Each line has the default. Written by: qwen-image-studio settings --env"
    ]
    for name, default, meaning in _all_settings():
        comment = textwrap.fill(meaning, 116, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
        parts.append(f"{comment}\n#{name}={default}")
    return "\n\n".join(parts)


def _all_settings() -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of every setting, as text."""
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        shown = ",".join(default) if isinstance(default, tuple) else "" if default is None else str(default)
        yield f"{PREFIX}{name.upper()}", shown, field.description or ""
