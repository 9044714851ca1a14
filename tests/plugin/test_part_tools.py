"""What the tools start from: images, masks, boxes and edges, as Dify's daemon sends them, against a scripted studio."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugin.test_tools import PLACE, VARIABLES
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import PNG, Answer, Call, ScriptedServer, ScriptedStudio

MASK = PNG + b" and this is its mask"


@pytest.fixture
def files(calls: list[Call]) -> Iterator[ScriptedServer]:
    """Dify's file server: a picture and its mask."""
    with ScriptedServer(lambda call: Answer(200, MASK if "mask" in call.path else PNG), calls) as server:
        yield server


def invoke(plugin: Daemon, tool: str, credentials: dict[str, object], **parameters: Any) -> Outcome:
    return plugin.invoke(PROVIDER, tool, parameters, credentials)


def parts(call: Call) -> dict[str, list[bytes]]:
    """The contents of a multipart body by name, and file names under ``name;filename``."""
    boundary = call.headers["Content-Type"].partition("boundary=")[2].encode()
    found: dict[str, list[bytes]] = {}
    for part in call.body.split(b"--" + boundary)[1:-1]:
        header, _, content = part.partition(b"\r\n\r\n")
        names = re.findall(rb'name="([^"]*)"', header)
        found.setdefault(names[0].decode(), []).append(content.removesuffix(b"\r\n"))
        if len(names) > 1:
            found.setdefault(f"{names[0].decode()};filename", []).append(names[1])
    return found


def test_input_files_are_fetched_before_the_job_is_submitted(
    plugin: Daemon, scripted: ScriptedStudio, files: ScriptedServer, credentials: dict[str, object]
) -> None:
    images = [dify_file(f"{files.url}/files/{name}?sign=s") for name in ("one", "two")]
    invoke(plugin, "image_edit", credentials, prompt="make it blue", images=images).raise_on_error()
    assert scripted.routes()[:3] == ["GET /files/one", "GET /files/two", "POST /v1/jobs"]
    [call] = scripted.called("POST /v1/jobs")
    assert call.headers["Content-Type"].startswith("multipart/form-data")
    assert call.body.count(b'name="image[]"') == 2
    assert call.body.count(PNG) == 2
    assert b'name="params"' in call.body
    assert b'"operation": "edit"' in call.body
    assert "私人".encode() not in call.body, "the file's own name is nobody's business"
    fetches = [call for call in scripted.calls if call.path.startswith("/files")]
    assert all("Authorization" not in call.headers for call in fetches), "the key is for the studio alone"


@pytest.mark.parametrize("form", ["single", "list with None"])
def test_a_file_may_come_alone_or_in_a_list(
    plugin: Daemon, scripted: ScriptedStudio, files: ScriptedServer, credentials: dict[str, object], form: str
) -> None:
    file = dify_file(f"{files.url}/files/one?sign=s")
    invoke(
        plugin, "image_edit", credentials, prompt="make it blue", images=file if form == "single" else [None, file]
    ).raise_on_error()
    assert scripted.called("POST /v1/jobs")[0].body.count(PNG) == 1


