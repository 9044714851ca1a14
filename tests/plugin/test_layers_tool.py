"""The tool image_layers as Dify's daemon calls it, on both SDKs, against a studio that plays a script."""

from typing import Any

import pytest

from tests.plugin.test_batch_tool import ARCHIVE, counted
from tests.plugin.test_tools import JOB_VARIABLES, LAYERS_VARIABLES, PLACE
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import PNG, RUNNING, SIGNATURE, Answer, ScriptedServer, ScriptedStudio, error

KINDS = {
    "zip": "application/zip",
    "psd": "application/x-photoshop",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
"""Media types of the files for designers. None begins with image/, or Dify would show a picture that no browser can."""
NAMES = ["img3.png", "01-background-img0.png", "02-layer-1-img1.png", "03-layer-2-img2.png"]
PICTURES = [("image/png", name) for name in NAMES]
"""The picture that the layers make, and the layers from the backmost on."""


@pytest.fixture
def studio(scripted: ScriptedStudio) -> ScriptedStudio:
    """A studio that takes a picture apart into three layers, and makes files of them of every kind."""
    scripted.operation, scripted.layers = "layers", 3
    formats = ["psd", "pptx"]
    scripted.states = [RUNNING, {"state": "succeeded", "archive_url": ARCHIVE, "archive_formats": formats}]
    scripted.archives = {kind: f"all layers as {kind}".encode() for kind in KINDS}
    return scripted


def layers(plugin: Daemon, credentials: dict[str, object], **parameters: Any) -> Outcome:
    """Take a stored picture apart."""
    return plugin.invoke(PROVIDER, "image_layers", {"image_id": "img_1", **parameters}, credentials)


def files(outcome: Outcome) -> list[tuple[str, str]]:
    """Type and name of each file."""
    return [(str(blob.meta["mime_type"]), str(blob.meta["filename"])) for blob in outcome.blobs]


def test_success_gives_picture_layers_archive_line_and_every_variable(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = layers(plugin, credentials)
    outcome.raise_on_error()
    assert files(outcome) == [*PICTURES, (KINDS["zip"], "job0.zip")]
    assert [blob.content for blob in outcome.blobs] == [PNG] * 4 + [b"all layers as zip"]
    assert outcome.texts == [
        "Taken apart into 3 layers, 640x480, with qwen-image: image_id img3. Layers from the back: "
        f"img0, img1, img2. All layers as one file: {ARCHIVE}\n"
    ]
    assert set(outcome.variables) == LAYERS_VARIABLES
    links = [f"https://studio.example/files/img{number}?sign=s" for number in range(4)]
    assert {name: value for name, value in outcome.variables.items() if name not in {"progress", "seconds"}} == {
        "image_url": links[3],
        "image_urls": [links[3], *links[:3]],
        "image_id": "img3",
        "image_ids": ["img3", "img0", "img1", "img2"],
        "layer_urls": links[:3],
        "layer_ids": ["img0", "img1", "img2"],
        "archive_url": ARCHIVE,
        "studio_url": f"https://studio.example/#/edit/img3?k=1795883985.{SIGNATURE}",
        **{"seed": 7, "width": 640, "height": 480, "model": "qwen-image", "tier": "quality", "loras": []},
        **{"comparison_url": "", "change_inside": -1, "change_outside": -1, "compute_saved": 0, "cache": ""},
        **{"job_id": "job0", "state": "succeeded", "count": 4, "held": 0, "warnings": []},
    }
    [view] = outcome.jsons
    assert [(image["id"], image.get("layer")) for image in view["images"]] == [
        ("img3", None),
        ("img0", 0),
        ("img1", 1),
        ("img2", 2),
    ]
    assert (view["archive_url"], view["operation"]) == (ARCHIVE, "layers")


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "zip"),
        ({"format": "ZIP"}, "zip"),
        ({"format": "psd"}, "psd"),
        ({"format": "Photoshop"}, "psd"),
        ({"format": ".pptx"}, "pptx"),
        ({"format": "PowerPoint"}, "pptx"),
    ],
)
def test_a_designer_gets_the_file_that_was_asked_for(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], given: dict[str, Any], kind: str
) -> None:
    outcome = layers(plugin, credentials, **given)
    outcome.raise_on_error()
    assert files(outcome) == [*PICTURES, (KINDS[kind], f"job0.{kind}")]
    assert outcome.blobs[-1].content == f"all layers as {kind}".encode()
    [call] = studio.called("GET /v1/jobs/job0/archive")
    assert call.query == ("" if kind == "zip" else f"format={kind}")
    link = ARCHIVE if kind == "zip" else f"{ARCHIVE}&format={kind}"
    assert outcome.variables["archive_url"] == outcome.jsons[0]["archive_url"] == link
    assert f"All layers as one file: {link}\n" in outcome.texts[0]


