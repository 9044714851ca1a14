"""``python -m qwen_image_studio.host.probe [ROLE] [--ready]``: whether a process of this container or pod is well.

For the probes of Docker and Kubernetes, which ask every few seconds: standard library only, so that it takes
hundredths of a second, and never the database, whose failure is no reason to start workers again. It prints one line,
and ends with 0 or with 1: the process is to be replaced, or with ``--ready`` cannot work yet or at the moment.
"""

import argparse
import http.client
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from qwen_image_studio.system.pulse import beats

ROLES = ("serve", "web", "worker", "light", "safety")
"""The commands that run until they are stopped."""
LATE_S = 60.0
"""Age of the last beat, in seconds, from which a process counts as hung; many beats fit in it."""
ANSWER_S = 5.0
"""Time in which the web process has to answer, in seconds."""
_UP = {"ready", "busy"}
_DEVICES = {"light", "safety"}
"""Processes that stand for a device of their own name; the other devices are workers'."""


def main(arguments: Sequence[str]) -> int:
    """Probe what the arguments name; 0 where it is well, else 1."""
    parser = argparse.ArgumentParser(prog="qwen_image_studio.host.probe")
    parser.add_argument("role", nargs="?", choices=ROLES, help="default: the command of process 1")
    parser.add_argument("--ready", action="store_true", help="whether it can work, and not only whether it lives")
    asked = parser.parse_args(arguments)
    role = asked.role or role_in(Path("/proc/1/cmdline"))
    if role is None:
        print("process 1 is none of the server's; nothing to probe")
        return 0
    well, said = _web(asked.ready) if role in {"serve", "web"} else _worker(role, asked.ready)
    print(f"{role}: {said}")
    return 0 if well else 1


def role_in(command_line: Path) -> str | None:
    """Return the server's command in a command line as the kernel shows it; None where there is none."""
    try:
        words = command_line.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    return next((word for word in words if word in ROLES), None)


def _web(ready: bool) -> tuple[bool, str]:
    """Return whether the web process answers; with `ready`, whether its database does, too."""
    host, port = os.environ.get("STUDIO_HOST", ""), int(os.environ.get("STUDIO_PORT") or 8300)
    here = "127.0.0.1" if host in {"", "0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(here, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/v1/health/accepts" if ready else "/v1/health/live")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer from {here}:{port} ({error})"
    finally:
        connection.close()
    return status == 200, f"{here}:{port} answered {status}"


def _worker(role: str, ready: bool) -> tuple[bool, str]:
    """Return whether all processes of a role on this host have beaten lately; with `ready`, whether all can work."""
    data_dir = Path(os.environ.get("STUDIO_DATA_DIR") or "data")
    found = [beat for beat in beats(data_dir) if (beat.device == role if role in _DEVICES else _paints(beat.device))]
    if not found:
        return False, f"no process of this host has said in {data_dir} that it lives"
    now, states = time.time(), ", ".join(f"{beat.device} {beat.state}" for beat in found)
    oldest_s = max(now - beat.at for beat in found)
    if oldest_s > LATE_S:
        return False, f"no sign of life for {oldest_s:.0f} seconds ({states})"
    return not ready or all(beat.state in _UP for beat in found), states


def _paints(device: str) -> bool:
    return device not in _DEVICES


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
