"""Layers as PSD and PPTX, read back by the libraries that others read them with."""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pptx import Presentation
from psd_tools import PSDImage
from psd_tools.constants import Resource

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.contract.words import OutputFormat
from qwen_image_studio.imaging import decoding, encode, read_origin
from qwen_image_studio.imaging.decoding import make_document
from qwen_image_studio.imaging.documents import document
from tests.support.layers import recomposed, toy_layers

SIZE = (150, 100)
FACTS: Mapping[str, str | int | float] = {"model": "miniature-layered", "prompt": "a cup", "seed": 7}


def files(layers: list[Image.Image], output_format: OutputFormat = OutputFormat.PNG) -> list[bytes]:
    """The files of layers and of what they make."""
    return [encode(each, output_format, FACTS) for each in (*layers, recomposed(layers))]


def made(kind: ArchiveFormat, layers: list[Image.Image], **changed: Any) -> io.BytesIO:
    """The document, as another process writes it."""
    pixels = (len(layers) + 1) * math.prod(layers[0].size)
    return io.BytesIO(make_document(kind, files(layers, **changed), pixels=pixels, producer="Ann's studio"))


def largest_difference(one: Image.Image | None, other: Image.Image) -> int:
    """The most by which two pictures differ where either can be seen at all, in levels."""
    assert one is not None
    first, second = (np.asarray(each.convert("RGBA")).astype(int) for each in (one, other))
    seen = (first[..., 3] > 0) | (second[..., 3] > 0)
    return int(np.abs(first - second)[seen].max(initial=0))


def test_a_psd_has_the_layers_in_order_by_name_on_their_canvas() -> None:
    layers = toy_layers(3, SIZE, 7)
    psd = PSDImage.open(made(ArchiveFormat.PSD, layers))
    assert psd.size == SIZE
    assert [layer.name for layer in psd] == ["Background", "Layer 1", "Layer 2"]
    assert all(layer.kind == "pixel" and layer.visible for layer in psd)
    for layer, own in zip(psd, layers, strict=True):
        assert layer.bbox == own.getchannel("A").getbbox()
        whole = Image.new("RGBA", SIZE, (0, 0, 0, 0))
        part = layer.topil()
        assert part is not None
        whole.paste(part, (layer.left, layer.top))
        assert largest_difference(whole, own) == 0


def test_what_a_psd_shows_and_what_its_layers_make_is_the_recomposed_picture() -> None:
    layers = toy_layers(4, SIZE, 7)
    file = made(ArchiveFormat.PSD, layers)
    psd = PSDImage.open(file)
    assert psd.has_preview()
    assert largest_difference(psd.topil(), recomposed(layers)) == 0
    assert largest_difference(psd.composite(force=True), recomposed(layers)) <= 2
    file.seek(0)
    assert largest_difference(Image.open(file), recomposed(layers)) == 0


def test_a_psd_keeps_the_transparency_of_the_whole() -> None:
    ground = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    ground.paste((200, 30, 40, 255), (20, 20, 60, 60))
    layers = [ground, *toy_layers(3, SIZE, 7)[1:]]
    psd = PSDImage.open(made(ArchiveFormat.PSD, layers))
    shown = psd.topil()
    assert largest_difference(shown, recomposed(layers)) <= 2
    assert shown is not None
    assert shown.getchannel("A").getpixel((0, 0)) == 0


def test_a_psd_says_that_it_is_ais() -> None:
    psd = PSDImage.open(made(ArchiveFormat.PSD, toy_layers(2, SIZE, 7)))
    xmp = psd.image_resources[Resource.XMP_METADATA].data
    assert b"trainedAlgorithmicMedia" in bytes(xmp)
    assert "Ann" in bytes(xmp).decode()


@pytest.mark.parametrize("size", [(150, 100), (64, 192), (640, 64)])
def test_a_slide_has_each_layer_where_it_was(size: tuple[int, int]) -> None:
    layers = toy_layers(4, size, 7)
    shown = Presentation(made(ArchiveFormat.PPTX, layers))
    [slide] = shown.slides
    assert shown.slide_width / shown.slide_height == pytest.approx(size[0] / size[1], rel=1e-4)
    assert [shape.name for shape in slide.shapes] == ["Background", "Layer 1", "Layer 2", "Layer 3"]
    emu = shown.slide_width / size[0]
    whole = Image.new("RGBA", size, (0, 0, 0, 0))
    for shape, layer in zip(slide.shapes, layers, strict=True):
        left, top = round(shape.left / emu), round(shape.top / emu)
        part = Image.open(io.BytesIO(shape.image.blob))
        assert (left, top, left + part.width, top + part.height) == layer.getchannel("A").getbbox()
        assert (round(shape.width / emu), round(shape.height / emu)) == part.size
        assert read_origin(shape.image.blob)["model"] == "miniature-layered"
        put = Image.new("RGBA", size, (0, 0, 0, 0))
        put.paste(part, (left, top))
        whole = Image.alpha_composite(whole, put)
    assert largest_difference(whole, recomposed(layers)) == 0


def test_a_layer_with_nothing_in_it_stays_a_layer_and_is_no_picture_of_a_slide() -> None:
    layers = [*toy_layers(2, SIZE, 7), Image.new("RGBA", SIZE, (0, 0, 0, 0))]
    assert [layer.name for layer in PSDImage.open(made(ArchiveFormat.PSD, layers))][-1] == "Layer 2"
    [slide] = Presentation(made(ArchiveFormat.PPTX, layers)).slides
    assert [shape.name for shape in slide.shapes] == ["Background", "Layer 1"]


@pytest.mark.parametrize("kind", [ArchiveFormat.PSD, ArchiveFormat.PPTX])
def test_documents_are_made_of_webp_too(kind: ArchiveFormat) -> None:
    assert made(kind, toy_layers(2, SIZE, 7), output_format=OutputFormat.WEBP).getvalue()


def test_the_same_layers_make_the_same_psd() -> None:
    sent = files(toy_layers(3, SIZE, 7))
    assert document("psd", sent, "p") == document("psd", sent, "p")


def test_a_document_that_takes_too_much_is_refused_and_the_next_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as starved:
        starved.setattr(decoding, "DEADLINE_S", 0.0)
        with pytest.raises(StudioError, match="take zip") as refused:
            made(ArchiveFormat.PSD, toy_layers(2, SIZE, 7))
    assert (refused.value.code, refused.value.param) == ("invalid_value", "format")
    assert made(ArchiveFormat.PSD, toy_layers(2, SIZE, 7)).getvalue()


def test_documents_are_written_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "WAIT_S", 0.0)
    with decoding._WRITERS.turns, pytest.raises(StudioError, match="another document") as refused:
        made(ArchiveFormat.PSD, toy_layers(2, SIZE, 7))
    assert (refused.value.code, refused.value.param) == ("queue_full", "format")
