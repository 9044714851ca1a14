"""The layers of docs/architecture.md, held against the imports of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    {"vocabulary", "adjustments", "schemas", "settings", "errors", "processes"},
    {"imaging", "fetch", "prompts", "safety", "devices"},
    {"jobs", "dispatch", "storage", "engine"},
    {"archives", "auth", "batches", "intake", "keeper", "pictures", "web", "worker"},
    {"app", "webserver", "supervisor", "doctor", "shell", "__main__"},
]
PORTS = LAYERS[2]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path: Path) -> str:
    """The part of the server that a file belongs to: jobs, web, worker ..."""
    return path.relative_to(ROOT / "server").parts[0].removesuffix(".py")


SERVER = [path for path in modules("server") if part(path) not in {"__init__", "miniature"}]


@pytest.mark.parametrize("path", SERVER, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    own = part(path)
    for name in imported(path):
        if not name.startswith("server."):
            continue
        other = name.split(".")[1]
        if other in {own, "__version__"}:
            continue
        assert RANK[other] <= RANK[own], f"{own} imports {other} from a layer above"
        assert not (own in PORTS and other in PORTS), f"the ports {own} and {other} know each other"
        assert {own, other} != {"web", "worker"}, "the web process never has the worker"


def test_torch_is_imported_by_the_engine_alone() -> None:
    heavy = {"torch", "diffusers", "transformers"}
    users = {path for path in modules("server") if any(name.split(".")[0] in heavy for name in imported(path))}
    parts = {part(path) for path in users}
    assert parts == {"engine", "miniature"}
    assert ROOT / "server/engine/__init__.py" not in users
    assert ROOT / "server/engine/plan.py" not in users


def test_the_worker_never_imports_flask_and_the_web_never_torch() -> None:
    for module, unwanted in (("server.worker", ["flask", "torch"]), ("server.webserver", ["torch", "transformers"])):
        code = f"import sys, {module}; print([name for name in {unwanted} if name in sys.modules])"
        answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == "[]", module


def test_the_plugin_and_the_server_are_joined_by_http_only() -> None:
    for path in [*modules("tools"), *modules("provider"), ROOT / "main.py"]:
        assert not [name for name in imported(path) if name.split(".")[0] in {"server", "tests"}], path
    for path in modules("server"):
        assert not [name for name in imported(path) if name.split(".")[0] in {"tools", "provider", "tests"}], path
    assert not [name for name in imported(ROOT / "tools/client.py") if name.startswith("dify_plugin")]


def test_modules_and_functions_stay_small() -> None:
    for folder in ("server", "tools", "provider"):
        for path in modules(folder):
            text = path.read_text()
            assert len(text.splitlines()) <= 350, f"{path} is to be split by noun"
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef) and "migrations" not in path.parts:
                    length = (node.end_lineno or 0) - node.lineno + 1
                    assert length <= 60, f"{path}: {node.name} has {length} lines"
