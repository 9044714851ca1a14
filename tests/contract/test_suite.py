"""The rules of the tests themselves, held against their source."""

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
