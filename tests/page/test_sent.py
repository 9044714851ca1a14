"""What is sent of a script is the same script, line by line: only comments are left out."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from qwen_image_studio.settings import Settings
from qwen_image_studio.web.page import STATIC, open_page
from tests.page.support.node import module

READER = Path(__file__).parent / "node/words/same.mjs"


def other_programs(scripts: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return the names of those that mean something else by their second text."""
    module("acorn/package.json")
    said = json.dumps(scripts)
    answer = subprocess.run(["node", READER], input=said, capture_output=True, text=True, check=False)  # noqa: S607
    assert answer.returncode == 0, answer.stderr
    found: list[str] = json.loads(answer.stdout)
    return found


def test_scripts_are_sent_as_they_are_but_for_comments(tmp_path: Path) -> None:
    sent = open_page(Settings(data_dir=tmp_path)).files
    own = {name: (STATIC / name).read_text(encoding="utf-8") for name in sent if name.startswith("js/")}
    assert other_programs({name: (text, sent[name].decode()) for name, text in own.items()}) == []
    assert sum(len(sent[name]) for name in own) < 0.9 * sum(len(text.encode()) for text in own.values())


def test_another_program_is_seen() -> None:
    scripts = {
        "same": ("/** Says. */\nlet a = 1;", "\nlet a = 1;"),
        "other": ("let a = `\n// b\n`;", "let a = `\n\n`;"),
        "on another line": ("/** Says. */\nlet a = 1;", "let a = 1;"),
    }
    assert other_programs(scripts) == ["other", "on another line"]
