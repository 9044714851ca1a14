"""Where the bytes of strangers are opened: small ordinary pictures here, all others in processes of their own. So are
documents written, which may take as much.

Decoding one picture may take seconds and a gigabyte, and decoders have faults. A process for it (`imaging.decoder`) is
started when the first such file comes, is bounded in memory and time, and is ended and replaced when it goes beyond.
Every function here may be called from any thread and returns when the work is done.
"""

import atexit
import io
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from qwen_image_studio.contract.adjustments import Region
from qwen_image_studio.contract.errors import StudioError, refusal
from qwen_image_studio.contract.layers import ArchiveFormat
from qwen_image_studio.contract.words import Size
from qwen_image_studio.imaging import decoder
from qwen_image_studio.imaging.bounds import check_bounds, png_notes
from qwen_image_studio.imaging.decoder import packed, unpacked
from qwen_image_studio.imaging.formats import format_of, reader_of, unsupported
from qwen_image_studio.imaging.masks import Marked
from qwen_image_studio.imaging.opening import BROKEN
from qwen_image_studio.imaging.received import WORK, Blobs, Received, heard, heard_mask

SMALL_BYTES = 4_000_000
SMALL_PIXELS = 1_500_000
"""Largest picture that is opened in this process; it takes about 0.2 s of one core, mostly without the interpreter."""
_SMALL_FORMATS = {"PNG", "JPEG", "WebP", "GIF", "BMP"}
_SMALL_SCANS = 12
_SMALL_NOTES = 4

DECODERS = 2
"""Processes at most; each takes up to 24 bytes for every pixel of the largest picture that is taken."""
_AT_ONCE = 4  # small pictures in this process
WAIT_S = 20.0
"""Longest wait for a turn, in seconds."""
DEADLINE_S = 60.0
"""Longest work on one file, in seconds; of a processor it gets less (`decoder.CPU_S`)."""

DOCUMENT_CPU_S = 40
"""Seconds of a processor that one document may cost; one is written at a time."""

_log = logging.getLogger(__name__)


def receive_image(data: bytes, *, param: str, max_bytes: int, max_pixels: int) -> Received:
    """Open one file. Raises StudioError as `open_image` does, and ``queue_full`` where too many are being opened."""
    limits = {"max_bytes": max_bytes, "max_pixels": max_pixels}
    return heard(*_done("picture", [param], [data], {"param": param, **limits}))


def receive_mask(marked: bytes | Region, size: Size, *, max_bytes: int, max_pixels: int) -> tuple[Marked, Received]:
    """Open the file of a mask, or draw a region, for an image of that size.

    Raises StudioError as `open_mask` and `region_mask` do, and ``queue_full`` where too many files are being opened.
    """
    limits = {"max_bytes": max_bytes, "max_pixels": max_pixels}
    if isinstance(marked, Region):
        told, blobs = _done("region", ["region"], [], {"region": marked.model_dump(), "size": size, **limits})
    else:
        told, blobs = _done("mask", ["mask"], [marked], {"size": size, **limits})
    return heard_mask(told), heard(told, blobs)


def receive_white_mask(data: bytes, first: bytes | None, *, max_bytes: int, max_pixels: int) -> bytes:
    """Do as `white_mask`; also raises StudioError ``queue_full`` where too many files are being opened."""
    blobs = [data] if first is None else [data, first]
    return _done("white", ["mask", "image"], blobs, {"max_bytes": max_bytes, "max_pixels": max_pixels})[1][0]


def make_document(kind: ArchiveFormat, files: Blobs, *, pixels: int, producer: str) -> bytes:
    """Do as `documents.document`, whose pictures have so many pixels together. Raises StudioError ``queue_full`` where
    others are being written, and ``invalid_value`` where it takes too much.
    """
    arguments = {"kind": kind.value, "producer": producer, "max_pixels": pixels}
    try:
        return _WRITERS.done("document", "format", files, arguments)[1][0]
    finally:
        _WRITERS.end()  # documents are rare, and what one has left in memory is much


def _done(work: str, params: Sequence[str], blobs: Blobs, arguments: dict[str, Any]) -> tuple[dict[str, Any], Blobs]:
    """Do the work here where it is small, else in a decoder; `params` are what errors call the blobs."""
    if any(len(blob) > arguments["max_bytes"] for blob in blobs):
        return WORK[work](blobs, **arguments)  # which refuses it unread
    width, height = arguments.get("size", (0, 0))
    if width * height <= SMALL_PIXELS and all(map(is_small, blobs, params)):
        with _turn(_here, params[0]):
            return WORK[work](blobs, **arguments)
    return _DECODERS.done(work, params[0], blobs, arguments)


def is_small(data: bytes, param: str) -> bool:
    """Return whether a file costs so little that it is opened in this process. Raises StudioError where its format or
    its bounds refuse it.
    """
    name = format_of(data, param)
    if len(data) > SMALL_BYTES or name not in _SMALL_FORMATS:
        return False
    if check_bounds(data, name, param) > _SMALL_SCANS:
        return False
    if name == "PNG" and png_notes(data) > _SMALL_NOTES:
        return False
    try:
        width, height = reader_of(name, param)(io.BytesIO(data)).size
    except BROKEN:  # as its decoder will say
        return True
    return width * height <= SMALL_PIXELS


