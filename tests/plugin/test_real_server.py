"""The whole way: Dify's daemon protocol, the plugin on both SDKs, the real server, the miniature's pictures."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from tests.plugin.test_tools import VARIABLES
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import Answer, ScriptedServer
from tests.support.studio import Studio
from tools.words import said


@pytest.fixture
def credentials(studio: Studio) -> dict[str, object]:
    """Credentials for the real server."""
    return {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A picture to edit, larger than square one way."""
    image = Image.new("RGB", (192, 128), (200, 40, 40))
    image.paste((240, 240, 240), (0, 0, 192, 64))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture
def dify(photo: bytes) -> Iterator[ScriptedServer]:
    """Dify's file server with the photo behind a signed link."""
    with ScriptedServer(lambda call: Answer(200, photo, {"Content-Type": "image/jpeg"})) as server:
        yield server


def called(plugin: Daemon, tool: str, credentials: dict[str, object], **parameters: Any) -> Outcome:
    """Call a tool; a step or two are enough here."""
    outcome = plugin.invoke(PROVIDER, tool, {"steps": 2, **parameters}, credentials)
    outcome.raise_on_error()
    return outcome


def opened(outcome: Outcome) -> list[Image.Image]:
    """The images that came back, decoded."""
    images: list[Image.Image] = [Image.open(io.BytesIO(blob.content)) for blob in outcome.blobs]
    for image in images:
        image.load()
    return images


def assert_complete(outcome: Outcome, count: int) -> None:
    """Blobs, text, JSON and variables tell the same story."""
    sizes = {image.size for image in opened(outcome)}
    assert len(outcome.blobs) == count == outcome.variables["count"]
    assert sizes == {(outcome.variables["width"], outcome.variables["height"])}
    assert set(outcome.variables) == VARIABLES | ({"prompt"} if "prompt" in outcome.jsons[0] else set())
    assert [image["id"] for image in outcome.jsons[0]["images"]] == outcome.variables["image_ids"]
    assert re.fullmatch(r"(.* · .* (s|秒)\n)?", outcome.variables["progress"]), "none where it took no three seconds"
    [text] = outcome.texts
    assert all(image_id in text for image_id in outcome.variables["image_ids"])


def test_check(plugin: Daemon, credentials: dict[str, object]) -> None:
    plugin.validate(PROVIDER, credentials).raise_on_error()
    refused = plugin.validate(PROVIDER, {**credentials, "api_key": "wrong"})
    assert refused.error is not None
    assert "refused the API key" in refused.error.message


@pytest.mark.parametrize("prompt", ["一个红苹果", "a red apple"])
def test_generate(plugin: Daemon, credentials: dict[str, object], prompt: str) -> None:
    outcome = called(plugin, "image_generation", credentials, prompt=prompt, seed=7)
    assert_complete(outcome, 1)
    assert outcome.variables["seed"] == 7
    assert outcome.blobs[0].meta["mime_type"] == "image/png"


def test_format_size_and_number(plugin: Daemon, credentials: dict[str, object]) -> None:
    outcome = called(
        plugin, "image_generation", credentials, prompt="a cup", n=2, size="160x96", output_format="webp", seed=1
    )
    assert_complete(outcome, 2)
    assert [image.size for image in opened(outcome)] == [(160, 96)] * 2
    assert [image.format for image in opened(outcome)] == ["WEBP"] * 2
    assert [blob.meta["mime_type"] for blob in outcome.blobs] == ["image/webp"] * 2


def test_edit_a_file_then_edit_the_result_by_its_id(
    plugin: Daemon, credentials: dict[str, object], dify: ScriptedServer
) -> None:
    file = dify_file(f"{dify.url}/files/abc/file-preview?sign=s")
    first = called(plugin, "image_edit", credentials, prompt="把它变成绿色", images=[file], seed=5)
    assert_complete(first, 1)
    assert first.texts[0].startswith("已编辑 1 张图片")
    image_id = first.variables["image_id"]
    second = called(plugin, "image_edit", credentials, prompt="make it blue", image_id=image_id, seed=5)
    assert_complete(second, 1)
    assert second.variables["image_id"] != image_id
    assert len(dify.calls) == 1


