"""Opening images that strangers send: refused by the header or brought into one form, and never another exception."""

import io
import random
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.imaging import open_image
from qwen_image_studio.imaging.bounds import MAX_JPEG_SCANS
from qwen_image_studio.imaging.pixels import on_white

RED = (255, 0, 0)
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP"]


def opened(data: bytes, *, max_bytes: int = 5_000_000, max_pixels: int = 50_000_000) -> Image.Image:
    """What a model is shown of a file; its transparency is looked at in test_colours."""
    return on_white(open_image(data, max_bytes=max_bytes, max_pixels=max_pixels, param="image[1]"))


def refusal(data: bytes, **limits: int) -> StudioError:
    with pytest.raises(StudioError) as caught:
        opened(data, **limits)
    assert caught.value.param == "image[1]"
    assert caught.value.message.startswith("'image[1]' ")
    return caught.value


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def picture(width: int = 40, height: int = 24) -> Image.Image:
    """Red, but green in its upper left quarter: it tells how it is turned."""
    image = Image.new("RGB", (width, height), RED)
    image.paste((0, 255, 0), (0, 0, width // 2, height // 2))
    return image


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG (ISO/IEC 15948, 5.3)."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"", extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def claiming(width: int, height: int) -> dict[str, bytes]:
    """Small files of each format whose headers claim a size of their own."""
    small = picture(16, 16)
    jpeg = bytearray(saved(small, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", min(height, 65500), min(width, 65500))
    webp = bytearray(saved(small, "WEBP", lossless=True))
    webp[21:25] = struct.pack("<I", min(width - 1, 16383) | min(height - 1, 16383) << 14)
    gif = bytearray(saved(small, "GIF"))
    gif[6:10] = struct.pack("<HH", min(width, 65535), min(height, 65535))
    grown = bytearray(saved(small, "GIF"))  # a small screen, but a first frame that reaches far beyond it
    place = grown.index(b",", 13 + 6)
    grown[place + 5 : place + 9] = struct.pack("<HH", min(width, 65535), min(height, 65535))
    bmp = bytearray(saved(small, "BMP"))
    bmp[18:26] = struct.pack("<ii", width, height)
    made = {"png": png(width, height), "jpeg": jpeg, "webp": webp, "gif": gif, "gif frame": grown, "bmp": bmp}
    return {name: bytes(data) for name, data in made.items()}


# Limits


@pytest.mark.parametrize("side", [9000, 12000, 60000, 2**31 - 1])
@pytest.mark.parametrize("name", sorted(claiming(9000, 9000)))
def test_a_claim_of_too_many_pixels_is_refused(name: str, side: int) -> None:
    data = claiming(side, side)[name]
    assert len(data) < 2000
    assert refusal(data).code in ({"image_too_large"} if side < 2**31 - 1 else {"image_too_large", "unsupported_image"})


def test_the_message_tells_size_limit_and_remedy() -> None:
    data = png(9000, 9000)
    assert len(data) == 65
    assert refusal(data).message == (
        "'image[1]' has 9000x9000 pixels, 81.0 megapixels; at most 50 megapixels are taken. Send a smaller picture."
    )
    assert "at most 0.1 MB" in refusal(b"x" * 200_000, max_bytes=100_000).message


def test_limits_are_inclusive() -> None:
    data = saved(picture(40, 24), "PNG")
    assert opened(data, max_pixels=960, max_bytes=len(data)).size == (40, 24)
    assert refusal(data, max_pixels=959).code == "image_too_large"
    assert refusal(data, max_bytes=len(data) - 1).code == "image_too_large"


MEASURE = """
import resource, sys
from tests.server import test_imaging as t
bombs = t.bombs()
t.opened(t.saved(t.picture(), "PNG")), t.opened(t.saved(t.picture(), "WEBP"))
t.opened(t.saved(t.picture(), "JPEG", exif=b"Exif\\0\\0II*\\0\\xff\\xff\\xff\\xff"))
for name, data in bombs.items():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = t.refusal(data, max_bytes=50_000_000).code
    print(name, code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sep="|")
"""


def bombs() -> dict[str, bytes]:
    """Small files that unpack, or claim to unpack, into a great deal."""
    text = zlib.compress(b"\0" * 100_000_000)
    return {
        **{f"{name} {side}": data for side in (9000, 12000, 60000) for name, data in claiming(side, side).items()},
        "zTXt": png(16, 16, extra=chunk(b"zTXt", b"Comment\0\0" + text)),
        "iTXt": png(16, 16, extra=chunk(b"iTXt", b"Comment\0\1\0\0\0" + text)),
        "scans": many_scans(5000),
    }


def test_bombs_are_never_unpacked() -> None:
    # its own process: the peak of this one may have been higher already, and pytest sets warnings its own way
    done = subprocess.run([sys.executable, "-W", "always", "-c", MEASURE], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # none of Pillow's warnings reaches the log
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert len(lines) == 21
    for name, code, grown_kb in lines:
        assert code in {"image_too_large", "unsupported_image"}, name
        assert int(grown_kb) < 50_000, name


def many_scans(count: int) -> bytes:
    """A progressive JPEG in which the last scan is repeated."""
    data = saved(picture(), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * count + data[end:]


def test_a_jpeg_of_too_many_scans_is_refused() -> None:
    assert "scans" in refusal(many_scans(MAX_JPEG_SCANS)).message
    assert opened(many_scans(20)).size == (40, 24)
    # The two bytes of a scan's marker elsewhere, as in the film behind a phone's picture, are none.
    plain = saved(picture(), "JPEG", comment=b"\xff\xda" * 1000)
    assert opened(plain + b"\xff\xda" * 1000).size == (40, 24)


def test_more_pixels_than_pillows_own_limit_are_opened_where_ours_allows_it() -> None:
    data = saved(Image.new("1", (9600, 9600)), "PNG")
    assert opened(data, max_pixels=100_000_000).size == (9600, 9600)


@pytest.mark.parametrize("size", [(7, 7), (1, 1), (7, 100), (100, 7)])
def test_specks_are_refused(size: tuple[int, int]) -> None:
    error = refusal(saved(Image.new("RGB", size), "PNG"))
    assert (error.code, "at least 8" in error.message) == ("unsupported_image", True)


def test_strips_are_refused() -> None:
    assert opened(saved(Image.new("RGB", (160, 8)), "PNG")).size == (160, 8)
    for size in ((161, 8), (8, 161)):
        error = refusal(saved(Image.new("RGB", size), "PNG"))
        assert (error.code, "20 times" in error.message) == ("unsupported_image", True)


# What is no picture


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\0", "not a picture"),
        (b"hello", "not a picture"),
        (random.Random(1).randbytes(4096), "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"<!doctype html><title>404</title>", "web page"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "video"),
        (b"8BPS\0\1", "Photoshop"),
        (b"PK\3\4", "ZIP archive or an Office document"),
        (b"\xff\x0a\0", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"<!-- Generator: x -->\n<svg/>", "SVG"),
        (b'{"error": 1}', "JSON"),
        (b"SIMPLE  =                    T".ljust(2880), "not a picture"),  # FITS
        (saved(picture(), "ICO"), "icon"),
        (saved(picture(), "PPM"), "not a picture"),
        (saved(picture(), "TGA"), "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
    ],
)
def test_other_kinds_of_file_are_refused_by_name(data: bytes, said: str) -> None:
    error = refusal(data)
    assert error.code == "unsupported_image"
    assert said in error.message
    assert "PNG, JPEG, WebP, AVIF, HEIC, TIFF, GIF or BMP" in error.message


def test_a_server_without_a_reader_for_heic_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A15: the operator may have left pi-heif out."""
    monkeypatch.setattr("qwen_image_studio.imaging.formats.HEIC_READER", ("no_such_module", "Reader"))
    assert "installed without pi-heif. Save it as JPEG or PNG" in refusal(b"\0\0\0\x18ftypheic\0\0\0\0").message


@pytest.mark.parametrize("file_format", FORMATS)
def test_cut_off_files_are_refused(file_format: str) -> None:
    noise = Image.frombytes("RGB", (64, 64), random.Random(2).randbytes(64 * 64 * 3))
    data = saved(noise, file_format)
    for length in [*range(1, 60), len(data) // 4, len(data) // 2]:
        assert refusal(data[:length]).code in {"unsupported_image", "image_too_large"}
    assert "damaged or cut off" in refusal(data[: len(data) // 2]).message


@cache
def specimens() -> tuple[bytes, ...]:
    """Whole files of every format and many modes, with metadata, to be damaged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a title"
    meta: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile}
    image = picture(24, 16)
    frames = [image.convert("P"), ImageOps.mirror(image).convert("P")]
    return (
        *[saved(image.convert(mode), "PNG", **meta) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[saved(image.convert(mode), "JPEG", **meta) for mode in ("L", "RGB", "CMYK")],
        saved(image, "JPEG", progressive=True, **meta),
        *[saved(image.convert("RGBA"), "WEBP", lossless=lossless, **meta) for lossless in (False, True)],
        *[saved(frames[0], kind, save_all=True, append_images=frames[1:]) for kind in ("GIF", "WEBP", "PNG")],
        *[saved(image.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")],
        saved(image.convert("P"), "GIF", transparency=0, comment="a comment"),
        *[saved(image.convert(mode), "TIFF", **meta) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16")],
        *[saved(image, "TIFF", compression=packed) for packed in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")],
        *[saved(image.convert(mode), "AVIF", **meta) for mode in ("RGB", "RGBA")],
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # as in a server, where Pillow goes on after most of them
@given(data=st.data())
@settings(max_examples=1500, deadline=None)
def test_damaged_files_raise_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(specimens())))
    for _ in range(data.draw(st.integers(1, 6))):
        # Half of the damage goes to the first bytes, where the structure is.
        end = data.draw(st.sampled_from([min(120, len(damaged)), len(damaged)]))
        place = data.draw(st.integers(0, max(0, end - 1)))
        length = data.draw(st.sampled_from([0, 1, 1, 2, 4]))
        damaged[place : place + length] = data.draw(st.binary(max_size=4))
    _either_opens_or_refuses(bytes(damaged))


@given(st.binary(max_size=200), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b""]))
@settings(max_examples=300, deadline=None)
def test_made_up_bytes_raise_nothing_else(data: bytes, start: bytes) -> None:
    _either_opens_or_refuses(start + data)


def _either_opens_or_refuses(data: bytes) -> None:
    try:
        image = opened(data, max_pixels=1_000_000)
    except StudioError as error:
        code = error.code
    else:
        code = "unsupported_image" if (image.mode, image.info) == ("RGB", {}) else "neither"
        image.tobytes()
    assert code in {"unsupported_image", "image_too_large"}


def test_many_threads_open_at_once() -> None:
    """Warnings are errors here: nothing may touch the process-wide filters meanwhile."""
    data = [saved(picture(200, 100), file_format) for file_format in FORMATS] + [png(9000, 9000), b"", b"GIF89a"]
    outcomes: list[str] = []

    def work() -> None:
        for each in data * 5:
            try:
                outcomes.append(opened(each).mode)
            except StudioError as error:
                outcomes.append(error.code)

    filters = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == filters
    assert [outcomes.count(each) for each in ("RGB", "image_too_large", "unsupported_image")] == [200, 40, 80]
