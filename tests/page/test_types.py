"""The types of the page's scripts, and of what they make of the API's answers, hold."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.page.support.node import module
from tests.page.support.types import declarations
from tests.support import ROOT

PROJECT = Path(__file__).parent / "tsconfig.json"
MADE = ROOT / ".cache/page/types.d.ts"
"""Where the scripts' `./types.js` is looked for as well (rootDirs)."""


def checked(*arguments: object) -> str:
    """What the compiler has to say."""
    compiler = module("typescript/bin/tsc")
    answer = subprocess.run(["node", compiler, *map(str, arguments)], capture_output=True, text=True, check=False)  # noqa: S607
    return answer.stdout + answer.stderr


@pytest.fixture(scope="module", autouse=True)
def _declared() -> None:
    MADE.parent.mkdir(parents=True, exist_ok=True)
    MADE.write_text(declarations(json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))))


def test_the_types_of_the_scripts_hold() -> None:
    told = checked("--project", PROJECT)
    assert not told, told


def test_a_wrong_field_of_an_answer_is_seen(tmp_path: Path) -> None:
    script = tmp_path / "wrong.js"
    script.write_text(
        f'/** @param {{import("{MADE.with_suffix("").with_suffix("")}").JobView}} job */\n'
        "export const at = (job) => job.progress.stepp;\n"
        "/** @type {(job: {images: {id: string}[]}) => number} */\n"
        "export const wrong = (job) => job.images[0].id;\n"
    )
    told = checked("--noEmit", "--allowJs", "--checkJs", "--strict", "--types", "", script)
    assert "'stepp' does not exist" in told
    assert "'string' is not assignable to type 'number'" in told
