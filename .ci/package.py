"""``make package``: write dist/<name>-<version>.difypkg, the plugin as ``dify plugin package`` would.

A package is a zip of every file that .difyignore does not exclude. Times and order are fixed, so that the same tree
gives the same bytes.
"""

import sys
import zipfile
from pathlib import Path

import pathspec
import yaml

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 2 * 10**6
TOP = {
    *("manifest.yaml", "main.py", "requirements.txt", "README.md", "PRIVACY.md", "LICENSE"),
    *("_assets", "provider", "tools", "readme"),
}
"""What the root of a package holds, no more and no less."""
KINDS = {
    "_assets": {".svg", ".webp"}, "provider": {".py", ".yaml"}, "tools": {".py", ".yaml"}, "readme": {".md"},
}  # fmt: skip
"""Suffixes of the files in its folders: what editors and systems leave there has others."""


def files() -> list[Path]:
    """The files of the package, relative to the root."""
    ignored = pathspec.GitIgnoreSpec.from_lines((ROOT / ".difyignore").read_text().splitlines())
    return sorted(Path(name) for name in ignored.match_tree_files(ROOT, negate=True))


def misplaced() -> list[str]:
    """What does not belong into the package, or is missing in it."""
    found = files()
    other_kinds = {str(path) for path in found if path.suffix not in KINDS.get(path.parts[0], {path.suffix})}
    return sorted(({path.parts[0] for path in found} ^ TOP) | other_kinds)


def main() -> int:
    """Write the package and say what is in it."""
    if strays := misplaced():
        print(
            f"package: {', '.join(strays)}: does not belong into a package, or is missing; see .difyignore",
            file=sys.stderr,
        )
        return 1
    manifest = yaml.safe_load((ROOT / "manifest.yaml").read_text())
    target = ROOT / "dist" / f"{manifest['name']}-{manifest['version']}.difypkg"
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for path in files():
            entry = zipfile.ZipInfo(path.as_posix(), (2026, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            package.writestr(entry, (ROOT / path).read_bytes(), zipfile.ZIP_DEFLATED)
            print(f"  {path}")
    size = target.stat().st_size
    print(f"{target.relative_to(ROOT)}: {len(files())} files, {size / 1000:.0f} kB")
    if size > LARGEST:
        print(f"package: larger than {LARGEST} bytes; see what .difyignore lets through", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
