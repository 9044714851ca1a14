"""Rows of a measurement: written as soon as they are there, so that a run that is cut off leaves what it had."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


class Recorder:
    """A file of rows, and the time that is left for further ones."""

    def __init__(self, file: Path, seconds: float) -> None:
        """Begin a new file; what would not be done `seconds` from now is left out."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("w", encoding="utf-8")
        self._began, self._seconds = time.monotonic(), seconds
        self.rows: list[dict[str, Any]] = []
        self.failed = False

    @property
    def left_s(self) -> float:
        """Return the seconds that are left."""
        return self._seconds - (time.monotonic() - self._began)

    def row(self, name: str, **values: Any) -> None:
        """Write a row at once, and show it."""
        row = {"row": name, **values, "at_s": round(time.monotonic() - self._began, 1)}
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        shown = ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)
        print(f"{name:44} {shown}", flush=True)

    def can(self, name: str, needs_s: float) -> bool:
        """Return whether there is time for what takes `needs_s` seconds; a row says so where there is not."""
        if self.left_s >= needs_s:
            return True
        self.row(name, skipped=f"it takes {needs_s:.0f} s, and {max(0.0, self.left_s):.0f} s are left")
        return False

    @contextmanager
    def going_on(self, name: str) -> Iterator[None]:
        """Write a row for what fails within, and go on after it."""
        try:
            yield
        except (RuntimeError, ValueError, TypeError, ArithmeticError, ImportError, NotImplementedError) as error:
            self.failed = True
            self.row(name, failed=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")
        # Only here: within the except clause the traceback still refers to the tensors of what failed.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Write the end, and close the file."""
        self.row("end", left_s=round(self.left_s))
        self._file.close()


class Clock:
    """Moments in the order of the device's work."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")

    def mark(self) -> Any:
        """Return a moment."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def between(self, first: Any, last: Any) -> float:
        """Return the seconds between two moments, waiting for the later one."""
        if not self._cuda:
            return float(last - first)
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000

    def rate(self, work: Any, amount: float, times: int = 10) -> float:
        """Return how much of `amount` is done in a second, over several times after a few for warmth."""
        for _ in range(3):
            work()
        first = self.mark()
        for _ in range(times):
            work()
        return times * amount / self.between(first, self.mark())
