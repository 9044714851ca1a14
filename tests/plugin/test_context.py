"""What a language model reads of a call, in characters: it stays in an agent's context for the whole conversation."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER
from tests.support.scripted import QUEUED, RUNNING, SUCCEEDED, Answer, ScriptedStudio

# The words do not depend on the SDK.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")

MOST = 500
MINIATURE = "Painted by the miniature, a stand-in for machines without a GPU."
ARCHIVE = f"http://gpu-box:8300/files/archives/job_{'a' * 24}.zip?expires=1795883985&signature={'c' * 64}"


def many(count: int) -> Callable[[ScriptedStudio], None]:
    """The studio paints so many images."""
    return lambda studio: setattr(studio, "count", count)


def warned(studio: ScriptedStudio) -> None:
    """The studio has more to say than one reads."""
    studio.warnings = [MINIATURE, "Painted at 1328x1328 and resized to 2048x2048. " * 9]


def apart(count: int) -> Callable[[ScriptedStudio], None]:
    """The studio takes a picture apart into so many layers."""

    def arrange(studio: ScriptedStudio) -> None:
        studio.operation, studio.layers = "layers", count
        studio.states = [{"state": "succeeded", "archive_url": ARCHIVE}]

    return arrange


def batch(count: int, failed: int = 0) -> Callable[[ScriptedStudio], None]:
    """The studio works through a table."""

    def arrange(studio: ScriptedStudio) -> None:
        studio.operation = "batch"
        why = "image: there is no image 'img_no' of yours; send an image id, a URL or a file. " * 3
        broken = [studio.row_view(row, "failed", why) for row in range(count - failed, count)]
        studio.rows = [*(studio.row_view(row) for row in range(count - failed)), *broken]
        rows = {"total": count, "succeeded": count - failed, "failed": failed, "cancelled": 0}
        studio.states = [{"state": "succeeded", "rows": rows, "archive_url": ARCHIVE}]

    return arrange


def listed(studio: ScriptedStudio) -> None:
    """The studio has as many jobs as a list shows unless told otherwise."""
    states: list[dict[str, Any]] = [QUEUED, RUNNING, SUCCEEDED, {"state": "failed"}, SUCCEEDED]
    ids = [f"{studio.job_name}{number}" for number in range(len(states))]
    views = [studio.view(job_id, state) for job_id, state in zip(ids, states, strict=True)]
    studio.listed = [{**view, "created_at": time.time() - 3000} for view in views]


HELD = f"img_{'b' * 24}"


def approved(studio: ScriptedStudio) -> None:
    """The studio gives a held picture out."""
    image = {**studio.image_view(0), "id": HELD, "job_id": f"{studio.job_name}0"}
    studio.script[f"POST /v1/images/{HELD}/review"].append(Answer(200, {**image, "review": "approved"}))


PAINT, EDIT = {"prompt": "a red apple"}, {"prompt": "make it blue", "image_id": "img_1"}
TABLE = {"prompt": "a {{thing}}", "rows": "thing\ncup"}
CALLS: dict[str, tuple[str, dict[str, Any], Callable[[ScriptedStudio], None]]] = {
    "a picture": ("image_generation", PAINT, many(1)),
    "four pictures": ("image_generation", {**PAINT, "n": 4}, many(4)),
    "a picture with many warnings": ("image_generation", PAINT, warned),
    "an edit": ("image_edit", EDIT, many(1)),
    "four edits": ("image_edit", {**EDIT, "n": 4}, many(4)),
    "an extension": ("image_outpaint", {"image_id": "img_1", "aspect_ratio": "2:1"}, many(1)),
    "two layers": ("image_layers", {"image_id": "img_1"}, apart(2)),
    "eight layers": ("image_layers", {"image_id": "img_1", "format": "pictures"}, apart(8)),
    "the layers of a job": ("image_job", {"job_id": "job_1"}, apart(4)),
    "a table of three": ("image_batch", TABLE, batch(3)),
    "a table of forty with failures": ("image_batch", TABLE, batch(40, 9)),
    "a job that goes on": ("image_generation", {**PAINT, "wait": False}, many(1)),
    "a list": ("image_job", {"action": "list"}, listed),
    "a cancelled job": ("image_job", {"action": "cancel", "job_id": "job_1"}, many(1)),
    "the result of a job": ("image_job", {"job_id": "job_1"}, many(4)),
    "a verdict": ("image_review", {"image_id": HELD, "verdict": "approved"}, approved),
    "a prompt": ("prompt_enhance", {"prompt": "a poster of a tea shop", "style": "watercolour"}, many(1)),
}


@pytest.fixture
def usual(scripted: ScriptedStudio) -> ScriptedStudio:
    """A studio whose ids and links are as long as real ones, and that is the miniature's."""
    job, image = f"job_{'a' * 23}", f"img_{'b' * 23}"
    scripted.job_name, scripted.image_name = job, image
    scripted.page = "http://gpu-box:8300"
    scripted.folder = f"http://gpu-box:8300/files/2026/11/28/{job}0-1-{'s' * 75}"
    scripted.warnings = [MINIATURE]
    return scripted


