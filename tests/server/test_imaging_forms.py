"""Whatever an image comes as, it is opened as one thing: upright 8-bit RGB in sRGB, its first frame, on white."""

import random
import struct
from collections.abc import Callable

import pytest
from PIL import Image, ImageCms, ImageOps

from tests.server.test_imaging import FORMATS, RED, chunk, opened, picture, png, saved

RGB = tuple[int, int, int]
WHITE = (255, 255, 255)


def pixel(image: Image.Image, x: int = 0, y: int = 0) -> RGB:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    red, green, blue = value
    return int(red), int(green), int(blue)


def near(one: RGB, other: RGB, by: int = 3) -> bool:
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


def png_of(pixels: bytes, *, depth: int, colour: int, side: int = 8, extra: bytes = b"") -> bytes:
    """A square PNG of one pixel value, for the modes that Pillow does not write."""
    row = b"\0" + pixels * side
    return png(side, side, depth=depth, colour=colour, rows=row * side, extra=extra)


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_opened_as_plain_rgb(file_format: str) -> None:
    image = opened(saved(picture(), file_format))
    assert (image.mode, image.size, image.info, type(image)) == ("RGB", (40, 24), {}, Image.Image)
    assert near(pixel(image, 2, 2), (0, 255, 0), 12)
    assert near(pixel(image, 37, 21), RED, 12)


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_rgb_comes_through_bit_for_bit(file_format: str) -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(3).randbytes(64 * 64 * 3))
    assert opened(saved(noise, file_format)).tobytes() == noise.tobytes()


TURNS: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: ImageOps.mirror(image.rotate(-90, expand=True)),
    6: lambda image: image.rotate(90, expand=True),
    7: lambda image: ImageOps.mirror(image.rotate(90, expand=True)),
    8: lambda image: image.rotate(-90, expand=True),
}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", sorted(TURNS))
def test_pictures_are_turned_upright(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = TURNS[orientation](picture())  # as the camera stores it: what EXIF says undoes this
    options = {"quality": 95, "lossless": True} if file_format == "WEBP" else {}
    image = opened(saved(stored, file_format, exif=exif.tobytes(), **options))
    assert image.size == (40, 24)
    assert near(pixel(image, 2, 2), (0, 255, 0), 12)
    assert all(near(pixel(image, *corner), RED, 12) for corner in [(37, 2), (2, 21), (37, 21)])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0broken", b"Exif\0\0II*\0\xff\xff\xff\xff", b"II*\0"])
def test_broken_exif_is_ignored(exif: bytes) -> None:
    for file_format in ("JPEG", "WEBP"):
        assert opened(saved(picture(), file_format, exif=exif)).size == (40, 24)


def test_an_orientation_that_there_is_not_is_ignored() -> None:
    for value in (0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = value
        assert opened(saved(picture(), "JPEG", exif=exif.tobytes())).size == (40, 24)


PALETTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "PNG"), WHITE),
        (saved(Image.new("RGBA", (8, 8), (255, 0, 0, 255)), "PNG"), RED),
        (saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG"), (127, 127, 127)),
        (saved(Image.new("RGBA", (8, 8), (0, 0, 255, 128)), "WEBP", lossless=True), (127, 127, 255)),
        (saved(Image.new("LA", (8, 8), (0, 128)), "PNG"), (127, 127, 127)),
        (saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "GIF"), WHITE),
        (saved(Image.new("L", (8, 8), 90), "PNG"), (90, 90, 90)),
        (saved(Image.new("L", (8, 8), 90), "PNG", transparency=90), WHITE),
        (saved(Image.new("RGB", (8, 8), RED), "PNG", transparency=RED), WHITE),
        (saved(Image.new("RGB", (8, 8), RED), "PNG", transparency=(255, 0, 1)), RED),
        (saved(Image.new("1", (8, 8), 1), "PNG"), WHITE),
        (saved(Image.new("1", (8, 8), 0), "PNG"), (0, 0, 0)),
        (png_of(b"\0", depth=8, colour=3, extra=PALETTE), RED),
        (png_of(b"\1", depth=8, colour=3, extra=PALETTE + chunk(b"tRNS", b"\xff\x80")), (127, 127, 255)),
        (png_of(b"\0", depth=8, colour=3, extra=PALETTE + chunk(b"tRNS", b"\xff\x80")), RED),
        (png_of(struct.pack(">H", 65535), depth=16, colour=0), WHITE),
        (png_of(struct.pack(">H", 32896), depth=16, colour=0), (128, 128, 128)),
        (png_of(struct.pack(">H", 300), depth=16, colour=0), (1, 1, 1)),
        (png_of(struct.pack(">HHH", 65535, 32896, 257), depth=16, colour=2), (255, 128, 1)),
        (png_of(struct.pack(">HHHH", 65535, 0, 0, 0), depth=16, colour=6), WHITE),
        (png_of(struct.pack(">HH", 0, 32896), depth=16, colour=4), (127, 127, 127)),
        (saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95), RED),
        (saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), WHITE),
        (saved(Image.new("L", (8, 8), 90), "JPEG"), (90, 90, 90)),
        (saved(Image.new("RGBA", (8, 8), (255, 0, 0, 0)), "BMP"), RED),  # the fourth byte is reserved, not alpha
    ],
)
def test_every_mode_becomes_eight_bit_rgb_on_white(data: bytes, expected: RGB) -> None:
    image = opened(data)
    assert (image.mode, image.info) == ("RGB", {})
    assert near(pixel(image, 4, 4), expected, 2)


