"""Inpaint, outpaint and image-to-image over HTTP: what is asked for, what is kept of it, and what is refused."""

import json
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.jobs import JobStore
from qwen_image_studio.planning.plan import PaintPlan
from tests.support.pictures import png

REGION = {"x": 8, "y": 4, "width": 16, "height": 12}


def mask(width: int = 32, height: int = 24, box: tuple[int, int, int, int] | None = (8, 4, 24, 16)) -> bytes:
    """A mask's bytes: white in the box."""
    image = Image.new("L", (width, height))
    if box is not None:
        image.paste(255, box)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def send(client: FlaskClient, files: dict[str, Any] | None = None, **params: Any) -> Any:
    """Submit; `files` are names of fields with bytes, or lists of them."""
    params = {"prompt": "a cat", **params}
    if files is None:
        return client.post("/v1/jobs", json=params)
    form: dict[str, Any] = {"params": json.dumps(params)}
    for name, content in files.items():
        parts = content if isinstance(content, list) else [content]
        form[name] = [(BytesIO(data), f"{name}.png") for data in parts]
    return client.post("/v1/jobs", data=form)


def plan_of(store: JobStore, answer: Any) -> PaintPlan:
    assert answer.status_code == 202, answer.json
    return PaintPlan.model_validate(store.jobs.get(answer.json["id"]).plan)


def kept(client: FlaskClient) -> str:
    """Id of a picture that is on the server."""
    answer = send(client, {"image": png()}, operation="outpaint", left=8)
    services: Any = client.application.extensions["qwen-image-studio"]
    image_id: str = services.store.jobs.get(answer.json["id"]).inputs[0]
    return image_id


@pytest.mark.parametrize("way", ["file", "id", "region", "fractions"])
def test_the_ways_to_say_what_may_change(client: FlaskClient, store: JobStore, way: str) -> None:
    files: dict[str, Any] = {"image": png()}
    asked: dict[str, Any] = {}
    if way == "file":
        files["mask"] = mask()
    elif way == "id":
        drawn = send(client, {"image": mask()}, operation="outpaint", left=8)
        asked["mask"] = store.jobs.get(drawn.json["id"]).inputs[0]
    else:
        asked["region"] = REGION if way == "region" else {"x": 0.25, "y": 1 / 6, "width": 0.5, "height": 0.5}
    answer = send(client, files, operation="inpaint", **asked)
    plan = plan_of(store, answer)
    assert (plan.width, plan.height, plan.mask, len(plan.passes)) == (32, 24, True, 1)
    assert answer.json["operation"] == "inpaint"
    services: Any = client.application.extensions["qwen-image-studio"]
    source, drawn_mask = store.jobs.get(answer.json["id"]).inputs
    with Image.open(BytesIO(services.gallery.open(store.images.get(drawn_mask).key))) as image:
        assert (image.size, image.convert("L").getbbox()) == ((32, 24), (8, 4, 24, 16))
    assert store.images.get(source).width == 32


def test_a_mask_file_goes_with_an_image_by_id(client: FlaskClient, store: JobStore) -> None:
    answer = send(client, {"mask": mask()}, operation="inpaint", image=kept(client))
    assert plan_of(store, answer).mask


def test_images_to_take_things_from_come_between_the_image_and_the_mask(client: FlaskClient, store: JobStore) -> None:
    answer = send(client, {"image": [png(), png(8, 8)], "mask": mask()}, operation="inpaint", prompt_kind="instruction")
    assert plan_of(store, answer).mask
    inputs = store.jobs.get(answer.json["id"]).inputs
    assert [store.images.get(one).width for one in inputs] == [32, 8, 32]


@pytest.mark.parametrize(
    ("asked", "files", "param", "said"),
    [
        ({}, {}, "mask", "either as a mask (file, id or URL) or as a region"),
        ({"region": REGION}, {"mask": mask()}, "mask", "either as a mask"),
        ({"region": REGION, "mask": "img_1"}, {}, "mask", "either as a mask"),
        ({"mask": "img_1"}, {}, "mask", "there is no image 'img_1' of yours"),
        ({"mask": "http://127.0.0.1:1/x.png"}, {}, "mask", ""),
        ({}, {"mask": b"junk"}, "mask", "is not a picture"),
        ({}, {"mask": mask(24, 32)}, "mask", "another shape"),
        ({}, {"mask": mask(box=None)}, "mask", "paint white what is to change"),
        ({"region": {**REGION, "x": 32}}, {}, "region", "outside the image of 32x24"),
        ({"region": {"x": 0, "y": 0, "width": 0, "height": 1}}, {}, "region.width", "greater than 0"),
        ({"region": {"x": 0, "y": 0}}, {}, "region.width", ""),
        ({"region": REGION, "size": "64x64"}, {}, "size", ""),
        ({"region": REGION, "strength": 0}, {}, "strength", "greater than 0"),
        ({"region": REGION, "prompt": ""}, {}, "prompt", "send what to paint"),
        ({"region": REGION, "prompt_kind": "poem"}, {}, "prompt_kind", ""),
    ],
)
def test_masks_that_cannot_be_used(
    client: FlaskClient, asked: dict[str, Any], files: dict[str, bytes], param: str, said: str
) -> None:
    answer = send(client, {"image": png(), **files}, operation="inpaint", **asked)
    assert answer.status_code == 422, answer.json
    assert answer.json["error"]["param"] == param, answer.json
    assert said in answer.json["error"]["message"]


