"""The rooms of docs/architecture.md, held against the imports of every module: strictly downward, nothing sideways."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

PACKAGE = "qwen_image_studio"
HOME = ROOT / "server" / PACKAGE
FLOORS = [
    {"contract"},
    {"settings"},
    {"system", "variables"},
    {"database"},
    {"imaging", "prompts", "planning"},
    {"models", "jobs", "guard", "credentials"},
    {"gallery", "loading"},
    {"operations"},
    {"painting", "adjusting"},
    {"recipe"},
    {"intake"},
    {"web", "worker", "local"},
    {"host"},
    {"commands"},
    {"__main__"},
]
"""Rooms from the ground up; a room imports only from floors below its own."""
RANK = {name: rank for rank, names in enumerate(FLOORS) for name in names}


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    """The room of the package that a file belongs to: jobs, web, worker ..."""
    return path.relative_to(HOME).parts[0].removesuffix(".py")


SERVER = [path for path in modules(HOME) if path != HOME / "__init__.py"]


def test_imports_go_strictly_downward() -> None:
    for path in SERVER:
        own = room(path)
        for name in imported(path):
            if not name.startswith(f"{PACKAGE}."):
                continue
            other = name.split(".")[1]
            if other in {own, "__version__"}:
                continue
            assert RANK[other] < RANK[own], f"{path} imports {name}, which is not below {own}"


def test_every_room_has_its_floor() -> None:
    assert {room(path) for path in SERVER} == RANK.keys()


def test_torch_is_imported_where_models_are_loaded_and_painted_with_alone() -> None:
    heavy = {"torch", "diffusers", "transformers", "peft"}
    users = {path for path in SERVER if any(name.split(".")[0] in heavy for name in imported(path))}
    assert {room(path) for path in users} <= {"models", "loading", "painting", "local"}
    assert not users & {HOME / "models/table.py", HOME / "models/known_words.py", HOME / "models/loras.py"}


def test_the_worker_never_imports_flask_and_the_web_never_torch() -> None:
    for module, unwanted in (
        ("worker.loop", ["flask", "torch"]),
        ("host.webserver", ["torch", "transformers", "peft", "mcp_types"]),
    ):
        code = f"import sys, {PACKAGE}.{module}; print([name for name in {unwanted} if name in sys.modules])"
        answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == "[]", module


def test_the_plugin_and_the_server_are_joined_by_http_only() -> None:
    for path in [*modules(ROOT / "tools"), *modules(ROOT / "provider"), ROOT / "main.py"]:
        assert not [name for name in imported(path) if name.split(".")[0] in {PACKAGE, "server", "tests"}], path
    for path in SERVER:
        strangers = {"tools", "provider", "tests", "training"}
        assert not [name for name in imported(path) if name.split(".")[0] in strangers], path
    for name in ("client", "exchange", "connection", "errors", "views", "versions"):
        assert not [each for each in imported(ROOT / f"tools/{name}.py") if each.startswith("dify_plugin")], name


def test_modules_and_functions_stay_small() -> None:
    for folder in (HOME, ROOT / "server/training", ROOT / "tools", ROOT / "provider"):
        for path in modules(folder):
            if "tests" in path.parts:
                continue
            text = path.read_text()
            assert len(text.splitlines()) <= 350, f"{path} is to be split by noun"
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef) and "migrations" not in path.parts:
                    length = (node.end_lineno or 0) - node.lineno + 1
                    assert length <= 60, f"{path}: {node.name} has {length} lines"
