"""File locks between processes of one machine, and processes that end with their parent."""

import ctypes
import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_HUNG = 70
"""Exit code of a process that could not go on; its supervisor starts it again."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold an advisory lock (flock) on a file; it is released when the process ends, however it ends.

    Raises Locked where `wait` is false and another process holds it, and OSError where the disk has no such locks.
    """
    # Here, since a supervised process calls `die_with_parent` before it imports anything that takes time.
    from filelock import FileLock, Timeout

    from qwen_image_studio.contract.errors import Locked

    path.parent.mkdir(parents=True, exist_ok=True)
    # A soft lock is a file that a killed process leaves behind: it would look alive for good.
    held = FileLock(path, blocking=wait, fallback_to_soft=False)
    try:
        held.acquire()
    except Timeout as error:
        raise Locked(str(path)) from error
    try:
        yield
    finally:
        held.release()


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on a file; True as well where that cannot be told.

    A process that waits for the lock still gets it, and so do others that ask at the same time: the lock taken here is
    a shared one, which filelock has not.
    """
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # held, or a file that this process may not open
        return True
    return False


def die_with_parent(parent: int) -> None:
    """End this process when the process `parent` ends, even by kill -9: no orphan may keep a GPU or a port."""
    if os.uname().sysname == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before prctl was called
            os._exit(1)
        return
    threading.Thread(target=watch_parent, args=(parent,), daemon=True, name="parent-watch").start()


def watch_parent(parent: int) -> None:
    """End this process when the process `parent` has ended, looking now and then; unlike prctl's, the child of a thread
    outlives that thread.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
