"""The examples without Dify, run as they stand against a real server; a judge looks at the pictures that come out."""

import base64
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from tests.support import ROOT
from tests.support.studio import Studio
from training.judge import Judge, is_on, load_judge

EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "notebook.ipynb"


@pytest.fixture(scope="module")
def judge() -> Judge:
    """What looks at the pictures."""
    return load_judge()


@pytest.fixture
def environment(studio: Studio) -> dict[str, str]:
    """Where an example finds the server, and the Python that has its packages."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**studio.environment, "SERVER_URL": studio.url, "API_KEY": studio.api_key, "PATH": path}


def run(folder: Path, environment: Mapping[str, str], *command: object) -> str:
    """What a command prints, run in a folder."""
    words = [str(word) for word in command]
    answer = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr
    return answer.stdout


def shown(judge: Judge, picture: Image.Image, *colours: str) -> tuple[tuple[str, ...], list[str]]:
    """The objects of a picture, and those of the colours that its background may be of."""
    return judge.see(picture).icons, [colour for colour in colours if is_on(picture, colour)]


def opened(path: Path) -> Image.Image:
    """A picture of a file, its pixels read."""
    with Image.open(path) as image:
        return image.convert("RGB")


def test_curl_paints_edits_and_turns(environment: dict[str, str], judge: Judge, tmp_path: Path) -> None:
    printed = run(tmp_path, environment, EXAMPLES / "curl.sh", "pictures")
    names = ["apple", "green", "cat", "turned"]
    assert printed.split() == [f"pictures/{name}.png" for name in names]
    apple, green, cat, turned = (opened(tmp_path / f"pictures/{name}.png") for name in names)
    assert shown(judge, apple, "blue", "green") == (("red-apple",), ["blue"])
    assert shown(judge, green, "blue", "green") == (("red-apple",), ["green"])
    assert shown(judge, cat, "blue", "green") == (("cat-face",), ["blue"])
    assert apple.crop((0, 0, 128, 8)).tobytes() == cat.crop((0, 0, 128, 8)).tobytes(), "outside the region"
    upright = turned.transpose(Image.Transpose.ROTATE_90)
    assert [judge.see(upright).icons, turned.size] == [("red-apple",), (128, 128)]


def test_curl_says_what_the_server_refuses(environment: dict[str, str], tmp_path: Path) -> None:
    strange = {**environment, "API_KEY": "wrong"}
    command = [str(EXAMPLES / "curl.sh"), str(tmp_path)]
    answer = subprocess.run(command, env=strange, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "401" in answer.stderr


def test_the_client_of_openai_paints_edits_and_previews(
    environment: dict[str, str], judge: Judge, tmp_path: Path
) -> None:
    printed = run(tmp_path, environment, sys.executable, EXAMPLES / "openai_client.py", "pictures")
    names = [Path(line).name for line in printed.split()]
    assert names[:2] + names[-1:] == ["apple.png", "cat.png", "star.png"]
    assert names[2:-1] == ["star-0.webp", "star-1.webp"][: len(names) - 3], "previews, as many as there was time for"
    pictures = {name: opened(tmp_path / "pictures" / name) for name in names}
    assert shown(judge, pictures["apple.png"], "blue") == (("red-apple",), ["blue"])
    assert shown(judge, pictures["cat.png"], "blue") == (("cat-face",), ["blue"])
    assert shown(judge, pictures["star.png"], "purple") == (("star",), ["purple"])


def test_the_client_of_hugging_face_paints_and_edits(environment: dict[str, str], judge: Judge, tmp_path: Path) -> None:
    printed = run(tmp_path, environment, sys.executable, EXAMPLES / "huggingface_client.py", "pictures")
    names = [Path(line).name for line in printed.split()]
    assert names == ["apple.png", "green.png"]
    apple, green = (opened(tmp_path / "pictures" / name) for name in names)
    assert shown(judge, apple, "blue", "green") == (("red-apple",), ["blue"])
    assert shown(judge, green, "blue", "green") == (("red-apple",), ["green"])


def test_a_campaign_has_one_palette_and_its_lettering_in_each_language(
    environment: dict[str, str], judge: Judge, tmp_path: Path
) -> None:
    printed = run(tmp_path, environment, sys.executable, EXAMPLES / "campaign.py", "made")
    ground = printed.split()[0]
    with (tmp_path / "made/texts.csv").open(encoding="utf-8-sig", newline="") as table:
        texts = list(csv.DictReader(table))
    pictures = [opened(tmp_path / "made" / line["file"]) for line in texts]
    assert [f"{picture.width}x{picture.height}" for picture in pictures] == [line["size"] for line in texts]
    assert all(is_on(picture, ground) for picture in pictures), "one palette"
    seen = [judge.see(picture).icons for picture in pictures[:4]]  # in longer shapes the miniature stretches its things
    assert {icons[0] for icons in seen} == {"cat-face"}, "one subject"
    letters = [icons[1].removeprefix("text ") for icons in seen]
    assert letters[1::2] == ["春", "春"]
    assert all(text.isascii() and text.isupper() for text in letters[::2]), "small HOT is like SALE to the judge"


def test_the_notebook_runs_and_its_pictures_show_what_it_says(
    environment: dict[str, str], judge: Judge, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(NOTEBOOK, tmp_path))
    # The kernel's sockets are files of the test, so that no port is taken away from a server beside it.
    sockets = f"--KernelManager.ip={tmp_path / 'kernel'}"
    run(tmp_path, environment, "jupyter-execute", "--inplace", "--KernelManager.transport=ipc", sockets, copy)
    cells = cells_of(copy)
    made = [shown(judge, picture, "blue", "green", "purple", "pink") for picture in pictures_of(cells)]
    apple, cup = ("red-apple",), ("hot-beverage",)
    assert made == [(apple, ["blue"]), (apple, ["green"]), (apple, ["blue"]), (("star",), ["purple"]), (cup, ["pink"])]
    assert "The same picture as above: True" in str(cells)


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook's file."""
    return list(json.loads(notebook.read_text(encoding="utf-8"))["cells"])


