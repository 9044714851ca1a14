"""How the code is cut: operations are decided in their own files, the recipe stands once, nothing goes in a circle."""

import ast
import functools
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from qwen_image_studio.operations.request import OPERATIONS
from tests.contract.test_layers import HOME, SERVER, modules
from tests.support import ROOT

TOOLS = modules(ROOT / "tools")
REQUESTS = {request.__name__ for request in OPERATIONS.values()} | {"ImageRequest", "PaintRequest"}
MAX_BRANCHES, MAX_BROAD, MAX_P90_LINES = 3, 6, 18


@functools.cache
def tree(path: Path) -> ast.Module:
    """The file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes(path: Path) -> Sequence[ast.AST]:
    """All that stands in the file."""
    return list(ast.walk(tree(path)))


def names(node: ast.AST) -> set[str]:
    """Every name and attribute in a piece of code: ``Operation.EDIT`` has Operation and EDIT."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} | {
        each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)
    }


def is_branch_on_kind(node: ast.AST) -> bool:
    """Whether the code asks which operation a request is of."""
    match node:
        case ast.Call(func=ast.Name("isinstance" | "issubclass"), args=[_, kinds]):
            return bool(names(kinds) & REQUESTS)
        case ast.MatchClass(cls=kind):
            return bool(names(kind) & REQUESTS)
        case ast.MatchValue(value=value):
            return "Operation" in names(value)
        case ast.Compare(left=left, comparators=others):
            return any("Operation" in names(side) for side in (left, *others))
    return False


def test_what_a_request_is_is_asked_in_operations_alone() -> None:
    outside = [path for path in SERVER if "operations" not in path.relative_to(HOME).parts]
    found = [
        f"{path.relative_to(HOME)}:{getattr(node, 'lineno', 0)}"
        for path in outside
        for node in nodes(path)
        if is_branch_on_kind(node)
    ]
    assert len(found) <= MAX_BRANCHES, found


@pytest.mark.parametrize(
    ("code", "is_branch"),
    [
        ("isinstance(asked, EditRequest)", True),
        ("isinstance(asked, EditRequest | batch.BatchRequest)", True),
        ("request.operation is Operation.EDIT", True),
        ("request.NAME in {Operation.EDIT, Operation.GENERATE}", True),
        ("match asked:\n    case EditRequest(): pass", True),
        ("match asked.operation:\n    case Operation.EDIT: pass", True),
        ("isinstance(plan, PaintPlan)", False),
        ("operation = Operation.EDIT", False),
    ],
)
def test_a_branch_on_the_kind_of_a_request_is_seen(code: str, is_branch: bool) -> None:
    assert any(is_branch_on_kind(node) for node in ast.walk(ast.parse(code))) is is_branch


def callers(function: str) -> set[str]:
    """Files of the package that call a function by its bare name."""
    return {
        str(path.relative_to(HOME))
        for path in SERVER
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
    }


def test_the_recipe_stands_once() -> None:
    assert callers("ready") == {"recipe.py", "operations/batch.py"}, "a batch tries its rows before they are jobs"
    for function in ("receive_image", "receive_mask"):
        assert {name for name in callers(function) if not name.startswith("imaging/")} == {"recipe.py"}
    for function in ("open_mask", "region_mask"):
        assert all(name.startswith("imaging/") for name in callers(function))


def test_few_places_catch_whatever_comes() -> None:
    broad = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (*SERVER, *TOOLS)
        for node in nodes(path)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or names(node.type) & {"Exception", "BaseException"})
    ]
    assert len(broad) <= MAX_BROAD, broad


@pytest.mark.parametrize("files", [SERVER, TOOLS], ids=["server", "tools"])
def test_nine_functions_in_ten_are_short(files: list[Path]) -> None:
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for path in files
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[len(lengths) * 9 // 10 - 1] <= MAX_P90_LINES


# -- circles -------------------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    """The name under which a file of the package is imported."""
    return ".".join(path.relative_to(HOME.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SERVER}
"""The modules of the package but for its front door, which imports what is asked of it, when it is asked."""


class Imports(ast.NodeVisitor):
    """The modules that a file needs when it runs, also those that a function of it imports."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        """Leave out what only a type checker reads."""
        if "TYPE_CHECKING" not in names(node.test):
            self.generic_visit(node)
        for other in node.orelse if "TYPE_CHECKING" in names(node.test) else ():
            self.visit(other)

    def visit_Import(self, node: ast.Import) -> None:
        """Note ``import a.b``."""
        self.found |= {alias.name for alias in node.names} & MODULES.keys()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note ``from a import b``, where b is a module or a name in a."""
        full = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
        whole = {str(node.module)} & MODULES.keys() if len(full) < len(node.names) else set()
        self.found |= full | whole


def test_no_module_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        imports = Imports()
        imports.visit(tree(path))
        graph[name] = imports.found
    assert sum(map(len, graph.values())) > 300, "the imports were found"
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
