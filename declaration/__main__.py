"""``make declare``: write manifest.yaml, provider/*.yaml and tools/*.yaml."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from declaration.shapes import Plugin, Tool, filled_in

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class _Plain(yaml.SafeDumper):
    """A dumper for people: lists are indented, and what is there twice is written twice rather than referred to."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists, too."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is written as a reference."""
        return True


def made(folder: Path = HERE) -> dict[str, str]:
    """Return the content of every file made from the declaration in a folder, by its path in the repository.

    Raises ValueError, which begins with the file at fault.
    """
    plugin = _plugin(folder)
    files = {
        "manifest.yaml": _written("plugin", plugin.manifest_file()),
        f"provider/{plugin.provider.name}.yaml": _written("plugin", plugin.provider_file()),
    }
    shared = {kind: _read(folder, kind) for kind in ("parameters", "outputs")}
    for name in plugin.tools:
        files[f"tools/{name}.yaml"] = _written(name, _tool(folder, name, shared).file_of(name, plugin.author))
    return files


def _plugin(folder: Path) -> Plugin:
    try:
        return Plugin.model_validate(_read(folder, "plugin"))
    except ValueError as error:
        raise ValueError(f"plugin.yaml: {error}") from error


def _tool(folder: Path, name: str, shared: Mapping[str, dict[str, Any]]) -> Tool:
    own = _read(folder, name)
    try:
        filled = {kind: filled_in(own[kind], shared[kind]) for kind in shared if kind in own}
        return Tool.model_validate({**own, **filled})
    except ValueError as error:
        raise ValueError(f"{name}.yaml: {error}") from error


def _read(folder: Path, name: str) -> dict[str, Any]:
    content = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return dict(content)


def _written(source: str, content: dict[str, Any]) -> str:
    text = yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=10**6)
    return f"# Made by `make declare` from declaration/{source}.yaml; edit that file.\n{text}"


def main() -> int:
    """Write the files, and say which of them changed."""
    try:
        files = made()
    except ValueError as error:
        print(f"declare: {error}", file=sys.stderr)
        return 1
    for name, content in files.items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
            print(f"  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
