"""The rules of the tests themselves, held against their source."""

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.contract.test_layers import imported, modules
from tests.support import ROOT

TESTS = modules(ROOT / "tests")
USERS = [*modules(ROOT / "examples"), *modules(ROOT / "benchmarks"), *modules(ROOT / "server/training")]


def folders_of_tests(names: set[str]) -> set[str]:
    """The folders of tests that some imports reach into: ``tests.plugin.test_tools`` is of plugin."""
    return {name.split(".")[1] for name in names if name.startswith("tests.")}


def test_a_folder_of_tests_imports_from_itself_and_from_support() -> None:
    for path in TESTS:
        own = path.relative_to(ROOT / "tests").parts[0]
        strangers = folders_of_tests(imported(path)) - {own, "support"}
        assert not strangers, f"{path} imports from {strangers}; what several folders share goes to tests/support"


def test_what_is_no_test_imports_from_support_alone() -> None:
    for path in USERS:
        assert folders_of_tests(imported(path)) <= {"support"}, path


def found(rule: Callable[[ast.AST], Iterator[int]]) -> list[str]:
    """Where the tests break a rule, as file:line."""
    return [
        f"{path.relative_to(ROOT)}:{line}"
        for path in TESTS
        for line in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]


# -- no private attribute of the product is written ------------------------------------------------------------------


def is_private(name: str) -> bool:
    """Whether a name is somebody's own; ``__cause__`` and the like are Python's."""
    return name.startswith("_") and not name.endswith("__")


def private_writes(tree: ast.AST) -> Iterator[int]:
    """Lines that write an attribute with a leading underscore of anything but ``self``, or patch one by its name."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets):
                written = targets
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                written = [target]
            case ast.Delete(targets=targets):
                written = targets
            case ast.Call(func=ast.Name("setattr" | "delattr") | ast.Attribute(attr="setattr" | "delattr"), args=args):
                words = [each.value for each in args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
                if any(is_private(word.rpartition(".")[2]) for word in words):
                    yield node.lineno
                continue
            case _:
                continue
        for part in (part for each in written for part in ast.walk(each)):
            match part:
                case ast.Attribute(value=ast.Name("self")):
                    pass
                case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()) if is_private(name):
                    yield part.lineno


def test_no_private_attribute_is_written() -> None:
    assert found(private_writes) == []


@pytest.mark.parametrize(
    ("code", "is_one"),
    [
        ("worker._store = failing", True),
        ("worker._gallery.files = failing", False),
        ("a, worker._store = 1, 2", True),
        ("self._seen = 1", False),
        ("monkeypatch.setattr(module, '_read', read)", True),
        ("monkeypatch.setattr('module.loop._read', read)", True),
        ("setattr(worker, '_store', failing)", True),
        ("monkeypatch.setattr(module, 'PAUSE_S', 0.1)", False),
        ("assert worker._store is store", False),
        ("error.__cause__ = cause", False),
    ],
)
def test_a_write_of_a_private_attribute_is_seen(code: str, is_one: bool) -> None:
    assert bool(list(private_writes(ast.parse(code)))) is is_one


# -- nothing is said about how long something takes ------------------------------------------------------------------


CLOCKS = {"monotonic", "perf_counter", "monotonic_ns", "perf_counter_ns"}


def is_clock(node: ast.expr) -> bool:
    """Whether an expression is the time of a clock that measures."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in CLOCKS
    return False


def measurements(tree: ast.AST) -> Iterator[int]:
    """Lines that measure seconds: a difference of times, or a comparison with the time."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=ast.Sub(), left=left, right=right) if is_clock(left) or is_clock(right):
                yield node.lineno
            case ast.Compare(left=left, comparators=others) if any(map(is_clock, (left, *others))):
                yield node.lineno


def test_nothing_is_asserted_on_wall_time() -> None:
    # What waits for a state, up to a deadline, stands in support.
    assert [line for line in found(measurements) if not line.startswith("tests/support/")] == []


@pytest.mark.parametrize(
    ("code", "is_one"),
    [
        ("assert time.monotonic() - began < 5", True),
        ("took = time.perf_counter() - began", True),
        ("assert time.monotonic() < deadline", True),
        ("fetch_all([url], time.monotonic() + 10)", False),
        ("old = time.time() - 100", False),
    ],
)
def test_a_measurement_of_seconds_is_seen(code: str, is_one: bool) -> None:
    assert bool(list(measurements(ast.parse(code)))) is is_one
