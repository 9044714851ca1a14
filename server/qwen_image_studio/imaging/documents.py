"""Layers as documents that designers open: PSD for Photoshop and its like, PPTX for slides.

Both are made by libraries that an operator adds (the extra ``design``), in a process of their own
(`decoding.make_document`).
"""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec

from PIL import Image

from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.contract.words import OutputFormat, Size
from qwen_image_studio.imaging.encoding import encode
from qwen_image_studio.imaging.origin import as_xmp, read_origin
from qwen_image_studio.imaging.pixels import on_white

NEEDED = {ArchiveFormat.PSD: "psd_tools", ArchiveFormat.PPTX: "pptx"}
"""The package that writes each kind of document."""
SLIDE_EMU = 12_192_000
"""Long side of an ordinary slide, in English metric units, of which an inch has 914400."""
LEAST_EMU = 914_400
"""Shortest side that a slide may have; the longest is 56 times as long, and no image that is taken is so long."""


def layer_stem(layer: int | None) -> str:
    """Return the name of a layer's file without its ending, by which files stand in order; of None, that of the
    recomposed picture.
    """
    return "recomposed" if layer is None else f"{layer + 1:02d}-{layer_name(layer).lower().replace(' ', '-')}"


@cache
def can_make(kind: ArchiveFormat) -> bool:
    """Return whether the package for a kind of document is here; a ZIP needs none."""
    return kind not in NEEDED or find_spec(NEEDED[kind]) is not None


def layer_name(number: int) -> str:
    """Return how the layer with this number (from 0, the backmost) is called in a document."""
    return "Background" if number == 0 else f"Layer {number}"


def document(kind: str, files: Sequence[bytes], producer: str) -> bytes:
    """Return a document with the layers in `files`, the backmost first, and their recomposed picture, the last of them.

    It is labelled as AI's where the pictures are, by `producer`.
    """
    return _MADE[ArchiveFormat(kind)](files, producer)


def _psd(files: Sequence[bytes], producer: str) -> bytes:
    from psd_tools import PSDImage
    from psd_tools.constants import Resource
    from psd_tools.psd.image_resources import ImageResource

    whole = _opened(files[-1])
    shown = on_white(whole)  # as the format wants the colours of what viewers show, whose alpha is beside them
    shown.putalpha(whole.getchannel("A"))
    made = PSDImage.frompil(shown)
    for number, file in enumerate(files[:-1]):
        layer = _opened(file)
        left, top, right, bottom = _box(layer) or (0, 0, 1, 1)
        part = layer.crop((left, top, right, bottom))
        made.create_pixel_layer(part, name=layer_name(number), left=left, top=top)
    origin, record = read_origin(files[-1]), made._record
    if "model" in origin:
        xmp = ImageResource(key=Resource.XMP_METADATA, data=as_xmp(origin, producer).encode())
        record.image_resources[Resource.XMP_METADATA] = xmp
    # Below 0, the picture that viewers show has transparency as its fourth channel, and no mask of somebody's.
    if (info := record.layer_and_mask_information.layer_info) is not None:
        info.layer_count = 1 - len(files)
    out = io.BytesIO()
    record.write(out)  # and not `save`, which composes the picture anew where one is there
    return out.getvalue()


def _pptx(files: Sequence[bytes], producer: str) -> bytes:
    from pptx import Presentation
    from pptx.util import Emu

    size = _opened(files[-1]).size
    made, emu = Presentation(), _emu_a_pixel(size)
    made.slide_width, made.slide_height = (Emu(round(side * emu)) for side in size)
    slide = made.slides.add_slide(made.slide_layouts[6])  # the empty one
    for number, file in enumerate(files[:-1]):
        layer = _opened(file)
        if (box := _box(layer)) is None:  # there is nothing to be moved
            continue
        facts = read_origin(file)
        part = encode(layer.crop(box), OutputFormat.PNG, facts, by_ai="model" in facts, producer=producer)
        left, top, right, bottom = (Emu(round(side * emu)) for side in box)
        shape = slide.shapes.add_picture(io.BytesIO(part), left, top, Emu(right - left), Emu(bottom - top))
        shape.name = layer_name(number)
    made.core_properties.title = str(read_origin(files[-1]).get("prompt", ""))[:255]
    made.core_properties.author = producer[:255]
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


_MADE: Mapping[ArchiveFormat, Callable[[Sequence[bytes], str], bytes]] = {
    ArchiveFormat.PSD: _psd,
    ArchiveFormat.PPTX: _pptx,
}


def _emu_a_pixel(size: Size) -> float:
    return max(SLIDE_EMU / max(size), LEAST_EMU / min(size))


def _opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file)).convert("RGBA")


def _box(layer: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the box around what can be seen of a layer; None where nothing can."""
    return layer.getchannel("A").getbbox()