@pytest.mark.parametrize("given", ["pictures", "仅图片"])
def test_without_a_file_there_are_the_pictures_alone(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], given: str
) -> None:
    outcome = layers(plugin, credentials, format=given)
    outcome.raise_on_error()
    assert files(outcome) == PICTURES
    assert studio.called("GET /v1/jobs/job0/archive") == []
    assert outcome.variables["archive_url"] == ARCHIVE


def test_what_the_server_does_not_make_is_a_zip_file_with_a_warning(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    """The layers are painted already, and nobody should have to paint them again."""
    del studio.archives["psd"]
    outcome = layers(plugin, credentials, format="psd")
    outcome.raise_on_error()
    assert files(outcome)[-1] == (KINDS["zip"], "job0.zip")
    assert outcome.variables["archive_url"] == ARCHIVE
    said = "There is no PSD file: format: this server makes no psd; install the extra psd, or take zip."
    assert outcome.variables["warnings"] == [said]
    assert " Note: There is no PSD file: format: this server makes no psd" in outcome.texts[0]


def test_a_file_that_is_too_large_for_dify_is_left_to_its_link(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.archives["zip"] = bytes(51 * 2**20)
    outcome = layers(plugin, credentials)
    outcome.raise_on_error()
    assert files(outcome) == PICTURES
    [said] = outcome.variables["warnings"]
    assert said.startswith("There is no ZIP file: The server's answer is larger than 50 MB, more than Dify takes.")
    assert "archive_url" in said
    assert outcome.variables["archive_url"] == ARCHIVE


def test_a_file_that_fails_takes_no_picture_with_it(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.script["GET /v1/jobs/job0/archive"].append(error(500, "A fault of its own.", code="server_error"))
    outcome = layers(plugin, credentials)
    outcome.raise_on_error()
    assert files(outcome) == PICTURES
    assert outcome.variables["warnings"] == ["There is no ZIP file: A fault of its own."]


def test_a_file_that_comes_late_is_waited_for(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.script["GET /v1/jobs/job0/archive"].append(error(503, "Busy.", retry_after=0))
    outcome = layers(plugin, credentials)
    outcome.raise_on_error()
    assert files(outcome)[-1] == (KINDS["zip"], "job0.zip")


def test_parameters_reach_the_server(plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]) -> None:
    given = {
        "layers": "５",
        "resolution": "1024 px",
        "prompt": "一只猫",
        "seed": "7",
        "model": "m",
        "negative_prompt": "x",
    }
    layers(plugin, credentials, **given, steps=12.0, guidance_scale="3.5", tier="quality", cache="off").raise_on_error()
    assert studio.called("POST /v1/jobs")[0].json() == {
        "operation": "layers",
        **PLACE,
        "image": "img_1",
        **{"layers": 5, "resolution": 1024, "prompt": "一只猫", "seed": 7, "model": "m", "negative_prompt": "x"},
        **{"steps": 12, "guidance_scale": 3.5, "tier": "quality", "cache": False},
    }


def test_what_is_left_out_is_left_to_the_server(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    blanks: dict[str, object] = {"layers": "", "resolution": "auto", "format": None, "seed": "random", "image": [None]}
    plugin.invoke(PROVIDER, "image_layers", blanks, credentials).raise_on_error()
    assert studio.called("POST /v1/jobs")[0].json() == {"operation": "layers", **PLACE}


def test_a_file_is_fetched_first_and_sent(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    with ScriptedServer(lambda call: Answer(200, PNG), studio.calls) as dify:
        given = {"image_id": None, "image": [dify_file(f"{dify.url}/files/one?sign=s")]}
        layers(plugin, credentials, **given).raise_on_error()
    assert studio.routes()[:2] == ["GET /files/one", "POST /v1/jobs"]
    params, sent = studio.called("POST /v1/jobs")[0].form()
    assert (params["operation"], sent) == ("layers", {"image[]": PNG})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layers": 1}, "layers: input should be greater than or equal to 2 (given: 1)."),
        ({"layers": "9"}, "layers: input should be less than or equal to 8 (given: 9)."),
        ({"layers": "many"}, "layers: takes a whole number (given: many)."),
        ({"resolution": "1328"}, "resolution: input should be 'auto', '640' or '1024' (given: 1328)."),
        ({"format": "tiff"}, "format: input should be 'zip', 'psd', 'pptx' or 'pictures' (given: tiff)."),
        ({"image": [dify_file("http://a/a")]}, "Give either image or image_id, not both."),
        ({"image_id": "img_1, img_2"}, "image_id takes one image; there are 2."),
    ],
)
def test_bad_parameters_are_refused_before_the_server_is_asked(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], given: dict[str, Any], said: str
) -> None:
    outcome = layers(plugin, credentials, **given)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("InvokeBadRequestError", said)
    assert studio.calls == []


def test_a_model_that_cannot_is_told_in_the_servers_words(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    said = "operation: no model of this server takes pictures apart; the operator can add Qwen-Image-Layered."
    studio.script["POST /v1/jobs"].append(error(422, said, code="unsupported_operation"))
    outcome = layers(plugin, credentials)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("InvokeBadRequestError", said)


# -- started now, fetched later ------------------------------------------------------------------------------------


def test_without_waiting_the_job_is_only_started(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = layers(plugin, credentials, wait=False)
    outcome.raise_on_error()
    assert outcome.texts == ["Job job0 is queued at place 2; fetch it with image_job.\n"]
    assert (outcome.blobs, set(outcome.variables)) == ([], LAYERS_VARIABLES)
    empty = ("layer_urls", "layer_ids", "archive_url", "image_url")
    assert {name: outcome.variables[name] for name in empty} == {
        **{"layer_urls": [], "layer_ids": []},
        **{"archive_url": "", "image_url": ""},
    }


@pytest.mark.parametrize("kind", ["zip", "psd", "pictures"])
def test_image_job_gives_what_the_tool_would_have_given(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object], kind: str
) -> None:
    waited = layers(plugin, credentials, format=kind)
    studio.look_afresh()
    fetched = plugin.invoke(PROVIDER, "image_job", {"job_id": "job0", "format": kind}, credentials)
    fetched.raise_on_error()
    assert (fetched.blobs, fetched.texts, fetched.jsons) == (waited.blobs, waited.texts, waited.jsons)
    assert set(fetched.variables) == JOB_VARIABLES
    for name in LAYERS_VARIABLES - {"progress"}:
        assert fetched.variables[name] == waited.variables[name]


def test_the_format_says_nothing_to_other_jobs(
    plugin: Daemon, scripted: ScriptedStudio, credentials: dict[str, object]
) -> None:
    outcome = plugin.invoke(PROVIDER, "image_job", {"job_id": "job0", "format": "psd"}, credentials)
    outcome.raise_on_error()
    assert files(outcome) == [("image/png", "img0.png")]
    assert scripted.called("GET /v1/jobs/job0/archive") == []


# -- many pictures, and where Dify shows none ----------------------------------------------------------------------


def test_a_batch_takes_the_image_of_each_row_apart(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    studio.operation = "batch"
    rows = [studio.view(f"row{row}", {"state": "succeeded", "operation": "layers", "row": row}) for row in (0, 1)]
    studio.rows = rows
    studio.layers = 0
    studio.states = [{"state": "succeeded", "rows": counted(2, 2), "archive_url": ARCHIVE}]
    given = {"operation": "layers", "rows": "image\nimg_1\nimg_2", "layers": 3, "resolution": 640, "style": "spring"}
    outcome = plugin.invoke(PROVIDER, "image_batch", {**given, "size": "640x480", "template": "t"}, credentials)
    outcome.raise_on_error()
    params, _ = studio.called("POST /v1/jobs")[0].form()
    assert params["job"] == {
        "operation": "layers",
        "image": "{{image}}",
        "layers": 3,
        "resolution": 640,
        "output_format": "png",
    }
    assert outcome.texts[0].startswith(
        "2 of 2 rows succeeded. Row and image_id of each, for image_edit: 1 img3, 2 img3."
    )
    assert outcome.variables["image_ids"] == ["img3", "img0", "img1", "img2"] * 2
    assert outcome.variables["count"] == 8


def test_a_batch_of_layers_refuses_a_format_without_transparency(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    given = {"operation": "layers", "rows": "image\nimg_1", "output_format": "jpg"}
    outcome = plugin.invoke(PROVIDER, "image_batch", given, credentials)
    assert outcome.error is not None
    assert outcome.error.message == (
        "operation: layers needs output_format png or webp; jpeg, as it is set, has no transparency."
    )
    assert studio.calls == []


def test_where_dify_shows_no_files_the_picture_goes_alone_with_a_link_to_the_rest(
    plugin: Daemon, studio: ScriptedStudio, credentials: dict[str, object]
) -> None:
    given = {"image_id": "img_1", "format": "psd"}
    outcome = plugin.invoke(PROVIDER, "image_layers", given, credentials, app_id=None)
    outcome.raise_on_error()
    assert files(outcome) == PICTURES[:1]
    assert studio.called("GET /v1/jobs/job0/archive") == []
    assert f"{ARCHIVE}&format=psd" in outcome.texts[0]
    assert outcome.texts[0].count("![image]") == 1
    assert outcome.variables["layer_ids"] == ["img0", "img1", "img2"]