def test_edit_by_image_id_needs_no_file(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    invoke(
        plugin,
        "image_edit",
        credentials,
        prompt="make it blue",
        image_id="img0, https://a.example/b.png",
        images=[None],
    ).raise_on_error()
    assert scripted.called("POST /v1/jobs")[0].json() == {
        "operation": "edit",
        **PLACE,
        "prompt": "make it blue",
        "n": 1,
        "output_format": "png",
        "image": ["img0", "https://a.example/b.png"],
    }


def test_image_and_mask_are_fetched_first_and_sent_together(
    plugin: Daemon, scripted: ScriptedStudio, files: ScriptedServer, credentials: dict[str, object]
) -> None:
    images = [dify_file(f"{files.url}/files/one?sign=s")]
    mask = dify_file(f"{files.url}/files/mask?sign=s")
    given = {"prompt": "a red cup", "images": images, "mask": mask, "strength": "0.8", "prefer": "cv"}
    invoke(plugin, "image_edit", credentials, **given).raise_on_error()
    assert scripted.routes()[:3] == ["GET /files/one", "GET /files/mask", "POST /v1/jobs"]
    sent = parts(scripted.called("POST /v1/jobs")[0])
    assert (sent["image[]"], sent["mask"]) == ([PNG], [MASK])
    assert sent["mask;filename"] == [b"mask.png"]
    assert json.loads(sent["params"][0]) == {
        "operation": "inpaint",
        **PLACE,
        "prompt": "a red cup",
        "strength": 0.8,
        "n": 1,
        "output_format": "png",
    }


def test_a_mask_goes_with_a_stored_image(
    plugin: Daemon, scripted: ScriptedStudio, files: ScriptedServer, credentials: dict[str, object]
) -> None:
    mask = [dify_file(f"{files.url}/files/mask?sign=s")]
    given = {"template": "replace_object", "slots": "old=a; new=b", "image_id": "img0", "mask": mask, "images": [None]}
    invoke(plugin, "image_edit", credentials, **given).raise_on_error()
    sent = parts(scripted.called("POST /v1/jobs")[0])
    assert set(sent) == {"params", "mask", "mask;filename"}
    params = json.loads(sent["params"][0])
    assert (params["operation"], params["image"], params["template"]) == ("inpaint", ["img0"], "replace_object")


def test_a_region_needs_no_file(plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]) -> None:
    given = {
        "prompt": "x",
        "image_id": "img0",
        "region": "0.5，0，0.5，1",
        "prompt_kind": "description",
        "size": "64x64",
    }
    invoke(plugin, "image_edit", credentials, **given).raise_on_error()
    sent = scripted.called("POST /v1/jobs")[0].json()
    assert sent["region"] == {"x": 0.5, "y": 0, "width": 0.5, "height": 1}
    assert (sent["operation"], sent["prompt_kind"], "size" in sent) == ("inpaint", "description", False)


@pytest.mark.parametrize("form", ["file", "id"])
def test_generating_from_an_image(
    plugin: Daemon, scripted: ScriptedStudio, files: ScriptedServer, credentials: dict[str, object], form: str
) -> None:
    given = {"image": dify_file(f"{files.url}/files/one?sign=s")} if form == "file" else {"image_id": "img7"}
    invoke(plugin, "image_generation", credentials, prompt="x", strength=0.3, **given).raise_on_error()
    [call] = scripted.called("POST /v1/jobs")
    if form == "file":
        assert parts(call)["image[]"] == [PNG]
    params = json.loads(parts(call)["params"][0]) if form == "file" else call.json()
    assert (params["operation"], params["strength"], "aspect_ratio" in params) == ("generate", 0.3, False)
    assert params.get("image") == (None if form == "file" else "img7")


@pytest.mark.parametrize("form", ["file", "id"])
def test_extending_an_image(
    plugin: Daemon, scripted: ScriptedStudio, files: ScriptedServer, credentials: dict[str, object], form: str
) -> None:
    scripted.operation = "outpaint"
    given = {"image": [dify_file(f"{files.url}/files/one?sign=s")]} if form == "file" else {"image_id": "img7"}
    outcome = invoke(plugin, "image_outpaint", credentials, left="64", bottom=32, top=0, anchor="left", **given)
    outcome.raise_on_error()
    assert outcome.texts[0].startswith("Extended 1 image, 640x480")
    assert set(outcome.variables) == VARIABLES
    [call] = scripted.called("POST /v1/jobs")
    params = json.loads(parts(call)["params"][0]) if form == "file" else call.json()
    image = {} if form == "file" else {"image": "img7"}
    usual = {"operation": "outpaint", "left": 64, "bottom": 32, "n": 1, "output_format": "png"}
    assert params == usual | image | PLACE


