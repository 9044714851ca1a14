"""Which functions of ours a process calls, and when. Standard library only: the plugin's Python loads this file too."""

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
OURS = ("tools/", "provider/", "server/qwen_image_studio/")
_IS_FUNCTION = 1
"""The flag CO_OPTIMIZED of code: what runs while a module is imported, its body and those of classes, has it not."""


def follow_calls(note: Callable[[int, str], None]) -> None:
    """Call ``note`` at every call of a function of ours, in this thread and all that start from now on.

    It is handed the time in nanoseconds of the machine's monotonic clock, the same in every process, and the file.
    """

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_flags & _IS_FUNCTION and (file := _our_file(code.co_filename)):
            note(time.monotonic_ns(), file)

    threading.setprofile(profile)
    sys.setprofile(profile)


def stop_following() -> None:
    """Note no call of threads that start from now on, and none of this one."""
    threading.setprofile(None)
    sys.setprofile(None)


class CallWriter:
    """Appends a line with time and file to a file at every call of this process, from the first import of `tools` on:
    what is imported before, Dify's SDK above all, would take several times as long.
    """

    def __init__(self, path: str) -> None:
        self._target = os.open(path, os.O_WRONLY | os.O_APPEND)

    def find_spec(self, name: str, *_: object) -> None:
        """Find no module, as one of ``sys.meta_path``, and see which is looked for."""
        if name == "tools":
            sys.meta_path.remove(self)
            follow_calls(lambda at, file: self._write(f"{at} {file}\n"))

    def _write(self, line: str) -> None:
        os.write(self._target, line.encode())


@cache
def _our_file(path: str) -> str:
    """Return a file of ours as it stands below the root; empty for any other."""
    file = os.path.relpath(path, ROOT)
    return file if file.startswith(OURS) else ""
