"""The declaration in one place, and the YAML files that are made of it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from declaration.__main__ import HERE, made
from tests.support import ROOT

SHARED = ("parameters", "outputs")
FILES = made()


def declared(name: str) -> dict[str, Any]:
    """A file of the declaration."""
    found: dict[str, Any] = yaml.safe_load((HERE / f"{name}.yaml").read_text())
    return found


TOOLS = declared("plugin")["tools"]


@pytest.mark.parametrize("path", FILES)
def test_the_files_are_what_the_declaration_makes(path: str) -> None:
    assert (ROOT / path).read_bytes() == FILES[path].encode(), "run make declare"


def test_every_file_of_the_declaration_is_used() -> None:
    assert {path.stem for path in HERE.glob("*.yaml")} == {"plugin", *SHARED, *TOOLS}


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_shared_is_taken_by_several_tools(kind: str) -> None:
    taken = [
        name
        for tool in TOOLS
        for entry in declared(tool)[kind]
        for name in ([entry] if isinstance(entry, str) else entry)
    ]
    assert [name for name in declared(kind) if taken.count(name) < 2] == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the declaration, to be changed."""
    for path in HERE.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    return tmp_path


TOY = """
label: {en: Toy, zh: 玩具, ja: おもちゃ, pt: Brinquedo}
human: {en: Plays, zh: 玩, ja: 遊ぶ, pt: Brinca}
llm: Plays.
parameters:
  - seed
  - wait: {llm: Whether to wait; default true.}
  - colour: {type: select, form: form, label: Colour, human: A colour, llm: One of red., options: {red: Red}}
outputs:
  - seed
  - job_id: {description: Id of the toy.}
  - colours: {type: array, description: All of them.}
"""


def test_a_new_tool_is_one_file_and_its_name(copy: Path) -> None:
    (copy / "toy.yaml").write_text(TOY)
    plugin = (copy / "plugin.yaml").read_text()
    (copy / "plugin.yaml").write_text(plugin.rstrip() + "\n  - toy\n")
    files = made(copy)
    assert [path for path in files if files[path] != FILES.get(path)] == ["provider/qwen_image.yaml", "tools/toy.yaml"]
    assert yaml.safe_load(files["provider/qwen_image.yaml"])["tools"][-1] == "tools/toy.yaml"
    toy = yaml.safe_load(files["tools/toy.yaml"])
    assert toy["identity"] == {
        "author": "qwen-image-studio",
        "name": "toy",
        "label": {"en_US": "Toy", "zh_Hans": "玩具", "ja_JP": "おもちゃ", "pt_BR": "Brinquedo"},
    }
    of_job = yaml.safe_load(files["tools/image_edit.yaml"])["parameters"]
    [seed, wait] = [each for each in of_job if each["name"] in {"seed", "wait"}]
    same = dict.fromkeys(("en_US", "zh_Hans", "ja_JP", "pt_BR"), "Red")
    assert toy["parameters"][0] == seed
    assert toy["parameters"][1] == {**wait, "llm_description": "Whether to wait; default true."}
    assert toy["parameters"][2]["options"] == [{"value": "red", "label": same}]
    assert toy["output_schema"]["properties"] == {
        "seed": {"type": "number", "description": declared("outputs")["seed"]["description"]},
        "job_id": {"type": "string", "description": "Id of the toy."},
        "colours": {"type": "array", "items": {"type": "string"}, "description": "All of them."},
    }
    assert toy["extra"] == {"python": {"source": "tools/toy.py"}}


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            "parameters",
            "ja: シード, ",
            "",
            r"image_generation.yaml: (?s:.*)seed.label(?s:.*)write it in en, zh, ja, pt",
        ),
        ("image_job", "  - seed", "  - sead", "image_job.yaml: sead is not shared; describe it here"),
        ("image_job", "  - image_id\n", "  - image_id\n  - image_id\n", "image_job.yaml: image_id is there twice"),
        ("image_job", "type: select", "type: choice", r"image_job.yaml: (?s:.*)action.type"),
        ("image_job", "      llm: How", "      lllm: How", r"image_job.yaml: (?s:.*)limit.lllm"),
        ("plugin", "icon_dark: ", "icon_night: ", r"plugin.yaml: (?s:.*)icon_dark"),
    ],
)
def test_a_fault_names_the_file_and_the_place(copy: Path, file: str, old: str, new: str, said: str) -> None:
    text = (copy / f"{file}.yaml").read_text()
    assert old in text
    (copy / f"{file}.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=f"^{said}"):
        made(copy)
