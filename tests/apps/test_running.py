"""The example apps run by Dify's own engine: the real plugin on the real SDK, our server, the miniature's pictures.

Only the language models are stand-ins: language_model.py for the engine's own nodes, StandInWriter for the plugin.
"""

import io
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.apps.conftest import PYTHON, Engine
from tests.support.scripted import RUNNING, ScriptedStudio
from tests.support.studio import Studio
from tests.support.waiting import until
from training.judge import Judge, load_judge

pytestmark = pytest.mark.skipif(
    not (PYTHON.exists() or os.environ.get("CI")),
    reason="Dify's workflow engine needs Python 3.12 or 3.13; make setup-tests installs it where there is one",
)
FORM = {"style": "photo", "shape": "1:1"}
CHOSEN = {
    "provider": "langgenius/openai/openai",
    "model": "some-model",
    "model_type": "llm",
    "mode": "chat",
    "completion_params": {},
}
"""A language model as Dify's editor writes it into the node where somebody chose it."""
TOO_LONG = "a cat " * 2000
"""A prompt that the tools refuse."""
COLUMNS = "a {{colour}} {{product}} on a {{background}} background"


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Tells what a picture of the miniature shows."""
    return load_judge()


@pytest.fixture(scope="module")
def apple_id(studio: Studio) -> str:
    """A picture that the server keeps: a red apple on blue."""
    job = studio.finished(studio.submit(prompt="a red apple on a blue background", seed=4)["id"])
    return str(job["images"][0]["id"])


@pytest.fixture(scope="module")
def apple(studio: Studio, apple_id: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same picture to upload."""
    path = tmp_path_factory.mktemp("upload") / "apple.png"
    path.write_bytes(studio.request("GET", f"/v1/images/{apple_id}/content").content)
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
    assert requests.get(url, timeout=60).content == Path(file["path"]).read_bytes()


def assert_ends_with_the_answer(told: dict[str, Any]) -> None:
    """Under the picture the person sees the answer, and nothing that is meant for callers of the API."""
    assert shown(told).rstrip().endswith(told["outputs"]["answer"].rstrip())


@pytest.mark.parametrize(
    ("wish", "language", "icon", "chosen"),
    [
        ("a dolphin", "en", "dolphin", {"enhance_model": f"{CHOSEN['provider']}/{CHOSEN['model']}"}),
        ("火车", "zh", "locomotive", {"enhance_model": "", "model": CHOSEN}),
    ],
    ids=["en", "zh, and the model as apps have it that were saved with 0.1"],
)
def test_form_to_image_with_a_language_model(
    engine: Engine, judge: Judge, wish: str, language: str, icon: str, chosen: dict[str, Any]
) -> None:
    settings = {"enhance": chosen}
    told = engine.run("form_to_image.yml", settings=settings, wish=wish, language=language, audience="cooks", **FORM)
    outputs, [file] = told["outputs"], told["outputs"]["files"]
    seen = judge.see(opened(file))
    assert (seen.icons, seen.colour) == ((icon,), "yellow")  # yellow comes from the stand-in alone
    [(first, asked), (second, painted)] = told["calls"]
    assert (first, second) == ("prompt_enhance", "image_generation")
    assert asked == {"prompt": wish, "style": "photo", "audience": "cooks", "language": language, **chosen}
    written, paint = told["nodes"]["enhance"], told["nodes"]["paint"]
    assert (written["enhanced_by"], written["warnings"]) == ("llm", [])
    assert written["text"].strip() == written["prompt"] == painted["prompt"]
    assert painted["negative_prompt"] == written["negative_prompt"] == "blurred"
    assert opened(file).size == (paint["width"], paint["height"])
    text = shown(told)
    assert f"![{file['name']}]({file['url']})\n" in text
    assert_ends_with_the_answer(told)
    assert f"**Prompt:** {written['prompt']}\n\n**Why:** A yellow background was added.\n" in outputs["answer"]
    assert f"seed {outputs['seed']}" in outputs["answer"]
    assert_delivers(outputs["answer"], "Open the picture", file)


