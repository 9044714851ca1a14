"""Files that are given out: the same bytes for the same picture, readable facts, labels that say AI made it."""

import io
import json
import random
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from qwen_image_studio.contract.words import MAX_PROMPT_CHARS, OutputFormat
from qwen_image_studio.imaging import encode, open_image, read_origin, store_copy, thumbnail
from tests.server.test_imaging import picture, png, saved

FORMATS = list(OutputFormat)
FACTS: dict[str, str | int | float] = {
    "prompt": '一只橘猫戴着礼帽 🎩 <b>"O\'Neil" & co</b>\n\x00',
    "negative_prompt": "",
    "seed": 2**32 - 1,
    "model": "Qwen-Image",
    "steps": 50,
    "guidance_scale": 4.0,
    "width": 64,
    "height": 48,
    "version": "1.0.0",
}
XMP_NAMES = {
    "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(5).randbytes(width * height * 3))


def reopened(data: bytes) -> Image.Image:
    return open_image(data, max_bytes=10**8, max_pixels=10**8, param="image")


def xmp_of(data: bytes) -> ElementTree.Element:
    """The XMP packet of a file, found as other programs find it: by its first and last words."""
    packet = re.search(rb"<x:xmpmeta.*?</x:xmpmeta>", data, re.DOTALL)
    assert packet is not None
    return ElementTree.fromstring(packet.group())  # noqa: S314 - our own


def label_of(data: bytes) -> dict[str, str]:
    element = xmp_of(data).find(".//TC260:AIGC", XMP_NAMES)
    assert element is not None
    label = json.loads(element.text or "")
    assert isinstance(label, dict)
    return label


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_format_is_what_was_asked_for(output_format: OutputFormat) -> None:
    data = encode(noise(), output_format, FACTS)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.get_format_mimetype(), image.size, image.mode) == (output_format.mime_type, (64, 48), "RGB")
        assert getattr(image, "n_frames", 1) == 1
    assert encode(noise(), output_format.value, FACTS) == data


def test_png_is_lossless_and_the_others_nearly() -> None:
    smooth = Image.linear_gradient("L").convert("RGB")
    assert reopened(encode(noise(), "png", FACTS)).tobytes() == noise().tobytes()
    for output_format in ("jpeg", "webp"):
        painted = reopened(encode(smooth, output_format, FACTS)).tobytes()
        assert max(abs(one - other) for one, other in zip(painted, smooth.tobytes(), strict=True)) <= 6


def test_jpeg_keeps_the_edges_of_colours() -> None:
    with Image.open(io.BytesIO(encode(noise(), "jpeg", FACTS))) as image:
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_in_gives_the_same_out(output_format: OutputFormat) -> None:
    data = encode(noise(), output_format, FACTS)
    assert encode(noise(), output_format, dict(reversed(FACTS.items()))) == data
    assert encode(noise(), output_format, {**FACTS, "seed": 1}) != data


@pytest.mark.parametrize("output_format", FORMATS)
def test_facts_are_read_again(output_format: OutputFormat) -> None:
    facts = read_origin(encode(noise(), output_format, FACTS))
    assert facts == FACTS
    assert {name: type(value) for name, value in facts.items()} == {name: type(FACTS[name]) for name in FACTS}


LONGEST = {
    "emoji": "🎩",
    "chinese": "猫",
    "control": "\x01",
    "quotes": '"\\',
    "newlines": "\r\n",
    "nul": "\0",
    "ascii": "a",
    "last": "\U0010ffff",
    "mixed": "\x01aaa",
}


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("letters", LONGEST.values(), ids=LONGEST)
def test_the_longest_prompts_fit(output_format: OutputFormat, letters: str) -> None:
    prompt = (letters * MAX_PROMPT_CHARS)[:MAX_PROMPT_CHARS]
    facts: dict[str, str | int | float] = {**FACTS, "prompt": prompt, "negative_prompt": prompt}
    assert read_origin(encode(noise(), output_format, facts)) == facts


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_longest_prompt_of_all_kinds_of_letters_fits(output_format: OutputFormat) -> None:
    letters = [chr(number) for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    chance = random.Random(6)
    facts = {name: "".join(chance.choices(letters, k=MAX_PROMPT_CHARS)) for name in ("prompt", "negative_prompt")}
    assert read_origin(encode(noise(), output_format, facts)) == facts


def test_facts_around_the_limit_of_a_jpeg_segment_fit() -> None:
    for length in range(32_200, 32_800, 20):
        assert read_origin(encode(picture(), "jpeg", {"prompt": "a" * length})) == {"prompt": "a" * length}


@given(prompt=st.text(max_size=200), number=st.integers() | st.floats(allow_nan=False), name=st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_facts_are_read_again(prompt: str, number: float, name: str) -> None:
    facts: dict[str, str | int | float] = {"prompt": prompt, name: number}
    for output_format in FORMATS:
        assert read_origin(encode(picture(), output_format, facts)) == facts


@pytest.mark.parametrize("output_format", FORMATS)
def test_half_a_surrogate_pair_breaks_nothing(output_format: OutputFormat) -> None:
    facts: dict[str, str | int | float] = {"prompt": "a\ud83d", "b\udfff": 1}
    assert read_origin(encode(noise(), output_format, facts)) == facts


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", png(2**31 - 1, 2**31 - 1), saved(picture(), "JPEG")],
        *[saved(picture(), "JPEG", exif=exif) for exif in (b"Exif\0\0junk", b"Exif\0\0II*\0\x08\0\0\0\xff\xff")],
        *[saved(picture(), "GIF", comment='{"qwen_image_studio":{"seed":1}}'), saved(picture(), "WEBP")],
    ],
)
def test_other_files_have_no_facts(data: bytes) -> None:
    assert read_origin(data) == {}


