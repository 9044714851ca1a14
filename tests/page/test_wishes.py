"""Each wish of people has a test that holds it."""

import ast
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent
WISHES = tomllib.loads((FOLDER / "wishes.toml").read_text(encoding="utf-8"))["wish"]
NUMBER = 30


def existing() -> set[str]:
    """Names of all tests of this folder."""
    return {
        node.name
        for file in FOLDER.glob("test_*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_each_wish_has_tests_that_exist() -> None:
    assert len(WISHES) == NUMBER
    assert all(wish["asks"] and wish["tests"] for wish in WISHES)
    named = {test for wish in WISHES for test in wish["tests"]}
    assert named <= existing(), named - existing()