@pytest.mark.parametrize(
    ("settings", "wish", "prompt"),
    [
        ({}, "a train on a blue background", "a train on a blue background. The style is photo, "),
        ({"enhance": {"enhance_model": "", "model": None}}, "蓝色背景上的火车", "蓝色背景上的火车。风格是摄影照片，"),
    ],
    ids=["as imported", "opened in the editor"],
)
def test_form_to_image_without_a_language_model(
    engine: Engine, judge: Judge, settings: dict[str, Any], wish: str, prompt: str
) -> None:
    told = engine.run("form_to_image.yml", settings=settings, wish=wish, language="auto", **FORM)
    seen = judge.see(opened(told["outputs"]["files"][0]))
    assert (seen.icons, seen.colour) == (("locomotive",), "blue")
    assert told["nodes"]["enhance"]["enhanced_by"] == "rules"
    assert told["calls"][1][1]["prompt"].startswith(prompt)
    assert f"**Prompt:** {prompt}" in told["outputs"]["answer"]
    assert "\n> The language model is not chosen, or not written as PROVIDER/MODEL " in told["outputs"]["answer"]


FORMS: dict[str, dict[str, Any]] = {
    "form_to_image.yml": {"wish": "a dolphin", "language": "auto", **FORM},
    "product_batch.yml": {"products": "product\ncup\n", "prompt": "a {{product}}", "shape": "1:1"},
    "upload_and_edit.yml": {"instruction": "make it blue"},
    "bilingual_poster.yml": {"query": "Hot prices in our shop"},
    "campaign_from_one_sentence.yml": {"brief": "Hot prices in our shop", "channels": "post", "languages": "en"},
    "edit_last_picture.yml": {"query": "a red apple"},
    "sketch_then_paint.yml": {"query": "a red apple"},
}


OF_ROWS = {"product_batch.yml": "batch", "campaign_from_one_sentence.yml": "campaign"}
"""Operations of the apps whose jobs have rows."""


@pytest.mark.parametrize(
    ("app", "kept"),
    [*((app, {}) for app in FORMS), ("edit_last_picture.yml", {"has_picture": "yes"})],
    ids=[*FORMS, "edit_last_picture.yml, an edit"],
)
def test_progress_reaches_the_person_while_the_job_still_runs(
    engine: Engine, apple: dict[str, str], tmp_path: Path, app: str, kept: dict[str, str]
) -> None:
    """D2: the job ends only once the person has seen that it is painted."""
    watched = tmp_path / "seen"
    watched.touch()
    photo: dict[str, Any] = {"photo": apple} if app == "upload_and_edit.yml" else {}
    with ScriptedStudio() as server:
        rows: dict[str, Any] = {}
        if app in OF_ROWS:
            server.operation, rows = OF_ROWS[app], {"rows": {"total": 1, "succeeded": 0}}
        server.states = [{**RUNNING, **rows}]

        def end_when_seen() -> bool:
            try:
                until(
                    lambda: re.search("Painting 3/20|0 of 1 (?:rows|pieces) done", watched.read_text()), patience_s=60
                )
            finally:
                server.states = [{"state": "succeeded", **({"rows": {"total": 1, "succeeded": 1}} if rows else {})}]
            return True

        with ThreadPoolExecutor(1) as watching:
            seen = watching.submit(end_when_seen)
            told = engine.try_to_run(
                app,
                conversation=f"watched {app} {kept}",
                kept=kept,
                watched=watched,
                credentials={"server_url": server.url, "time_budget": "90"},
                **FORMS[app],
                **photo,
            )
            assert seen.result()
    assert told["error"] is None, told
    assert re.search(r"(Painting 3/20|0 of 1 (?:rows|pieces) done) \(job job\d\).* · done, \d+ s\n", shown(told))


