"""A process that opens the bytes of strangers, one after the other: ``python -m qwen_image_studio.imaging.decoder``.

It reads questions from its standard input and answers on its standard output (see `packed`), and ends with its parent.
The kernel bounds its memory and its time, so that whatever a decoder does with a file, the server goes on.
"""

import json
import os
import resource
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.imaging.received import WORK
from qwen_image_studio.system.processes import watch_parent

CPU_S = 10
"""Seconds of a processor that one file may cost, unless a question names more."""
_BASE_BYTES = 1 << 30
_BYTES_A_PIXEL = 24
"""Memory of this process, without and for each pixel of the largest picture that is taken."""
_HEAD = struct.Struct(">II")

Read = Callable[[int], bytes]
Write = Callable[[Sequence[bytes]], None]


def packed(told: dict[str, Any], blobs: Sequence[bytes]) -> list[bytes]:
    """Return one message in pieces: the lengths of what follows, plain values as JSON, blobs."""
    values = json.dumps({**told, "blobs": [len(blob) for blob in blobs]}).encode()
    return [_HEAD.pack(len(values), len(blobs)), values, *blobs]


def unpacked(read: Read) -> tuple[dict[str, Any], list[bytes]]:
    """Return the next message; `read` returns exactly as many bytes as it is asked for, or raises EOFError."""
    length, _ = _HEAD.unpack(read(_HEAD.size))
    told = json.loads(read(length))
    return told, [read(each) for each in told.pop("blobs")]


def answer(asked: dict[str, Any], blobs: Sequence[bytes]) -> list[bytes]:
    """Do one piece of work and return the message about it."""
    try:
        told, made = WORK[asked["work"]](blobs, **asked["with"])
    except StudioError as error:
        return packed({"error": [error.code, error.message, error.param]}, [])
    except MemoryError:
        return packed({"error": ["image_too_large", "", None]}, [])
    return packed({"told": told}, made)


def _limit(max_pixels: int, cpu_s: int = CPU_S) -> None:
    """Ask the kernel to bound what the next file may cost; a system that cannot leaves that to the parent's clock."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    wanted = {
        resource.RLIMIT_AS: _BASE_BYTES + _BYTES_A_PIXEL * max_pixels,
        resource.RLIMIT_CPU: int(spent.ru_utime + spent.ru_stime) + cpu_s + 1,
    }
    for limit, soft in wanted.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (soft, resource.getrlimit(limit)[1]))


def main() -> None:
    """Answer until the standard input ends."""
    threading.Thread(target=watch_parent, args=(int(sys.argv[1]),), daemon=True, name="parent-watch").start()
    os.nice(5)  # those who wait for an answer of the server come first
    questions, answers = sys.stdin.buffer, sys.stdout.buffer

    def read(count: int) -> bytes:
        piece = questions.read(count)
        if len(piece) < count:
            raise EOFError
        return piece

    with suppress(EOFError, BrokenPipeError):
        while True:
            asked, blobs = unpacked(read)
            _limit(asked["with"]["max_pixels"], asked.get("cpu_s", CPU_S))
            for piece in answer(asked, blobs):
                answers.write(piece)
            answers.flush()
            del asked, blobs


if __name__ == "__main__":
    main()
