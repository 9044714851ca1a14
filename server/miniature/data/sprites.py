"""Drawings of the objects: icons from packages of the npm registry, rendered once and kept at the sizes of scenes."""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NOTO = "@iconify-json/noto@1.2.9"  # Noto Emoji, Apache-2.0: what the miniature paints
DRAWN_SIDE = 192  # pixels: twice the largest sprite, so that every size is a reduction

Sprite = NDArray[np.float32]
"""Height x width x 4: red, green and blue from 0 to 255 multiplied by alpha, then alpha from 0 to 1."""


class Atlas:
    """Drawings by name, at any size."""

    def __init__(self, drawings: Mapping[str, Image.Image]) -> None:
        """Take square RGBA drawings."""
        self._drawings = dict(drawings)
        self._sprites: dict[tuple[str, int], Sprite] = {}

    @property
    def names(self) -> list[str]:
        """Names of all drawings, in order."""
        return list(self._drawings)

    def sprite(self, name: str, side: int) -> Sprite:
        """The drawing as a square of so many pixels."""
        key = (name, side)
        if key not in self._sprites:
            small = self._drawings[name].resize((side, side), Image.Resampling.LANCZOS)
            pixels = np.asarray(small, dtype=np.float32)
            alpha = pixels[..., 3:] / 255
            self._sprites[key] = np.concatenate([pixels[..., :3] * alpha, alpha], axis=2)
        return self._sprites[key]


def load_atlas(cache: Path, package: str, names: Iterable[str] | None = None) -> Atlas:
    """Drawings of a package of icons, all of them or those named.

    The package is fetched into `cache` with npm and rendered there, each once. Raises RuntimeError where npm fails.
    """
    icons = _icons(cache, package)
    folder = cache / package.rpartition("@")[0].replace("/", "-").strip("@")
    folder.mkdir(exist_ok=True)
    drawings = {}
    for name in sorted(icons["icons"]) if names is None else names:
        file = folder / f"{name}.png"
        if not file.is_file():
            file.write_bytes(_render(icons, name))
        with Image.open(file) as image:
            drawings[name] = image.convert("RGBA")
    return Atlas(drawings)


def _icons(cache: Path, package: str) -> dict[str, Any]:
    """The package's ``icons.json``: SVG bodies by name."""
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{package.replace('/', '-').strip('@')}.json"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            npm = shutil.which("npm")
            if npm is None:
                raise RuntimeError("npm is needed to fetch the drawings")
            packed = subprocess.run([npm, "pack", package], cwd=folder, capture_output=True, text=True)
            if packed.returncode:
                raise RuntimeError(f"npm could not fetch {package}: {packed.stderr.strip()[-300:]}")
            archive = next(Path(folder).glob("*.tgz"))
            with tarfile.open(archive) as files:
                member = files.extractfile("package/icons.json")
                if member is None:
                    raise RuntimeError(f"{package} holds no icons.json")
                kept.write_bytes(member.read())
    icons: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return icons


def _render(icons: Mapping[str, Any], name: str) -> bytes:
    """The icon as a square PNG."""
    resvg = import_module("resvg_py")  # only training has it

    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    png = bytes(resvg.svg_to_bytes(svg_string=svg, width=DRAWN_SIDE, height=DRAWN_SIDE))
    with Image.open(io.BytesIO(png)) as image:
        square = Image.new("RGBA", (DRAWN_SIDE, DRAWN_SIDE))
        square.paste(image, ((DRAWN_SIDE - image.width) // 2, (DRAWN_SIDE - image.height) // 2))
    buffer = io.BytesIO()
    square.save(buffer, "PNG")
    return buffer.getvalue()
