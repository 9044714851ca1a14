"""Run the parts of parts.toml one after the other, and print what each took in minutes and in CPU-minutes.

The first part that fails ends the run. A part that takes more CPU than its row allows fails the run as well: minutes
depend on who else uses the machine, CPU-minutes hardly. Standard library only.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED_MINUTES = 90
WARN_MINUTES = 70
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Part:
    """A row of parts.toml."""

    name: str
    command: str
    cpu_minutes: float
    unless: str = ""


@dataclass(frozen=True)
class Took:
    """What came of a part; `minutes` of the clock, `cpu_minutes` of all its processes."""

    part: Part
    status: int = 0
    minutes: float = 0.0
    cpu_minutes: float = 0.0
    skipped: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the part took more CPU than it may."""
        return self.cpu_minutes > self.part.cpu_minutes


def main() -> int:
    """Run the table; 1 where a part fails or takes more than it may."""
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".ci/parts.toml"
    adopt_orphans()
    done = run_all(read(table))
    print(summary(done))
    return int(any(took.status or took.is_over for took in done))


def read(table: Path) -> list[Part]:
    """The rows of the table."""
    return [Part(**row) for row in tomllib.loads(table.read_text(encoding="utf-8"))["part"]]


def run_all(parts: Sequence[Part]) -> list[Took]:
    """Run the parts up to the first that fails."""
    done: list[Took] = []
    for part in parts:
        print(f"== {part.name}: {part.command}", flush=True)
        done.append(run(part))
        if done[-1].status:
            break
    return done


def run(part: Part) -> Took:
    """Run one part, or find that it need not run."""
    if part.unless:
        reason = subprocess.run(part.unless, shell=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S602 - our own table
        if reason.returncode == 0:
            print(reason.stdout.strip(), flush=True)
            return Took(part, skipped=reason.stdout.strip())
    began, cpu = time.monotonic(), cpu_of_children()
    status = subprocess.run(part.command, shell=True, cwd=ROOT, check=False).returncode  # noqa: S602 - our own table
    if left := end_orphans():
        print(f"{part.name} left processes behind: {', '.join(left)}", file=sys.stderr, flush=True)
    return Took(part, status, (time.monotonic() - began) / 60, (cpu_of_children() - cpu) / 60)


# -- CPU of all processes --------------------------------------------------------------------------------------------


def adopt_orphans() -> None:
    """Become the parent of processes whose own parents end, so that their CPU counts too. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def cpu_of_children() -> float:
    """CPU seconds of all processes below this one that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def end_orphans() -> list[str]:
    """Kill what still runs below this process, and wait for it; the names of what was killed."""
    left: list[str] = []
    while pids := children():
        for pid in pids:
            with suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    left.append(name)
                    os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
    return left


def children() -> list[int]:
    """Ids of the processes whose parent is this one; none where there is no /proc."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []


# -- the summary -----------------------------------------------------------------------------------------------------


def summary(done: Sequence[Took]) -> str:
    """A table of the parts, and what is to be said of it."""
    lines = [f"\n{'part':<16}{'minutes':>9}{'CPU-minutes':>13}{'of':>7}"]
    for took in done:
        told = "skipped" if took.skipped else "failed" if took.status else "too much CPU" if took.is_over else ""
        figures = f"{took.minutes:>9.1f}{took.cpu_minutes:>13.1f}{took.part.cpu_minutes:>7g}"
        lines.append(f"{took.part.name:<16}{figures}  {told}".rstrip())
    minutes, cpu_minutes = sum(took.minutes for took in done), sum(took.cpu_minutes for took in done)
    lines.append(f"{'all':<16}{minutes:>9.1f}{cpu_minutes:>13.1f}")
    for took in done:
        if took.is_over:
            lines.append(
                f"{took.part.name} took {took.cpu_minutes:.1f} CPU-minutes, and {took.part.cpu_minutes:g} are allowed: "
                "make it cheaper, or say in parts.toml why it may cost more."
            )
    if minutes > WARN_MINUTES:
        lines.append(f"Warning: {minutes:.0f} of the {ALLOWED_MINUTES} minutes that a run may take are used.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