@pytest.mark.parametrize("instruction", ["make the background green", "把背景改成绿色"])
def test_upload_and_edit(engine: Engine, judge: Judge, apple: dict[str, str], instruction: str) -> None:
    told = engine.run("upload_and_edit.yml", photo=apple, instruction=instruction)
    outputs, [file] = told["outputs"], told["outputs"]["files"]
    seen = judge.see(opened(file))
    assert (seen.icons, seen.colour) == (("red-apple",), "green")
    assert_delivers(outputs["answer"], "Open the picture", file)
    assert_ends_with_the_answer(told)
    comparison_url = told["nodes"]["edit"]["comparison_url"]
    assert f"![Before and after]({comparison_url})" in outputs["answer"]
    strip = Image.open(io.BytesIO(requests.get(comparison_url, timeout=60).content))
    assert strip.width >= 2 * opened(file).width
    assert told["calls"][0][1]["images"][0]["filename"] == "apple.png"


def test_upload_and_edit_within_a_box(engine: Engine, apple: dict[str, str]) -> None:
    told = engine.run("upload_and_edit.yml", photo=apple, instruction="make it golden", region="0,0,0.5,1")
    before, after = Image.open(apple["path"]).convert("RGB"), opened(told["outputs"]["files"][0]).convert("RGB")
    right = (before.width // 2, 0, before.width, before.height)
    assert before.crop(right).tobytes() == after.crop(right).tobytes()
    assert before.tobytes() != after.tobytes()


@pytest.mark.parametrize(
    ("kind", "mime_type"), [("zip", "application/zip"), ("psd", "application/x-photoshop"), ("pictures", "")]
)
def test_take_apart_gives_the_layers_and_last_the_file_for_the_designer(
    engine: Engine, tmp_path: Path, kind: str, mime_type: str
) -> None:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "poster.png")
    with ScriptedStudio() as server:
        server.operation, server.layers = "layers", 2
        server.archives["psd"] = b"8BPS and all layers"
        archive = {"archive_url": f"{server.url}/files/archives/job0.zip?sign=s", "archive_formats": ["psd"]}
        server.states = [{"state": "succeeded", **archive}]
        told = engine.run(
            "take_apart.yml",
            credentials={"server_url": server.url, "time_budget": "90"},
            photo={"path": str(tmp_path / "poster.png")},
            file=kind,
        )
    names = ["img2.png", "01-background-img0.png", "02-layer-1-img1.png"]
    found = [(file["name"], file["mime_type"]) for file in told["outputs"]["files"]]
    designers = [] if kind == "pictures" else [(f"job0.{kind}", mime_type)]
    assert found == [*((name, "image/png") for name in names), *designers]
    assert told["outputs"]["layer_ids"] == ["img0", "img1"]
    assert told["calls"][0][0] == "image_layers"
    link = f"{archive['archive_url']}{'&format=psd' if kind == 'psd' else ''}"
    assert f"[All layers as one file]({link})" in told["outputs"]["answer"]
    assert "**2 layers**, 640 x 480, the backmost first: [1](" in told["outputs"]["answer"]
    assert_ends_with_the_answer(told)


def test_chat_edits_its_last_picture(engine: Engine, judge: Judge) -> None:
    first = engine.run("edit_last_picture.yml", conversation="1", query="a red apple on a blue background")
    second = engine.run("edit_last_picture.yml", conversation="1", query="make the background green")
    third = engine.run("edit_last_picture.yml", conversation="1", query="把背景改成黄色")
    for told, node, colour in ((first, "paint", "blue"), (second, "edit", "green"), (third, "edit", "yellow")):
        assert told["order"][-4:] == [f"picture_{node}", f"link_{node}", f"show_{node}", f"remember_{node}"]
        [file] = told["nodes"][node]["files"]
        seen = judge.see(opened(file))
        assert (seen.icons, seen.colour) == (("red-apple",), colour)
        assert shown(told) == told["outputs"]["answer"]
        assert shown(told).count("![") == 1, "D7: the picture is shown once"
        assert f"![picture]({file['url']})" in shown(told)
        assert_delivers(shown(told), "Open the picture", file)
        assert ("\n> Painted by the miniature" in shown(told)) == (told is first), "D7: what was read is not said again"
    for told, query in ((second, "make the background green"), (third, "把背景改成黄色")):
        assert told["calls"] == [["image_edit", {"prompt": query, "images": [], "n": 1, "output_format": "png"}]]


