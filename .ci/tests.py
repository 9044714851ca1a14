"""Run pytest, and what failed once more, alone; a test that fails twice fails the run.

Hundreds of tests start servers, databases and browsers side by side on two cores; one in thousands meets a pause that
nobody planned for. What is broken fails alone as well. More failures than a few are no accident and end the run.
Tests start hundreds of servers. Where Python is told to keep no bytecode each would compile all libraries anew, which
takes longer than the tests, so the cache keeps it. The arguments are pytest's. Standard library only.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST = 8
"""Most failures that get a second run."""
FAILED = 1
"""Exit status of pytest where tests failed."""


def main(arguments: Sequence[str]) -> int:
    """Run the tests that the arguments name; pytest's exit status."""
    cache = ROOT / ".cache/pytest" / ("-".join(each.strip("-/").replace("/", ".") for each in arguments)[:100] or "all")
    kept = ["-o", f"cache_dir={cache}"]
    record = cache / "v/cache/lastfailed"
    record.unlink(missing_ok=True)  # of an earlier run
    status = pytest(*arguments, *kept)
    failed = list(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else []
    if status != FAILED or not 0 < len(failed) <= MOST:
        return status
    print(f"\n{len(failed)} failed, and run once more, alone:", *failed, sep="\n  ", flush=True)
    again = pytest(*arguments, "--last-failed", "--numprocesses", "0", *kept)
    print(
        "unsteady: they failed beside others, and passed alone" if again == 0 else "they failed twice",
        *failed,
        sep="\n  ",
    )
    return again


def pytest(*arguments: str) -> int:
    """Run pytest; its exit status."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(ROOT / ".cache/bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
