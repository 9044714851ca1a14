"""Take the page's libraries and icons from their npm packages, as vendor.toml names them, and write vendor.lock.

Standard library and npm. The files are copied as they are, beside each package's licence; the icons become one sprite.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "server/qwen_image_studio/web/page"
VENDOR, SPRITE, LOCK = PAGE / "static/vendor", PAGE / "static/icons.svg", PAGE / "vendor.lock"
_DRAWING = re.compile(r"<svg[^>]*>(.*?)</svg>", re.DOTALL)


def main() -> int:
    """Fetch everything anew; what is no longer named goes."""
    table = tomllib.loads((PAGE / "vendor.toml").read_text(encoding="utf-8"))
    VENDOR.mkdir(parents=True, exist_ok=True)
    for old in VENDOR.iterdir():
        old.unlink()
    for library in table["library"]:
        with tempfile.TemporaryDirectory() as folder:
            package = fetched(library["name"], library["version"], Path(folder))
            for file in library["files"]:
                (VENDOR / Path(file).name).write_bytes((package / file).read_bytes())
            keep_licence(library["name"], package)
    icons = table["icons"]
    with tempfile.TemporaryDirectory() as folder:
        package = fetched(icons["name"], icons["version"], Path(folder))
        SPRITE.write_text(sprite(package, sorted(icons["names"])), encoding="utf-8")
        keep_licence(icons["name"], package)
    sums = {each.relative_to(PAGE).as_posix(): sha256(each) for each in sorted([*VENDOR.iterdir(), SPRITE])}
    LOCK.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    print(f"vendor: {len(sums)} files")
    return 0


def fetched(name: str, version: str, folder: Path) -> Path:
    """Fetch a package into a folder; the folder of what is in it."""
    npm = shutil.which("npm") or "npm"
    subprocess.run([npm, "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def keep_licence(name: str, package: Path) -> None:
    """Copy a package's licence under its name."""
    text = next(each for each in sorted(package.iterdir()) if each.name.upper().startswith("LICEN"))
    (VENDOR / f"{name.removeprefix('@').replace('/', '-')}.LICENSE.txt").write_bytes(text.read_bytes())


def sprite(package: Path, names: Iterable[str]) -> str:
    """Return one SVG with a symbol for each icon; how they are stroked says base.css."""
    drawings = {name: _DRAWING.search((package / f"icons/{name}.svg").read_text(encoding="utf-8")) for name in names}
    if missing := [name for name, found in drawings.items() if found is None]:
        raise SystemExit(f"vendor: no drawing in {', '.join(missing)}")
    symbols = [
        f'<symbol id="{name}" viewBox="0 0 24 24">{" ".join(found[1].split())}</symbol>'
        for name, found in drawings.items()
        if found is not None
    ]
    return "\n".join(['<svg xmlns="http://www.w3.org/2000/svg">', *symbols, "</svg>", ""])


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
