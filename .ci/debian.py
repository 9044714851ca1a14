"""Install the commands and fonts that are named from Debian, as root; else say in one line what is missing.

Standard library only. It fails where something is missing in CI; elsewhere the tests of what is missing are skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = {
    "nginx": "nginx-light",
    "caddy": "caddy",
    "node": "nodejs",
    "npm": "npm",
    "chromium": "chromium",
    "wqy-microhei.ttc": "fonts-wqy-microhei",  # Chinese in 1.6 MB
    "postgres": "postgresql",
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "faketime": "faketime",
    "ip": "iproute2",
}
"""Debian's package of each command and font file."""
ALSO = {"chromium": ("chromium-browser", "google-chrome")}
"""Other names under which the same lies on other systems."""
FONTS = Path("/usr/share/fonts")


def main() -> int:
    """Install what is missing; 1 where it is missing after that, in CI."""
    rights, wanted = as_root(), sys.argv[1:]
    if (missing := absent(wanted)) and rights is not None and shutil.which("apt-get"):
        install(rights, [PACKAGES[each] for each in missing])
        for each in missing:  # one that cannot stand beside others, as npm beside a nodejs that brings it, stops all
            if absent([each]):
                install(rights, [PACKAGES[each]])
    if missing := absent(wanted):
        packages = " ".join(PACKAGES[each] for each in missing)
        print(f"setup: {', '.join(missing)} missing; install: apt-get install {packages}", file=sys.stderr)
    return int(bool(missing) and bool(os.environ.get("CI")))


def absent(wanted: Sequence[str]) -> list[str]:
    """Those that are not here: commands on PATH or where Debian keeps what is not for PATH, fonts among all fonts."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]

    def here(name: str) -> bool:
        return shutil.which(name, path=os.pathsep.join(folders)) is not None or any(FONTS.rglob(name))

    return [each for each in wanted if not any(map(here, (each, *ALSO.get(each, ()))))]


def as_root() -> Sequence[str] | None:
    """What makes a command root's: nothing for root, sudo in CI; None where it may not be."""
    if os.geteuid() == 0:
        return ()
    return ("sudo", "--non-interactive") if os.environ.get("CI") and shutil.which("sudo") else None


def install(rights: Sequence[str], packages: Sequence[str]) -> None:
    """Install packages without starting what they bring. Whether it worked is looked at afterwards."""
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "--quiet")
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run([*rights, *quiet, *command], stdout=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    sys.exit(main())