def test_chats_do_not_mix_their_pictures(engine: Engine, judge: Judge) -> None:
    engine.run("edit_last_picture.yml", conversation="2", query="a red apple on a blue background")
    engine.run("edit_last_picture.yml", conversation="3", query="a cat on a white background")
    for conversation, icon in (("2", "red-apple"), ("3", "cat-face")):
        told = engine.run("edit_last_picture.yml", conversation=conversation, query="make the background yellow")
        seen = judge.see(opened(told["nodes"]["edit"]["files"][0]))
        assert (seen.icons, seen.colour) == ((icon,), "yellow")


def test_chat_goes_on_from_an_upload(engine: Engine, judge: Judge, apple: dict[str, str]) -> None:
    ask = {"query": "make the background white", "files": [apple]}
    uploaded = engine.run("edit_last_picture.yml", conversation="4", **ask)
    further = engine.run("edit_last_picture.yml", conversation="4", query="make the background green")
    for told, names, colour in ((uploaded, ["apple.png"], "white"), (further, [], "green")):
        assert [file["filename"] for file in told["calls"][0][1]["images"]] == names
        seen = judge.see(opened(told["nodes"]["edit"]["files"][0]))
        assert (seen.icons, seen.colour) == (("red-apple",), colour)


@pytest.mark.parametrize(
    ("query", "prompt"),
    [
        ("new picture: a cat on a white background", "a cat on a white background"),
        ("NEW PICTURE a cat on the white background", "a cat on the white background"),
        ("新图，白色背景上的猫", "白色背景上的猫"),
        ("“新图片”：白色的背景上有猫", "白色的背景上有猫"),
    ],
    ids=["en", "upper case", "zh", "quoted"],
)
def test_chat_starts_over(engine: Engine, judge: Judge, query: str, prompt: str) -> None:
    engine.run("edit_last_picture.yml", conversation=prompt, query="a red apple on a blue background")
    told = engine.run("edit_last_picture.yml", conversation=prompt, query=query)
    assert told["calls"][0][1]["prompt"] == prompt
    seen = judge.see(opened(told["nodes"]["paint"]["files"][0]))
    assert (seen.icons, seen.colour) == (("cat-face",), "white")


@pytest.mark.parametrize("query", ["新图书馆前的樱花", "New pictures of my dog"], ids=["zh", "en"])
def test_chat_takes_ordinary_words_as_they_are(engine: Engine, query: str) -> None:
    first = engine.run("edit_last_picture.yml", conversation=query, query=query)
    assert first["calls"] == [["image_generation", {"prompt": query, "n": 1, "output_format": "png"}]]
    further = engine.run("edit_last_picture.yml", conversation=query, query=query)
    assert further["calls"] == [["image_edit", {"prompt": query, "images": [], "n": 1, "output_format": "png"}]]


@pytest.mark.parametrize("query", ["新图", "New picture!", ""], ids=["zh", "en", "empty"])
def test_chat_asks_what_to_paint_where_nothing_is_said(engine: Engine, query: str) -> None:
    conversation = f"asks after {query!r}"
    asked = engine.run("edit_last_picture.yml", conversation=conversation, kept={"has_picture": "yes"}, query=query)
    assert asked["calls"] == []
    assert shown(asked) == asked["outputs"]["answer"] == "What shall I paint? 想画什么？"
    told = engine.run("edit_last_picture.yml", conversation=conversation, query="a cat on a white background")
    assert told["calls"][0][0] == "image_generation"


def test_chat_whose_first_picture_failed_paints_with_the_next_message(engine: Engine) -> None:
    assert engine.try_to_run("edit_last_picture.yml", conversation="5", query=TOO_LONG)["error"]
    told = engine.run("edit_last_picture.yml", conversation="5", query="a red apple on a blue background")
    assert "paint" in told["order"]