@pytest.mark.parametrize("prompt", ["rotate it 90 degrees, then make it black and white", "旋转90度，然后变成黑白"])
def test_an_instruction_that_needs_no_model_is_done_without_one(
    plugin: Daemon, credentials: dict[str, object], dify: ScriptedServer, prompt: str
) -> None:
    file = dify_file(f"{dify.url}/files/abc/file-preview?sign=s")
    done = called(plugin, "image_edit", credentials, prompt=prompt, images=[file])
    assert_complete(done, 1)
    assert (done.variables["model"], done.variables["seed"]) == ("cv", 0)
    assert said("zh" if "旋" in prompt else "en", "without a model") in done.texts[0]
    red, green, blue = opened(done)[0].convert("RGB").split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()
    parameters = {"prompt": "remove the cup", "prefer": "cv", "image_id": done.variables["image_id"]}
    refused = plugin.invoke(PROVIDER, "image_edit", parameters, credentials)
    assert refused.error is not None
    assert "only adjustments can be done" in refused.error.message


def test_a_template_is_filled_by_the_server(
    plugin: Daemon, credentials: dict[str, object], dify: ScriptedServer
) -> None:
    file = dify_file(f"{dify.url}/files/abc/file-preview?sign=s")
    for slots in ('{"old": "苹果", "new": "猫"}', "old=apple; new=a cat"):
        done = called(plugin, "image_edit", credentials, template="replace_object", slots=slots, images=[file], steps=2)
        assert_complete(done, 1)
    wrong = {"template": "replace_object", "slots": "old=apple", "images": [file]}
    refused = plugin.invoke(PROVIDER, "image_edit", wrong, credentials)
    assert refused.error is not None
    assert "slots.new: is missing" in refused.error.message


def test_the_link_of_an_answer_lets_whoever_has_it_edit_the_picture(
    plugin: Daemon, credentials: dict[str, object], studio: Studio
) -> None:
    """A person without a key; the page takes id and signature from the fragment and asks for a session by them."""
    image_id, link = painted_with_link(plugin, credentials)
    place, _, signature = link.partition("?k=")
    assert place == f"{studio.url}/#/edit/{image_id}"
    with requests.Session() as person:
        alone = person.get(f"{studio.url}/v1/images/{image_id}", timeout=60)
        opened = person.post(f"{studio.url}/v1/session", json={"image_id": image_id, "k": signature}, timeout=60)
        seen = person.get(f"{studio.url}/v1/images/{image_id}", timeout=60)
        other = person.get(f"{studio.url}/v1/keys", timeout=60)
    assert (alone.status_code, opened.status_code, seen.status_code) == (401, 204, 200), opened.text
    assert seen.json()["id"] == image_id
    assert other.status_code == 404


def painted_with_link(plugin: Daemon, credentials: dict[str, object]) -> tuple[str, str]:
    """Paint a picture; its id, and the link to its editor, which stands once in the JSON and not in the line."""
    outcome = called(plugin, "image_generation", credentials, prompt="a cup", seed=11)
    link = str(outcome.variables["studio_url"])
    assert outcome.jsons[0]["studio_url"] == link
    assert json.dumps(outcome.jsons).count("#/edit/") == 1
    assert "#/edit/" not in outcome.texts[0]
    return str(outcome.variables["image_id"]), link


def test_a_wrong_id_and_a_wrong_model_are_said_by_the_server(plugin: Daemon, credentials: dict[str, object]) -> None:
    for parameters, part in (({"image_id": "img_no"}, "img_no"), ({"image_id": "img_no", "model": "none-such"}, "no")):
        outcome = plugin.invoke(PROVIDER, "image_edit", {"prompt": "x", **parameters}, credentials)
        assert outcome.error is not None
        assert outcome.error.type == "InvokeBadRequestError"
        assert part in outcome.error.message
