"""Install from Debian what `make test-services` needs, as root; else say in one line what is missing.

Standard library only. It fails where something is missing in CI; elsewhere the tests of what is missing are skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

PACKAGES = {"nginx": "nginx-light", "caddy": "caddy"}
"""Debian's package of each command."""
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def main() -> int:
    """Install what is missing; 1 where it is missing after that, in CI."""
    rights = as_root()
    if (missing := absent()) and rights is not None and shutil.which("apt-get"):
        install(rights, [PACKAGES[each] for each in missing])
    if missing := absent():
        packages = " ".join(PACKAGES[each] for each in missing)
        print(f"services: {', '.join(missing)} missing; install: apt-get install {packages}", file=sys.stderr)
    return int(bool(missing) and bool(os.environ.get("CI")))


def absent() -> list[str]:
    """The commands that are not here."""
    return [each for each in PACKAGES if shutil.which(each, path=PATH) is None]


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
