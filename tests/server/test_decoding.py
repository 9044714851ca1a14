"""Small files that would cost much: bounded before they are decoded, and decoded where they stop nobody."""

import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
from PIL import Image

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.imaging import bounds, decoder, decoding
from qwen_image_studio.imaging.decoding import receive_image, receive_mask, receive_white_mask
from qwen_image_studio.imaging.received import Received, stored_form
from tests.server.test_imaging import chunk, many_scans, picture, png, saved

LIMITS = {"max_bytes": 20_000_000, "max_pixels": 50_000_000}


def receive(data: bytes) -> Received:
    return receive_image(data, param="image", **LIMITS)


def refusal(data: bytes) -> str:
    with pytest.raises(StudioError) as caught:
        receive(data)
    assert (caught.value.code, caught.value.param) == ("unsupported_image", "image")
    return caught.value.message


def run_length_bmp(width: int, height: int) -> bytes:
    """A BMP whose rows are runs of 255 equal pixels (BI_RLE8)."""
    row = b"\xff\1" * (width // 255) + bytes([width % 255, 1]) + b"\0\0"
    body, start = row * height + b"\0\1", 54 + 1024
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + bytes(1024) + body


def inside_jpeg(filling: bytes) -> bytes:
    plain = saved(picture(), "JPEG")
    return plain[:2] + filling + plain[2:]


def inside_gif(filling: bytes) -> bytes:
    plain = saved(picture().convert("P"), "GIF")
    place = plain.index(b",", 13)
    return plain[:place] + filling + plain[place:]


def scans_over(side: int, count: int) -> bytes:
    """A progressive JPEG of one colour, with many more scans."""
    data = saved(Image.new("RGB", (side, side), "red"), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * count + data[end:]


ATTACKS = {
    "run-length": run_length_bmp(7000, 7000),
    "2000 segments": inside_jpeg(b"\xff\xe5\0\2" * 900_000),
    "filled up": inside_jpeg(b"\xff" * 3_900_000),
    "segments, or": inside_jpeg(b"\xff" + b"\xff\xe5\0\2\0" * 900_000),
    "20000 chunks": png(16, 16, extra=chunk(b"teXt", b"") * 300_000),
    "64 texts": png(16, 16, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) * 65),
    "10000 blocks": inside_gif(b"!\xfe\1a\0" * 700_000),
    "blocks before": inside_gif(b"!\xfe" + b"\1a" * 1_900_000 + b"\0"),
    "98 scans, too many for its 16": scans_over(4000, 89),
    "100 scans": many_scans(5000),
}


@pytest.mark.parametrize("said", ATTACKS)
def test_a_small_file_made_of_countless_pieces_is_refused_before_it_is_decoded(said: str) -> None:
    """B5: each of these took seconds of the web process."""
    began = time.process_time()
    assert said in refusal(ATTACKS[said])
    assert time.process_time() - began < 0.5


def test_ordinary_files_with_many_pieces_are_taken() -> None:
    """B5: a profile in 40 segments, texts, comments and the chunks of a large PNG are no attack."""
    for data in (
        inside_jpeg((b"\xff\xe2\x03\xea" + bytes(1000)) * 40),
        inside_jpeg(b"\xff\xff\xff\xfe\0\5abc\xff"),
        inside_gif(b"!\xfe\5hello\0" * 200),
        saved(picture(), "PNG", pnginfo=None) + b"trailing" * 1000,
        scans_over(200, 10),
    ):
        assert receive(data).size[0] >= 40


# -- in a process of its own ---------------------------------------------------------------------------------------


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take every file for a large one, which goes to a decoder."""
    monkeypatch.setattr(decoding, "SMALL_BYTES", 0)
    monkeypatch.setattr(decoding, "SMALL_PIXELS", -1)
    yield
    decoding._DECODERS.end()


def decoders() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            found += [child] if "qwen_image_studio.imaging.decoder" in child.cmdline() else []
    return found


@pytest.mark.usefixtures("all_large")
def test_a_decoder_does_the_same_as_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """B5: what is large is opened elsewhere, and nobody can tell by the result."""
    image = saved(picture().convert("RGBA").rotate(45), "PNG")
    hole = saved(Image.new("RGBA", (40, 24), (0, 0, 0, 0)), "PNG")
    white = saved(Image.new("RGB", (40, 24), "white"), "PNG")
    region = Region(x=0, y=0, width=0.5, height=0.5)

    def all_of_it() -> list[Any]:
        return [
            receive(image),
            receive_mask(white, (40, 24), **LIMITS),
            receive_mask(region, (40, 24), **LIMITS),
            receive_white_mask(hole, saved(picture(), "PNG"), **LIMITS),
        ]

    there = all_of_it()
    assert len(decoders()) == 1
    monkeypatch.undo()
    assert all_of_it() == there
    assert there[0] == stored_form(there[0].image())


@pytest.mark.usefixtures("all_large")
def test_errors_of_a_decoder_are_those_of_this_process() -> None:
    """B5: the field, the reason and the remedy come through."""
    assert "damaged or cut off" in refusal(saved(picture(), "JPEG")[:-200])
    with pytest.raises(StudioError, match="black all over") as caught:
        receive_mask(saved(Image.new("L", (40, 24)), "PNG"), (40, 24), **LIMITS)
    assert caught.value.param == "mask"


@pytest.mark.usefixtures("all_large")
def test_a_decoder_that_takes_too_long_is_ended_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """B5: the caller reads what to do, and the next picture is opened."""
    receive(saved(picture(), "PNG"))
    (first,) = decoders()
    monkeypatch.setattr(decoding, "DEADLINE_S", 0.0)
    assert "more time or memory to open than a picture may. Save it again" in refusal(saved(picture(), "PNG"))
    monkeypatch.undo()
    monkeypatch.setattr(decoding, "SMALL_BYTES", 0)
    assert receive(saved(picture(), "PNG")).size == (40, 24)
    assert first not in decoders()
    assert len(decoders()) == 1


@pytest.mark.usefixtures("all_large")
def test_a_decoder_that_has_died_meanwhile_is_replaced_unnoticed() -> None:
    """B5: the kernel may have taken its memory."""
    receive(saved(picture(), "PNG"))
    (first,) = decoders()
    first.kill()
    first.wait(10)
    assert receive(saved(picture(), "PNG")).size == (40, 24)


@pytest.mark.usefixtures("all_large")
def test_more_files_than_decoders_take_turns() -> None:
    """B5: ten at once are opened by two processes."""
    data = saved(picture(), "PNG")
    sizes: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: sizes.append(receive(data).size)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == [(40, 24)] * 10
    assert 1 <= len(decoders()) <= decoding.DECODERS


@pytest.mark.usefixtures("all_large")
def test_who_finds_no_turn_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """B5: 429 with a time, as for a full queue."""
    monkeypatch.setattr(decoding, "WAIT_S", 0.01)
    monkeypatch.setattr(decoding._DECODERS, "turns", threading.Semaphore(0))
    with pytest.raises(StudioError, match="send it again in a moment") as caught:
        receive(saved(picture(), "PNG"))
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("queue_full", 429, 5)


MEMORY = """
import resource, sys
from tests.server.test_decoding import saved, picture
from qwen_image_studio.imaging import decoder
decoder._BASE_BYTES, decoder._BYTES_A_PIXEL = 1 << 28, 0
from PIL import Image
data = saved(Image.new("RGB", (9000, 9000)), "PNG")
decoder._limit(10)
asked = {"work": "picture", "with": {"param": "image", "max_bytes": 10**9, "max_pixels": 10**9}}
print(b"".join(decoder.answer(asked, [data])))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not bound the memory of a process")
def test_the_kernel_bounds_the_memory_of_a_decoder() -> None:
    """B5: whatever a decoder asks for, the server keeps its memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, env=decoding._environment()
    )
    assert "image_too_large" in done.stdout


def test_a_decoder_ends_with_its_parent() -> None:
    """B5: no orphan, however the server ends."""
    command = [sys.executable, "-m", "qwen_image_studio.imaging.decoder", str(os.getpid())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=decoding._environment())
    assert process.stdin is not None
    for piece in decoder.packed({"work": "picture", "with": {"param": "a", **LIMITS}}, [saved(picture(), "PNG")]):
        process.stdin.write(piece)
    told, blobs = decoder.unpacked(io.BytesIO(process.communicate()[0]).read)
    assert (told["told"]["size"], len(blobs), process.wait(30)) == ([40, 24], 2, 0)


def test_frames_are_counted_without_decoding_them() -> None:
    """B5: an animation of a hundred thousand frames is counted up to a bound."""
    frame = saved(picture().convert("P"), "GIF")
    first = frame.index(b",", 13)
    assert bounds.frames(frame[:-1] + frame[first:-1] * 11 + b";", "GIF") == 12
    counted = bounds.frames(frame[:-1] + frame[first:-1] * 150_000 + b";", "GIF")
    assert 1000 < counted < 150_000
