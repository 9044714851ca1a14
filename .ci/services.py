"""Install from Debian what `make test-services` needs, where that may be done; else say in one line what is missing.

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
    if (missing := absent()) and os.geteuid() == 0 and shutil.which("apt-get"):
        install([PACKAGES[each] for each in missing])
    if missing := absent():
        packages = " ".join(PACKAGES[each] for each in missing)
        print(f"services: {', '.join(missing)} missing; install: apt-get install {packages}", file=sys.stderr)
    return int(bool(missing) and bool(os.environ.get("CI")))


def absent() -> list[str]:
    """The commands that are not here."""
    return [each for each in PACKAGES if shutil.which(each, path=PATH) is None]


def install(packages: Sequence[str]) -> None:
    """Install packages without starting what they bring. Whether it worked is looked at afterwards."""
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "--quiet", *command], env=quiet, stdout=subprocess.DEVNULL, check=False)  # noqa: S607


if __name__ == "__main__":
    sys.exit(main())