def test_chat_whose_picture_is_forgotten_says_so_and_has_a_way_out(engine: Engine) -> None:
    kept = {"has_picture": "yes"}  # by the app; by the server only for as long as its memory reaches
    told = engine.run("edit_last_picture.yml", conversation="6", kept=kept, query="make the background green")
    assert told["order"][-1] == "say_why"
    assert "there is no image in this conversation yet, or it was long ago; send the one you mean." in shown(told)
    assert "write “new picture: …” to start over" in shown(told)
    again = engine.run("edit_last_picture.yml", conversation="6", query="new picture: a red apple")
    assert again["calls"][0] == ["image_generation", {"prompt": "a red apple", "n": 1, "output_format": "png"}]


@pytest.mark.parametrize(
    ("prompt", "word"),
    [("a red apple on a blue background", "Paint!"), ("蓝色背景上的红苹果", "“画”")],
    ids=["en", "zh"],
)
def test_sketch_then_paint(engine: Engine, judge: Judge, prompt: str, word: str) -> None:
    chat = f"sketched: {prompt}"
    engine.run("sketch_then_paint.yml", conversation=chat, query="a cat")
    sketched = engine.run("sketch_then_paint.yml", conversation=chat, query=prompt)
    painted = engine.run("sketch_then_paint.yml", conversation=chat, query=word)
    [sketch], [picture] = (told["nodes"]["paint"]["files"] for told in (sketched, painted))
    for told, file, label in ((sketched, sketch, "Open the sketch"), (painted, picture, "Open the picture")):
        assert f"![picture]({file['url']})" in shown(told)
        assert_delivers(shown(told), label, file)
        assert "\n> Painted by the miniature" not in shown(told), "which was noted of the first sketch"
    asked = [told["calls"][0][1] for told in (sketched, painted)]
    assert [(each["prompt"], each["tier"]) for each in asked] == [(prompt, "draft"), (prompt, "quality")]
    assert [each["image_id"] for each in asked] == ["", sketched["nodes"]["paint"]["image_id"]]
    assert opened(sketch).width < opened(picture).width
    seen = judge.see(opened(picture))
    assert (seen.icons, seen.colour) == (("red-apple",), "blue")


@pytest.mark.parametrize("word", ["paint", "画"])
def test_what_was_never_sketched_is_not_painted_but_sketched(engine: Engine, word: str) -> None:
    told = engine.run("sketch_then_paint.yml", conversation=f"first of all {word}", query=word)
    assert (told["calls"][0][1]["prompt"], told["calls"][0][1]["tier"]) == (word, "draft")


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
    assert_ends_with_the_answer(told)
    assert "**2 of 2 pictures.**" in outputs["answer"]
    [url] = re.findall(r"\[Download all as a ZIP file\]\(([^)]+)\)", outputs["answer"])
    with zipfile.ZipFile(io.BytesIO(requests.get(url, timeout=60).content)) as archive:
        packed = [archive.read(name) for name in archive.namelist() if name.endswith(".png")]
    one_by_one = re.findall(r"^\d\. \[Picture \d\]\(([^)]+)\)", outputs["answer"], re.MULTILINE)
    assert len(one_by_one) == 2
    assert {requests.get(link, timeout=60).content for link in one_by_one} == set(packed)