@pytest.mark.parametrize(
    "comment",
    ["", "{", "[]", "null", "1", '{"prompt":"of another program"}', '{"qwen_image_studio":[1]}', "[" * 100_000],
)
def test_comments_of_other_programs_are_not_taken_for_facts(comment: str) -> None:
    text = PngInfo()
    text.add_itxt("Comment", comment)
    assert read_origin(saved(picture(), "PNG", pnginfo=text)) == {}
    exif = Image.Exif()
    for code in (b"UNICODE\0", b"\0" * 8, b"ASCII\0\0\0", b""):
        exif[0x8769] = {0x9286: code + comment.encode("utf-16-le")}
        assert read_origin(saved(picture(), "WEBP", exif=exif.tobytes())) == {}


def test_facts_of_a_nested_kind_are_left_out() -> None:
    text = PngInfo()
    text.add_itxt("Comment", '{"qwen_image_studio":{"seed":1,"x":[1],"y":{"z":1},"n":null}}')
    assert read_origin(saved(picture(), "PNG", pnginfo=text)) == {"seed": 1}


@given(st.data())
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_have_facts_or_none(data: st.DataObject) -> None:
    output_format = data.draw(st.sampled_from(FORMATS))
    damaged = bytearray(encode(picture(), output_format, FACTS))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, min(900, len(damaged) - 1)))] = data.draw(st.integers(0, 255))
    assert set(map(type, read_origin(bytes(damaged)).values())) <= {str, int, float}


# The labels


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_label_of_gb_45438_is_in_the_file(output_format: OutputFormat) -> None:
    label = label_of(encode(noise(), output_format, FACTS))
    assert list(label) == [
        *["Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID"],
        "ReservedCode2",
    ]
    assert label["Label"] == "1"
    assert label["ContentProducer"]
    assert re.fullmatch("[0-9a-f]{32}", label["ProduceID"])


def test_the_number_follows_from_the_facts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    number = label_of(encode(noise(), "png", FACTS))["ProduceID"]
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert label_of(encode(picture(), "jpeg", FACTS))["ProduceID"] == number
    assert label_of(encode(noise(), "png", {**FACTS, "seed": 1}))["ProduceID"] != number


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_source_is_said_to_be_a_trained_algorithm(output_format: OutputFormat) -> None:
    element = xmp_of(encode(noise(), output_format, FACTS)).find(".//Iptc4xmpExt:DigitalSourceType", XMP_NAMES)
    assert element is not None
    assert element.text == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.mark.parametrize("output_format", FORMATS)
def test_pillow_finds_the_labels_where_they_belong(output_format: OutputFormat) -> None:
    with Image.open(io.BytesIO(encode(noise(), output_format, FACTS))) as image:
        packet: Any = image.info["XML:com.adobe.xmp" if output_format is OutputFormat.PNG else "xmp"]
        exif = image.getexif()
    packet = packet if isinstance(packet, str) else packet.decode()
    assert "TC260:AIGC" in packet
    if output_format is not OutputFormat.PNG:
        assert exif[0x0131] == "Qwen-Image Studio"


# Nothing else


@pytest.mark.parametrize("output_format", FORMATS)
def test_what_the_picture_carried_does_not_go_along(output_format: OutputFormat) -> None:
    image = noise()
    image.info = {"comment": b"canary", "Comment": "canary", "dpi": (300, 300), "transparency": (1, 2, 3)}
    image.info |= {"exif": b"Exif\0\0canary", "icc_profile": b"canary" * 30, "xmp": b"canary"}
    assert encode(image, output_format, FACTS) == encode(noise(), output_format, FACTS)
    assert store_copy(image) == store_copy(noise())
    assert thumbnail(image) == thumbnail(noise())
    assert image.info["comment"] == b"canary"  # the caller's picture is left as it was


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        *[((1328, 1328), (320, 320)), ((1664, 928), (320, 178)), ((928, 1664), (178, 320)), ((160, 8), (160, 8))],
        *[((4096, 64), (320, 5)), ((320, 320), (320, 320))],
    ],
)
def test_thumbnails_are_small(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (250, 0, 0))
    with Image.open(io.BytesIO(thumbnail(image))) as small:
        assert (small.format, small.size) == ("WEBP", expected)
        red, green, blue = small.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    assert red > 235
    assert max(green, blue) < 20
    assert image.size == size


def test_a_stored_copy_is_the_picture_bit_for_bit_and_nothing_more() -> None:
    data = store_copy(noise())
    assert data.startswith(b"\x89PNG")
    assert reopened(data).tobytes() == noise().tobytes()
    with Image.open(io.BytesIO(data)) as image:
        assert image.info == {}
    assert read_origin(data) == {}