def test_only_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    for file_format in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert near(pixel(opened(data)), RED, 8)


def test_an_animation_of_ten_thousand_frames_costs_one() -> None:
    plain = saved(Image.new("P", (16, 16)), "GIF")
    frame = plain[plain.index(b",", 13) : -1]
    data = plain[:-1] + frame * 10_000 + b";"
    assert opened(data).size == (16, 16)


def test_what_follows_a_picture_does_not_matter() -> None:
    for file_format in FORMATS:
        data = saved(picture(), file_format) + b"<script>alert(1)</script>"
        assert opened(data).size == (40, 24)


# Colour profiles


def swapped() -> bytes:
    """An RGB profile whose red and blue primaries are exchanged: what it does is seen at once."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for tag in (b"rXYZ", b"bXYZ"):
        assert profile.count(tag) == 1
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_an_embedded_profile_is_converted_to_srgb(file_format: str) -> None:
    data = saved(Image.new("RGB", (16, 16), RED), file_format, icc_profile=swapped(), quality=95)
    assert near(pixel(opened(data)), (0, 0, 255), 12)


def test_a_profile_goes_with_transparency_and_palette() -> None:
    half = saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG", icc_profile=swapped())
    assert near(pixel(opened(half)), (127, 127, 255), 4)
    palette = saved(Image.new("RGB", (8, 8), RED).convert("P"), "PNG", icc_profile=swapped())
    assert near(pixel(opened(palette)), (0, 0, 255), 4)


def test_srgb_itself_changes_no_bit() -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(4).randbytes(64 * 64 * 3))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert opened(saved(noise, "PNG", icc_profile=profile)).tobytes() == noise.tobytes()


def test_a_profile_is_judged_by_its_numbers_and_not_by_its_name() -> None:
    """A6: what GIMP calls "built-in Linear sRGB" is no sRGB."""
    named = swapped().replace("test".encode("utf-16-be"), "sRGB".encode("utf-16-be"))
    assert near(pixel(opened(saved(Image.new("RGB", (16, 16), RED), "PNG", icc_profile=named))), (0, 0, 255))


@pytest.mark.parametrize(
    "profile", [b"", b"broken", swapped()[:200], swapped()[:128] + b"\xff" * 400, swapped().replace(b"RGB ", b"CMYK")]
)
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    for mode, colour in (("RGB", RED), ("L", 90), ("CMYK", (0, 255, 255, 0))):
        data = saved(Image.new(mode, (16, 16), colour), "JPEG", icc_profile=profile, quality=95)
        assert near(pixel(opened(data)), (90, 90, 90) if mode == "L" else RED)