# -- turns ---------------------------------------------------------------------------------------------------------

_here = threading.Semaphore(_AT_ONCE)
_PICTURES = "opening other large pictures; send it again in a moment, or a smaller one"
_DOCUMENTS = "writing another document; ask again in a moment"


@contextmanager
def _turn(turns: threading.Semaphore, param: str, others: str = _PICTURES) -> Iterator[None]:
    """Wait for a turn, and have it for a while. Raises StudioError ``queue_full`` where it takes too long."""
    if not turns.acquire(timeout=WAIT_S):
        raise _busy(param, others)
    try:
        yield
    finally:
        turns.release()


def _busy(param: str, others: str) -> StudioError:
    return StudioError("queue_full", f"{param}: the server is {others}.", param=param, retry_after=5)


# -- decoders ------------------------------------------------------------------------------------------------------


class _Decoder:
    """One process, and the pipes to it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qwen_image_studio.imaging.decoder", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries write what strangers make them write
            env=_environment(),
            bufsize=0,
        )
        self._ends = [pipe.fileno() for pipe in (self.process.stdin, self.process.stdout) if pipe is not None]
        for end in self._ends:
            os.set_blocking(end, False)

    def ask(self, message: Sequence[bytes], deadline: float) -> tuple[dict[str, Any], list[bytes]]:
        """Return the answer to a message. Raises OSError or EOFError where none comes, TimeoutError at the deadline."""
        sink, source = self._ends
        for piece in message:
            rest = memoryview(piece)
            while rest:
                _wait(sink, select.POLLOUT, deadline)
                rest = rest[os.write(sink, rest[: 1 << 20]) :]

        def read(count: int) -> bytes:
            got = bytearray(count)
            rest = memoryview(got)
            while rest:
                _wait(source, select.POLLIN, deadline)
                if not (length := os.readv(source, [rest[: 1 << 20]])):
                    raise EOFError
                rest = rest[length:]
            return got  # type: ignore[return-value]  # as bytes it would be there twice, and it may be large

        return unpacked(read)

    def end(self) -> int:
        """End the process, and return with which code it ended."""
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        return code


def _too_much(param: str) -> StudioError:
    return unsupported(
        param, "takes more time or memory to open than a picture may. Save it again as a plain JPEG or PNG."
    )


def _too_much_to_write(param: str) -> StudioError:
    return refusal(param, "a document of these layers takes more time or memory than there is for it; take zip")


class _Decoders:
    """The processes of this one; they are started when they are needed, and kept."""

    def __init__(
        self,
        most: int = DECODERS,
        others: str = _PICTURES,
        too_much: Callable[[str], StudioError] = _too_much,
        cpu_s: int = decoder.CPU_S,
    ) -> None:
        """`most` is the number of processes, `others` what they are said to do where all are busy, and `too_much` makes
        the error where a piece of work takes more than `cpu_s` seconds of a processor, or more memory than there is.
        """
        self._others, self._too_much, self._cpu_s = others, too_much, cpu_s
        self.turns = threading.Semaphore(most)
        self._idle: list[_Decoder] = []
        atexit.register(self.end)

    def done(self, work: str, param: str, blobs: Blobs, arguments: dict[str, Any]) -> tuple[dict[str, Any], Blobs]:
        """Have one piece of work done. Raises StudioError, also where it takes too much."""
        message = packed({"work": work, "with": arguments, "cpu_s": self._cpu_s}, blobs)
        with _turn(self.turns, param, self._others):
            try:
                process = self._take()
            except OSError as error:
                _log.error("no process for a picture: %s", error)
                raise _busy(param, self._others) from None
            try:
                answer, made = process.ask(message, time.monotonic() + DEADLINE_S)
            except (OSError, EOFError, ValueError) as error:
                _log.warning("a decoder was ended at %s: %s, code %d", param, type(error).__name__, process.end())
                raise self._too_much(param) from None
            self._idle.append(process)
        if "error" not in answer:
            return answer["told"], made
        code, said, blamed = answer["error"]
        raise StudioError(code, said, param=blamed) if said else self._too_much(param)

    def _take(self) -> _Decoder:
        while self._idle:
            process = self._idle.pop()
            if process.process.poll() is None:
                return process
            process.end()
        return _Decoder()

    def end(self) -> None:
        """End the processes that have nothing to do."""
        while self._idle:
            self._idle.pop().end()


def _wait(end: int, event: int, deadline: float) -> None:
    left = deadline - time.monotonic()
    poller = select.poll()
    poller.register(end, event)
    if left <= 0 or not poller.poll(left * 1000):
        raise TimeoutError


def _environment() -> dict[str, str]:
    """Return what a decoder is told of this process: where modules are, and none of its secrets."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
    paths = os.pathsep.join(path for path in sys.path if path)
    return {**told, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1", "MALLOC_ARENA_MAX": "2"}


_DECODERS = _Decoders()
_WRITERS = _Decoders(1, _DOCUMENTS, _too_much_to_write, DOCUMENT_CPU_S)
