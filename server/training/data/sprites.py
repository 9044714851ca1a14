"""Drawings of the objects: icons from packages of the npm registry, rendered once and kept at the sizes of scenes."""

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.data.things import THINGS, Thing

NOTO = "@iconify-json/noto@1.2.9"  # Noto Emoji, Apache-2.0: what the miniature paints
FONT = "@expo-google-fonts/noto-sans-sc@0.4.3"  # Noto Sans SC, SIL Open Font License 1.1: the letters of short texts
FONT_FILE = "900Black/NotoSansSC_900Black.ttf"
DRAWN_SIDE = 192  # pixels: twice the largest sprite, so that every size is a reduction

Sprite = NDArray[np.float32]
"""Height x width x 4: red, green and blue from 0 to 255 multiplied by alpha, then alpha from 0 to 1."""


class Atlas:
    """Drawings by name, at any size."""

    def __init__(self, drawings: Mapping[str, Image.Image]) -> None:
        """Take square RGBA drawings."""
        self.drawings = dict(drawings)
        self._sprites: dict[tuple[str, int], Sprite] = {}

    @property
    def names(self) -> list[str]:
        """Names of all drawings, in order."""
        return list(self.drawings)

    def sprite(self, name: str, side: int) -> Sprite:
        """Return the drawing as a square whose side has that many pixels."""
        key = (name, side)
        if key not in self._sprites:
            small = self.drawings[name].resize((side, side), Image.Resampling.LANCZOS)
            pixels = np.asarray(small, dtype=np.float32)
            alpha = pixels[..., 3:] / 255
            self._sprites[key] = np.concatenate([pixels[..., :3] * alpha, alpha], axis=2)
        return self._sprites[key]


def load_atlas(cache: Path, things: Sequence[Thing] = THINGS) -> Atlas:
    """Drawings of these objects.

    What they are made from is fetched into `cache` with npm, each once. Raises RuntimeError where npm fails.
    """
    folder = cache / "drawings"
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {}
    for thing in things:
        file = folder / f"{thing.icon}.png"
        if not file.is_file():
            file.write_bytes(_write(cache, thing) if thing.text else _render(_icons(cache), thing.icon))
        with Image.open(file) as image:
            drawings[thing.icon] = image.convert("RGBA")
    return Atlas(drawings)


def _icons(cache: Path) -> dict[str, Any]:
    """Return the icons' SVG bodies by name."""
    icons: dict[str, Any] = json.loads(_fetch(cache, NOTO, "icons.json").read_text(encoding="utf-8"))
    return icons


def _fetch(cache: Path, package: str, member: str) -> Path:
    """Return one file of a package of the npm registry."""
    kept = cache / Path(member).name
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
                file = files.extractfile(f"package/{member}")
                if file is None:
                    raise RuntimeError(f"{package} holds no {member}")
                new = kept.with_suffix(".new")
                new.write_bytes(file.read())
                new.replace(kept)
    return kept


def _write(cache: Path, thing: Thing) -> bytes:
    """Return the short text as a square PNG, its letters as large as fit, with a white edge."""
    edge = DRAWN_SIDE // 24
    font_file = str(_fetch(cache, FONT, FONT_FILE))
    size = DRAWN_SIDE
    while True:
        font = ImageFont.truetype(font_file, size)
        left, top, right, bottom = font.getbbox(thing.text, stroke_width=edge)
        if max(right - left, bottom - top) <= DRAWN_SIDE - 2:
            break
        size -= 2
    square = Image.new("RGBA", (DRAWN_SIDE, DRAWN_SIDE))
    corner = ((DRAWN_SIDE - right - left) / 2, (DRAWN_SIDE - bottom - top) / 2)
    ImageDraw.Draw(square).text(corner, thing.text, thing.rgb, font, stroke_width=edge, stroke_fill="white")
    return _png(square)


def _render(icons: Mapping[str, Any], name: str) -> bytes:
    """Return the icon as a square PNG."""
    resvg = import_module("resvg_py")  # only training has it

    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    png = bytes(resvg.svg_to_bytes(svg_string=svg, width=DRAWN_SIDE, height=DRAWN_SIDE))
    with Image.open(io.BytesIO(png)) as image:
        square = Image.new("RGBA", (DRAWN_SIDE, DRAWN_SIDE))
        square.paste(image, ((DRAWN_SIDE - image.width) // 2, (DRAWN_SIDE - image.height) // 2))
    return _png(square)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