def pictures_of(cells: list[dict[str, Any]]) -> list[Image.Image]:
    """The pictures among the outputs of cells."""
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    coded = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [Image.open(BytesIO(base64.b64decode(text))).convert("RGB") for text in coded]


def test_the_notebook_is_kept_without_outputs() -> None:
    assert [cell["id"] for cell in cells_of(NOTEBOOK) if cell.get("outputs") or cell.get("execution_count")] == []


def blocks(kind: str) -> list[str]:
    """The fenced blocks of one kind in the page on the API."""
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def promised(said: Any, found: Any) -> bool:
    """Whether an answer has all that the page shows of it; what the page shortens, ending in …, begins like that."""
    if isinstance(said, dict):
        return isinstance(found, dict) and all(name in found and promised(said[name], found[name]) for name in said)
    if isinstance(said, list):
        return isinstance(found, list) and len(said) == len(found) and all(map(promised, said, found))
    if isinstance(said, str) and said.endswith("…"):
        return isinstance(found, str) and found.startswith(said[:-1])
    return bool(said == found)


def test_the_commands_of_the_page_on_the_api_run_in_their_order(
    environment: dict[str, str], judge: Judge, tmp_path: Path
) -> None:
    printed = run(tmp_path, environment, "bash", "-euo", "pipefail", "-c", "".join(blocks("sh")))
    job, refused = (json.loads(block) for block in blocks("json"))
    assert promised(job, json.loads((tmp_path / "job.json").read_text()))
    [error] = [line for line in printed.splitlines() if line.startswith('{"error"')]
    assert promised(refused, json.loads(error))
    assert "curl ended with 22" in printed
    assert shown(judge, opened(tmp_path / "apple.png"), "blue") == (("red-apple",), ["blue"])
    with ZipFile(tmp_path / "pictures.zip") as archive:
        assert len(archive.namelist()) == 1
    assert json.loads((tmp_path / "cancelled.json").read_text())["operation"] == "batch"
    assert json.loads((tmp_path / "openai.json").read_text())["data"][0]["url"].startswith("http")