def read(outcome: Outcome) -> str:
    """What Dify hands to the model: the texts, and the JSON behind them."""
    outcome.raise_on_error()
    return "".join([*outcome.texts, *(json.dumps(each, ensure_ascii=False) for each in outcome.jsons)])


@pytest.mark.parametrize("name", CALLS)
def test_a_call_costs_an_agent_at_most_five_hundred_characters(
    plugin: Daemon, usual: ScriptedStudio, credentials: dict[str, object], name: str
) -> None:
    """D8: it was 1.6 to 2.1 kB, with hashes, nulls and the same link up to three times."""
    tool, parameters, arrange = CALLS[name]
    arrange(usual)
    context = read(plugin.invoke(PROVIDER, tool, parameters, credentials, conversation_id="c-1"))
    assert len(context) <= MOST, context
    assert "null" not in context
    assert "sha256" not in context


@pytest.mark.parametrize("count", [1, 4])
def test_the_line_says_what_was_made_its_ids_and_how_to_go_on(
    plugin: Daemon, usual: ScriptedStudio, credentials: dict[str, object], count: int
) -> None:
    """D8: an agent edits, shows and repeats a picture by what it has read."""
    usual.count = count
    outcome = plugin.invoke(PROVIDER, "image_generation", {**PAINT, "n": count}, credentials, conversation_id="c-2")
    [text] = outcome.texts
    assert text.startswith(f"Painted {count} image")
    for image_id in outcome.variables["image_ids"]:
        assert text.count(image_id) == 1
    assert "call image_edit" in text
    assert read(outcome).count("http") == 1
    assert outcome.jsons[0]["studio_url"] == outcome.variables["studio_url"]
    assert outcome.jsons[0]["job_id"] == outcome.variables["job_id"]
    assert outcome.jsons[0]["seed" if count == 1 else "seeds"] == (7 if count == 1 else [7, 8, 9, 10])


def test_an_agent_reads_the_ids_of_layers_and_the_link_to_all_of_them(
    plugin: Daemon, usual: ScriptedStudio, credentials: dict[str, object]
) -> None:
    apart(4)(usual)
    outcome = plugin.invoke(PROVIDER, "image_layers", {"image_id": "img_1"}, credentials, conversation_id="c-2")
    context = read(outcome)
    assert [context.count(image_id) for image_id in outcome.variables["image_ids"]] == [1] * 5
    assert context.count("http") == context.count(ARCHIVE) == 1
    assert outcome.jsons == [{"job_id": outcome.variables["job_id"]}]


@pytest.mark.parametrize("count", [1, 4])
def test_an_agent_that_must_show_the_pictures_itself_reads_each_link_once(
    plugin: Daemon, usual: ScriptedStudio, credentials: dict[str, object], count: int
) -> None:
    """D8: in the new Agent app, which shows no files of tools; there the links come on top, that of the studio, too."""
    usual.count = count
    context = read(plugin.invoke(PROVIDER, "image_generation", {**PAINT, "n": count}, credentials, app_id=None))
    images = usual.view("j", SUCCEEDED)["images"]
    links = [*(image["url"] for image in images), images[0]["studio_url"]]
    assert [context.count(link) for link in links] == [1] * (count + 1)
    assert len(context) - sum(map(len, links)) <= MOST


def test_later_nodes_of_a_workflow_get_all_that_is_known(
    plugin: Daemon, usual: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """D8: no model reads a plain workflow's JSON, and saved workflows do."""
    [view] = plugin.invoke(PROVIDER, "image_generation", PAINT, credentials).jsons
    [image] = view["images"]
    assert set(image) == {"id", "url", "width", "height", "mime_type", "seed"}
    assert (view["state"], view["model"], view["warnings"]) == ("succeeded", "qwen-image", [MINIATURE])


def test_answers_are_in_the_language_of_the_prompt_or_of_the_setting(
    plugin: Daemon, usual: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """D9: answers and errors; test_progress.py has the progress."""
    for setting, prompt, said in (
        ("auto", "一个红苹果", "已生成 1 张图片"),
        ("en", "一个红苹果", "Painted 1 image"),
        ("zh", "a red apple", "已生成 1 张图片"),
    ):
        known = {**credentials, "language": setting}
        outcome = plugin.invoke(PROVIDER, "image_generation", {"prompt": prompt}, known, conversation_id="c-3")
        assert outcome.texts[0].startswith(said)
    refused = plugin.invoke(PROVIDER, "image_generation", {"prompt": "苹果"}, {**credentials, "api_key": "wrong"})
    assert refused.error is not None
    assert refused.error.message.startswith("服务器拒绝了 API 密钥。请在")