def test_what_changed_and_what_was_saved_are_variables(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    scripted.operation, scripted.change = "inpaint", {"inside": 0.25, "outside": 0.0}
    scripted.states = [{"state": "succeeded", "compute_saved": 0.8}]
    outcome = invoke(plugin, "image_edit", credentials, prompt="x", image_id="img0", region="1,2,3,4")
    told = {
        name: outcome.variables[name] for name in ("comparison_url", "change_inside", "change_outside", "compute_saved")
    }
    assert told == {
        "comparison_url": "https://studio.example/files/img0?strip=s",
        "change_inside": 0.25,
        "change_outside": 0,
        "compute_saved": 0.8,
    }
    assert outcome.texts[0].startswith("Edited 1 image")
    [view] = outcome.jsons
    assert (view["compute_saved"], view["images"][0]["change"]) == (0.8, {"inside": 0.25, "outside": 0.0})


@pytest.mark.parametrize("change", [None, {"inside": None, "outside": None}])
def test_what_is_not_known_is_a_number_too(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object], change: dict[str, object] | None
) -> None:
    scripted.change = change
    variables = invoke(plugin, "image_generation", credentials, prompt="x").variables
    assert (variables["change_inside"], variables["change_outside"], variables["compute_saved"]) == (-1, -1, 0)
    assert variables["comparison_url"] == ("" if change is None else "https://studio.example/files/img0?strip=s")


@pytest.mark.parametrize(
    ("tool", "parameters", "said"),
    [
        ("image_edit", {"prompt": "x", "images": [dify_file("http://a/a")], "image_id": "i"}, "Give either images or"),
        ("image_edit", {"prompt": "x", "image_id": ",".join("abcdefghijk")}, "Give at most 10 images; there are 11."),
        (
            "image_edit",
            {"prompt": "x", "images": [dify_file("http://a/a")] * 11},
            "Give at most 10 images; there are 11.",
        ),
        ("image_edit", {"prompt": "x", "image_id": "a,b", "roles": "subject, hero"}, "roles: takes subject, style"),
        ("image_edit", {"prompt": "x", "image_id": "i", "n": 5}, "n:"),
        ("image_edit", {"prompt": " ", "image_id": "i"}, "prompt is missing"),
        ("image_edit", {"prompt": "x", "images": [dify_file("/files/a/preview")]}, "Image 1 has no complete address"),
        ("image_edit", {"prompt": "x", "image_id": "uploaded_image"}, "image_id: takes the id of an image"),
        ("image_edit", {"prompt": "x", "image_id": "i", "mask": [dify_file("http://a/m")] * 2}, "mask: takes one file"),
        ("image_edit", {"prompt": "x", "image_id": "i", "region": "left"}, "region: write x,y,width,height"),
        (
            "image_edit",
            {"prompt": "x", "image_id": "i", "mask": dify_file("/files/m")},
            "The mask has no complete address",
        ),
        ("image_generation", {"prompt": "x", "image_id": "a,b"}, "image_id takes one image"),
        ("image_outpaint", {"image_id": "a"}, "Say how far to extend the image"),
        ("image_outpaint", {"left": 9, "image": [dify_file("http://a/a")] * 2}, "image takes one image; there are 2"),
    ],
)
def test_bad_parameters_are_refused_before_the_server_is_asked(
    plugin: Daemon,
    scripted: ScriptedStudio,
    credentials: dict[str, object],
    tool: str,
    parameters: dict[str, Any],
    said: str,
) -> None:
    outcome = invoke(plugin, tool, credentials, **parameters)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.kinds) == ("InvokeBadRequestError", [])
    assert outcome.error.message.startswith(said)
    assert scripted.calls == []


def test_a_mask_that_is_no_image_is_named(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    with ScriptedServer(lambda call: Answer(200, b"PK a spreadsheet")) as wrong:
        given = {"prompt": "x", "image_id": "i", "mask": dify_file(f"{wrong.url}/files/m?sign=s")}
        outcome = invoke(plugin, "image_edit", credentials, **given)
    assert outcome.error is not None
    assert outcome.error.message.startswith("The mask from 127.0.0.1")
    assert scripted.calls == []