def test_campaign_from_one_sentence(engine: Engine, judge: Judge) -> None:
    settings = {"campaign": {"enhance_model": f"{CHOSEN['provider']}/{CHOSEN['model']}"}}
    brief = {"brief": "Hot prices in our shop", "channels": "post, banner", "languages": "en, zh"}
    told = engine.run("campaign_from_one_sentence.yml", settings=settings, **brief)
    outputs, made = told["outputs"], told["nodes"]["campaign"]
    assert (outputs["succeeded"], outputs["failures"]) == (4, [])
    sheet, *pieces = map(opened, outputs["files"])
    assert sheet.width > pieces[0].width, "the contact sheet comes first"
    assert [piece.width == piece.height for piece in pieces] == [True, True, False, False]
    seen = [judge.see(piece) for piece in pieces[:2]]
    assert [(each.icons, each.colour) for each in seen] == [(("text HOT",), "yellow"), (("text 特价",), "yellow")]
    assert "| 4 | banner | zh | 特价 |  |" in outputs["answer"]
    assert "**Style:** bold flat design (yellow, red)" in outputs["answer"]
    assert f"campaign `{made['job_id']}` and its number" in outputs["answer"]
    assert_ends_with_the_answer(told)
    assert_zip_has([Path(file["path"]) for file in outputs["files"][1:]], outputs["answer"])
    again = engine.run(
        "campaign_from_one_sentence.yml",
        settings=settings,
        languages="en",
        campaign=made["job_id"],
        piece=2,
        headline="新品",
    )
    [file] = again["outputs"]["files"]
    seen_again = judge.see(opened(file))
    assert (seen_again.icons, seen_again.colour) == (("text 新品",), "yellow"), "in the direction of the campaign"
    assert "| 1 | post | zh | 新品 |  |" in again["outputs"]["answer"]


def assert_zip_has(files: list[Path], answer: str) -> None:
    """The ZIP file that an answer links to holds these pictures, and a table of the texts."""
    [url] = re.findall(r"\[Download all as a ZIP file\]\(([^)]+)\)", answer)
    with zipfile.ZipFile(io.BytesIO(requests.get(url, timeout=60).content)) as archive:
        packed = [archive.read(name) for name in archive.namelist()]
        assert [name for name in archive.namelist() if name.endswith((".csv", ".md"))]
    assert {file.read_bytes() for file in files} <= set(packed)


def test_campaign_from_one_sentence_without_a_language_model(engine: Engine) -> None:
    brief = {"brief": "茶馆夏季促销，“特价”", "channels": "post", "languages": "as the sentence"}
    told = engine.run("campaign_from_one_sentence.yml", **brief)
    assert told["calls"][0][1]["languages"] == ""
    assert told["outputs"]["succeeded"] == 1
    assert "| 1 | post | zh | 特价 |  |" in told["outputs"]["answer"]
    assert "\n> The language model is not chosen, or not written as PROVIDER/MODEL " in told["outputs"]["answer"]


def test_bilingual_poster(engine: Engine, judge: Judge) -> None:
    drafts = engine.run("bilingual_poster.yml", conversation="7", query="Hot prices in our shop")
    changed = engine.run("bilingual_poster.yml", conversation="7", query="make the background blue")
    for told, verb, colour in ((drafts, "paint", "yellow"), (changed, "edit", "blue")):
        for language, label, text in (("english", "English poster", "HOT"), ("chinese", "中文海报", "特价")):
            node = told["nodes"][f"{verb}_{language}"]
            seen = judge.see(opened(node["files"][0]))
            assert (seen.icons, seen.colour) == ((f"text {text}",), colour)
            assert told["conversation"][f"{language}_id"] == node["image_id"]
            assert_delivers(shown(told), label, node["files"][0])
        assert shown(told) == told["outputs"]["answer"]
        assert shown(told).count("\n> Painted by the miniature") == (told is drafts)
        assert shown(told).count("![") == 2
    prompts = {parameters["prompt"] for _, parameters in drafts["calls"]}
    assert prompts == {
        'a poster with the headline "HOT" in large letters, on a yellow background',
        "海报，大字“特价”，黄色背景",
    }
    approved = engine.run("bilingual_poster.yml", conversation="7", query="approve")
    assert approved["calls"] == []
    assert_delivers(shown(approved), "English poster", changed["nodes"]["edit_english"]["files"][0])
    assert_delivers(shown(approved), "中文海报", changed["nodes"]["edit_chinese"]["files"][0])
    assert {said for name, said in approved["conversation"].items() if name != "noted"} == {""}