@pytest.mark.parametrize("operation", ["generate", "edit", "outpaint", "adjust"])
def test_a_mask_belongs_to_inpaint(client: FlaskClient, operation: str) -> None:
    more = {"left": 8} if operation == "outpaint" else {}
    answer = send(client, {"image": png(), "mask": mask()}, operation=operation, **more)
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "unknown_parameter")
    assert answer.json["error"]["param"] == "mask"


@pytest.mark.parametrize(
    ("asked", "size", "place"),
    [
        ({"left": 8, "bottom": 4}, (40, 28), (8, 0, 40, 24)),
        ({"aspect_ratio": "2:1"}, (48, 24), (8, 0, 40, 24)),
        ({"aspect_ratio": "1:1", "anchor": "top"}, (32, 32), (0, 0, 32, 24)),
        ({"size": "64x64"}, (64, 64), (16, 20, 48, 44)),
        ({"width": 64, "height": 64, "anchor": "right"}, (64, 64), (32, 20, 64, 44)),
    ],
)
def test_outpaints(
    client: FlaskClient, store: JobStore, asked: dict[str, Any], size: tuple[int, int], place: tuple[int, ...]
) -> None:
    plan = plan_of(store, send(client, {"image": png()}, operation="outpaint", prompt="", **asked))
    assert ((plan.width, plan.height), plan.place) == (size, place)
    assert plan.prompt  # its own, where there is none
    assert plan.strength == 0.8


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({}, "aspect_ratio"),
        ({"left": 8, "size": "64x64"}, "left"),
        ({"size": "64x64", "aspect_ratio": "1:1"}, "size"),
        ({"left": -1}, "left"),
        ({"left": 5000}, "left"),
        ({"aspect_ratio": "wide"}, "aspect_ratio"),
        ({"aspect_ratio": "4:3"}, "aspect_ratio"),
        ({"size": "64x64", "anchor": "middle"}, "anchor"),
        ({"left": 8, "n": 0}, "n"),
    ],
)
def test_outpaints_that_lead_nowhere(client: FlaskClient, asked: dict[str, Any], param: str) -> None:
    answer = send(client, {"image": png()}, operation="outpaint", **asked)
    assert (answer.status_code, answer.json["error"]["param"]) == (422, param), answer.json


def test_one_image_is_continued(client: FlaskClient) -> None:
    answer = send(client, {"image": [png(), png()]}, operation="outpaint", left=8)
    assert "outpaint takes 1 image" in answer.json["error"]["message"]
    assert "outpaint takes 1 image" in send(client, operation="outpaint", left=8).json["error"]["message"]


def test_a_painting_in_an_images_likeness(client: FlaskClient, store: JobStore) -> None:
    plan = plan_of(store, send(client, {"image": png()}, operation="generate"))
    assert (plan.strength, plan.width, plan.height) == (0.6, 144, 112)  # the image's shape at the model's native area
    assert plan_of(store, send(client, operation="generate", image=kept(client), strength=1)).strength == 1.0
    answer = send(client, operation="generate", strength=0.5)
    assert (answer.status_code, answer.json["error"]["param"]) == (422, "strength")


def test_templates_of_edits_serve_parts_too(client: FlaskClient, store: JobStore) -> None:
    named = {"template": "replace_object", "slots": {"old": "apple", "new": "a cat"}, "prompt": ""}
    plan = plan_of(store, send(client, {"image": png()}, operation="inpaint", region=REGION, **named))
    assert "apple" in plan.prompt
    assert "cat" in plan.prompt


def test_the_models_tell_that_they_do_it(client: FlaskClient) -> None:
    answer: Any = client.get("/v1/models").json
    (model,) = answer["data"]
    assert model["operations"] == ["generate", "edit", "inpaint", "outpaint"]
