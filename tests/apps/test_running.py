"""The example apps run by Dify's own engine: the real plugin on the real SDK, our server, the miniature's pictures.

Only the language model is a stand-in (language_model.py).
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from server.miniature.judge import Judge, load_judge
from tests.apps.conftest import PYTHON, ROOT, Engine
from tests.studio import Studio

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="Dify's workflow engine needs Python 3.12 or 3.13; make setup-tests installs it where there is one",
)
WEIGHTS = ROOT / "server/miniature/weights"
FORM = {"style": "photo", "audience": "everyone", "shape": "1:1"}
COLUMNS = "a {{colour}} {{product}} on a {{background}} background"


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Tells what a picture of the miniature shows."""
    return load_judge(WEIGHTS)


@pytest.fixture(scope="module")
def apple(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A picture to upload: a red apple on blue."""
    job = studio.finished(studio.submit(prompt="a red apple on a blue background", seed=4)["id"])
    path = tmp_path_factory.mktemp("upload") / "apple.png"
    path.write_bytes(studio.request("GET", f"/v1/images/{job['images'][0]['id']}/content").content)
    return {"path": str(path)}


def opened(file: dict[str, str]) -> Image.Image:
    """A file that came out of a run, decoded; its type is what it says."""
    picture: Image.Image = Image.open(file["path"])
    picture.load()
    assert Image.MIME[picture.format or ""] == file["mime_type"]
    return picture


def shown(told: dict[str, Any]) -> str:
    """The text as the person saw it come, piece by piece."""
    return "".join(chunk for _, chunk, _ in told["chunks"])


def assert_delivers(text: str, label: str, file: dict[str, str]) -> None:
    """The Markdown link with that label leads to the very picture."""
    [url] = re.findall(rf"(?<!!)\[{label}\]\((http[^)]+)\)", text)
    assert requests.get(url, timeout=10).content == Path(file["path"]).read_bytes()


def assert_live_progress(told: dict[str, Any], node: str) -> None:
    """The tool's progress came in pieces while its node was not yet done."""
    pieces = [(text, done) for selector, text, done in told["chunks"] if selector == f"{node}.progress"]
    assert len(pieces) >= 2
    assert pieces[-1][0] == "Done.\n"
    assert all(done <= told["order"].index(node) for _, done in pieces)
    assert "".join(text for text, _ in pieces) == told["nodes"][node]["progress"]


@pytest.mark.parametrize(("wish", "language"), [("a red apple", "English"), ("红苹果", "中文")])
def test_form_to_image(engine: Engine, judge: Judge, wish: str, language: str) -> None:
    told = engine.run("form_to_image.yml", wish=wish, language=language, **FORM)
    outputs, [file] = told["outputs"], told["outputs"]["files"]
    seen = judge.see(opened(file))
    assert (seen.icons, seen.colour) == (("red-apple",), "yellow")  # yellow comes from the prompt writer alone
    paint = told["nodes"]["paint"]
    assert opened(file).size == (paint["width"], paint["height"])
    assert told["calls"][0][1]["prompt"] == told["nodes"]["enhance"]["text"] != wish
    text = shown(told)
    assert_live_progress(told, "paint")
    assert text.startswith(f"{paint['progress']}\n![{file['name']}]({file['url']})\n")
    assert f"**Prompt:** {told['nodes']['enhance']['text']}" in text
    assert outputs["answer"] in text
    assert f"seed {outputs['seed']}" in outputs["answer"]
    assert_delivers(outputs["answer"], "Open the picture", file)


@pytest.mark.parametrize("instruction", ["make the background green", "把背景改成绿色"])
def test_upload_and_edit(engine: Engine, judge: Judge, apple: dict[str, str], instruction: str) -> None:
    told = engine.run("upload_and_edit.yml", photo=apple, instruction=instruction)
    outputs, [file] = told["outputs"], told["outputs"]["files"]
    seen = judge.see(opened(file))
    assert (seen.icons, seen.colour) == (("red-apple",), "green")
    assert_delivers(outputs["answer"], "Open the picture", file)
    assert f"![Before and after]({outputs['comparison_url']})" in outputs["answer"]
    strip = Image.open(io.BytesIO(requests.get(outputs["comparison_url"], timeout=10).content))
    assert strip.width >= 2 * opened(file).width
    assert told["calls"][0][1]["images"][0]["filename"] == "apple.png"


def test_upload_and_edit_within_a_box(engine: Engine, apple: dict[str, str]) -> None:
    told = engine.run("upload_and_edit.yml", photo=apple, instruction="make it golden", region="0,0,0.5,1")
    before, after = Image.open(apple["path"]).convert("RGB"), opened(told["outputs"]["files"][0]).convert("RGB")
    right = (before.width // 2, 0, before.width, before.height)
    assert before.crop(right).tobytes() == after.crop(right).tobytes()
    assert before.tobytes() != after.tobytes()


def test_chat_edits_its_last_picture(engine: Engine, judge: Judge) -> None:
    first = engine.run("edit_last_picture.yml", conversation="1", query="a red apple on a blue background")
    second = engine.run("edit_last_picture.yml", conversation="1", query="make the background green")
    for told, node, colour in ((first, "paint", "blue"), (second, "edit_last", "green")):
        [file] = told["nodes"][node]["files"]
        seen = judge.see(opened(file))
        assert (seen.icons, seen.colour) == (("red-apple",), colour)
        assert told["conversation"] == {"image_id": told["nodes"][node]["image_id"]}
        assert_live_progress(told, node)
        assert shown(told) == told["outputs"]["answer"]
        assert f"![{file['name']}]({file['url']})" in shown(told)
        assert_delivers(shown(told), "Open the picture", file)
    assert second["calls"][0][1]["image_id"] == first["nodes"]["paint"]["image_id"]
    assert second["order"][2:4] == ["edit_last", "keep_edit_last"]


def test_chat_goes_on_from_an_upload(engine: Engine, judge: Judge, apple: dict[str, str]) -> None:
    ask = {"query": "make the background white", "files": [apple]}
    told = engine.run("edit_last_picture.yml", conversation="2", **ask)
    assert told["order"][2] == "edit_upload"
    seen = judge.see(opened(told["nodes"]["edit_upload"]["files"][0]))
    assert (seen.icons, seen.colour) == (("red-apple",), "white")
    assert told["conversation"] == {"image_id": told["nodes"]["edit_upload"]["image_id"]}


@pytest.mark.parametrize("as_file", [False, True])
def test_product_batch(engine: Engine, tmp_path: Path, as_file: bool) -> None:
    table = "product,colour,background\ncup,golden,white\napple,red,blue\n"
    (tmp_path / "products.csv").write_text(table)
    given: dict[str, Any] = {"table": {"path": str(tmp_path / "products.csv")}} if as_file else {"products": table}
    told = engine.run("product_batch.yml", prompt=COLUMNS, shape="1:1", seed=7, **given)
    outputs = told["outputs"]
    assert (outputs["succeeded"], outputs["failed"], outputs["failures"]) == (2, 0, [])
    assert told["calls"][0][1]["prompt"] == COLUMNS  # the engine leaves {{column}} as it is
    assert opened(outputs["files"][0]).width > 128  # the contact sheet
    assert_live_progress(told, "batch")
    assert "**2 of 2 pictures.**" in outputs["answer"]
    [url] = re.findall(r"\[Download all as a ZIP file\]\(([^)]+)\)", outputs["answer"])
    with zipfile.ZipFile(io.BytesIO(requests.get(url, timeout=10).content)) as archive:
        packed = [archive.read(name) for name in archive.namelist() if name.endswith(".png")]
    one_by_one = re.findall(r"^\d\. \[Picture \d\]\(([^)]+)\)$", outputs["answer"], re.MULTILINE)
    assert len(one_by_one) == 2
    assert {requests.get(link, timeout=10).content for link in one_by_one} == set(packed)


def test_bilingual_poster(engine: Engine, judge: Judge) -> None:
    drafts = engine.run("bilingual_poster.yml", conversation="3", query="Hot prices in our shop")
    changed = engine.run("bilingual_poster.yml", conversation="3", query="make the background blue")
    for told, verb, colour in ((drafts, "paint", "yellow"), (changed, "edit", "blue")):
        for language, label, text in (("english", "English poster", "HOT"), ("chinese", "中文海报", "特价")):
            node = told["nodes"][f"{verb}_{language}"]
            seen = judge.see(opened(node["files"][0]))
            assert (seen.icons, seen.colour) == ((f"text {text}",), colour)
            assert told["conversation"][f"{language}_id"] == node["image_id"]
            assert_delivers(shown(told), label, node["files"][0])
        assert shown(told) == told["outputs"]["answer"]
        assert_live_progress(told, f"{verb}_english")
    prompts = {parameters["prompt"] for _, parameters in drafts["calls"]}
    assert prompts == {
        'a poster with the headline "HOT" in large letters, on a yellow background',
        "海报，大字“特价”，黄色背景",
    }
    approved = engine.run("bilingual_poster.yml", conversation="3", query="approve")
    assert approved["order"] == ["start", "review", "final", "forget"]
    assert approved["calls"] == []
    assert_delivers(shown(approved), "English poster", changed["nodes"]["edit_english"]["files"][0])
    assert set(approved["conversation"].values()) == {""}


@pytest.mark.parametrize(
    ("app", "inputs", "said"),
    [
        ("product_batch.yml", {"products": "", "prompt": "a {{product}}", "shape": "1:1"}, "rows"),
        ("edit_last_picture.yml", {"query": ""}, "prompt is missing. Fill it in."),
    ],
)
def test_what_the_tool_refuses_is_what_the_app_says(
    engine: Engine, app: str, inputs: dict[str, Any], said: str
) -> None:
    told = engine.try_to_run(app, conversation="4", **inputs)
    assert said in told["error"]
    assert told["outputs"] == {}