def test_bilingual_poster_paints_nothing_without_a_brief(engine: Engine) -> None:
    told = engine.run("bilingual_poster.yml", conversation="8", query="hello there")
    assert told["calls"] == []
    assert shown(told).startswith("I found no headline in this. Say what the poster is for")
    drafts = engine.run("bilingual_poster.yml", conversation="8", query="Hot prices in our shop")
    assert {tool for tool, _ in drafts["calls"]} == {"image_generation"}


@pytest.mark.parametrize("query", ["Approve", "APPROVED!", " ok. ", "**approve**", "“通过”", "looks good\t", "定稿。"])
def test_bilingual_poster_is_approved_in_few_words(engine: Engine, query: str) -> None:
    kept = {"english_id": "1", "chinese_id": "2", "english_url": "http://one", "chinese_url": "http://two"}
    told = engine.run("bilingual_poster.yml", conversation=f"approved by {query}", kept=kept, query=query)
    assert told["order"] == ["start", "verdict", "review", "final", "forget"]
    assert "[English poster](http://one) · [中文海报](http://two)" in shown(told)
    assert "![" not in shown(told)  # such a picture would be gone with its link
    assert {said for name, said in told["conversation"].items() if name != "noted"} == {""}


@pytest.mark.parametrize(
    "query",
    [
        "不通过，背景换成蓝色",
        "还没通过",
        "I disapprove, make it blue",
        "add the words 'approved by doctors'",
        "ok, but make the background blue",
        "Approve the English one, make the background blue",
    ],
)
def test_bilingual_poster_is_changed_by_a_rejection(engine: Engine, apple_id: str, query: str) -> None:
    kept = {"english_id": apple_id, "chinese_id": apple_id, "english_url": "http://one", "chinese_url": "http://two"}
    told = engine.run("bilingual_poster.yml", conversation=f"changed by {query}", kept=kept, query=query)
    assert {(tool, asked["prompt"], asked["image_id"]) for tool, asked in told["calls"]} == {
        ("image_edit", query, apple_id)
    }
    for language in ("english", "chinese"):
        assert told["conversation"][f"{language}_id"] == told["nodes"][f"edit_{language}"]["image_id"]


@pytest.mark.parametrize(
    ("app", "inputs", "said"),
    [
        ("product_batch.yml", {"products": "", "prompt": "a {{product}}", "shape": "1:1"}, "rows"),
        ("edit_last_picture.yml", {"query": TOO_LONG}, "at most 8000 characters"),
    ],
)
def test_what_the_tool_refuses_is_what_the_app_says(
    engine: Engine, app: str, inputs: dict[str, Any], said: str
) -> None:
    told = engine.try_to_run(app, conversation="8", **inputs)
    assert said in told["error"]
    assert told["outputs"] == {}


def test_a_note_about_this_picture_is_said_each_time_and_one_about_all_once(engine: Engine) -> None:
    """D7: what changed too much must be read of every picture that it is true of."""
    every, this = "Painted by the miniature, a stand-in for machines without a GPU.", "Nearly everything changed."
    with ScriptedStudio() as server:
        server.warnings, server.states = [every, this], [{"state": "succeeded"}]
        how: dict[str, Any] = {"conversation": "noted", "credentials": {"server_url": server.url}}
        seen = [shown(engine.run("edit_last_picture.yml", query=query, **how)) for query in ("a cat", "a dog", "blue")]
    assert [text.count(f"\n> {every}") for text in seen] == [1, 0, 0]
    assert [text.count(f"\n> {this}") for text in seen] == [1, 1, 1]


def test_a_chat_remembers_where_there_is_nothing_to_note(engine: Engine) -> None:
    with ScriptedStudio() as server:
        server.states = [{"state": "succeeded"}]
        how: dict[str, Any] = {"conversation": "no notes", "credentials": {"server_url": server.url}}
        told = [engine.run("edit_last_picture.yml", query=query, **how) for query in ("a cat", "make it blue")]
    assert [each["order"][-1] for each in told] == ["remember_paint", "remember_edit"]
    assert "\n>" not in shown(told[1])
