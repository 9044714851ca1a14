"""What people send as pictures, and what they hear of it: transparency, animations, formats, regions, long shapes."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from qwen_image_studio.jobs import JobStore
from qwen_image_studio.worker.loop import Worker
from tests.contract.test_adjust_api import finished, send
from tests.support.pictures import saved

LOGO = Image.new("RGBA", (64, 48), (10, 20, 30, 0))
LOGO.paste((200, 30, 30, 255), (20, 10, 40, 30))
# A picture of 16 x 16, red beside blue, as a phone writes it (made with libheif and x265).
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAX5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAA"
    "AERAAAEAAQAAAAABogABAAAAAAAAAFIAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/mlwcnAAAADe"
    "aXBjbwAAAHdodmNDAQQIAAAAnjgAAAAAHvAA/P/4+AAADwNgAAEAF0ABDAH//wQIAAADAJ44AAADAAAeugJAYQABACpCAQEECAAAAwCeOAAAAwAA"
    "HpAEECCy3VXTXNwENBgQAAADAZAAAAMAEIBiAAEACEQBwXMYMBiQAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABAAAAAKGNs"
    "YXAAAAAQAAAAAQAAABAAAAAB////0AAAAAL////QAAAAAgAAABBwaXhpAAAAAAMICAgAAAAYaXBtYQAAAAAAAAABAAEFgQIDBYQAAABabWRhdAAA"
    "AE4oAa8GMhrhxoBdQfk9vVz//+hd9D52J/m/DD998kn//vQ0uvN99YNTl5L5Kr9bJM+Nr/f/pSh+gHLv+KGYs2G0dMIRb4gqHFso2PZxcOA="
)


def picture_of(client: FlaskClient, job: dict[str, Any]) -> Image.Image:
    image = Image.open(BytesIO(client.get(job["images"][0]["url"]).data))
    image.load()
    return image


@pytest.mark.parametrize("said", ["convert to png", "resize to 32x24", "convert to webp"])
def test_an_adjusted_logo_stays_transparent(client: FlaskClient, light: Worker, said: str) -> None:
    """A4: white before."""
    job = finished(client, light, send(client, saved(LOGO, "PNG"), operation="edit", prompt=said))
    image = picture_of(client, job)
    assert image.mode == "RGBA"
    assert (image.getpixel((0, 0)) or (1, 1, 1, 1))[3] == 0  # type: ignore[index]
    assert not any("transparency" in warning for warning in job["warnings"])
    if said == "convert to png":
        assert np.array_equal(np.asarray(image), np.asarray(LOGO)), "bit for bit, also where nothing is seen"


def test_where_transparency_has_to_go_a_warning_says_so(client: FlaskClient, light: Worker, worker: Worker) -> None:
    """A4: JPEG has none, and the miniature paints opaque pictures."""
    job = finished(client, light, send(client, saved(LOGO, "PNG"), operation="edit", prompt="convert to jpeg"))
    assert any("JPEG has no transparency" in warning for warning in job["warnings"])
    assert picture_of(client, job).convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    job = finished(client, worker, send(client, saved(LOGO, "PNG"), operation="edit", prompt="a hat"))
    assert sum("laid on white, since miniature painted an opaque" in warning for warning in job["warnings"]) == 1
    job = finished(client, worker, send(client, saved(LOGO.convert("RGB"), "PNG"), operation="edit", prompt="a hat"))
    assert not any("white" in warning for warning in job["warnings"])


FRAMES = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_an_animation_the_first_frame_is_taken_and_said(client: FlaskClient, kind: str) -> None:
    """A12: silent before."""
    moving = saved(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])
    plain = saved(FRAMES[0], kind)
    answers = [send(client, data, operation="adjust", prompt="rotate it 90 degrees").json for data in (moving, plain)]
    said = [[warning for warning in answer["warnings"] if "frame" in warning] for answer in answers]
    assert said == [
        [
            "image: 1 of 3 frames was taken, the first, since pictures here do not move; send another frame as a "
            "picture of its own."
        ],
        [],
    ]


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (saved(FRAMES[0], "AVIF"), (32, 24)),
        (saved(FRAMES[0], "TIFF", compression="tiff_lzw"), (32, 24)),
        (saved(FRAMES[0].convert("CMYK"), "TIFF"), (32, 24)),
        (HEIC, (16, 16)),
    ],
    ids=["AVIF", "TIFF", "TIFF CMYK", "HEIC"],
)
def test_more_formats_are_taken(client: FlaskClient, light: Worker, data: bytes, size: tuple[int, int]) -> None:
    """A15: what phones and print shops send."""
    job = finished(client, light, send(client, data, operation="adjust", prompt="convert to png"))
    image = picture_of(client, job)
    assert image.size == size
    red = image.convert("RGB").getpixel((2, 2))
    assert isinstance(red, tuple)
    assert np.abs(np.array(red) - (254, 0, 0)).max() < 12, red


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG drawing"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"8BPS\0\1", "is a Photoshop file"),
        (b"PK\3\4", "is a ZIP archive or an Office document"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "is a video"),
        (saved(FRAMES[0].convert("F"), "TIFF"), "32 bits a channel. Save it with 8 or 16"),
        (b"BM" + bytes(28) + b"\1\0\0\0" + bytes(90), "run-length encoding, which is not taken. Save it as PNG"),
    ],
)
def test_what_is_not_taken_is_called_by_its_name(client: FlaskClient, data: bytes, said: str) -> None:
    """A15: "is not a PNG" for all before."""
    answer = send(client, data, operation="adjust", prompt="convert to png")
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "unsupported_image")
    assert said in answer.json["error"]["message"]


def test_a_region_beyond_the_image_says_what_was_cut(client: FlaskClient, store: JobStore) -> None:
    """A11: numbers that were meant as two corners."""
    beyond = {"x": 0.5, "y": 0.5, "width": 0.9, "height": 0.9}
    answer = send(client, saved(FRAMES[0], "PNG"), operation="inpaint", prompt="a cat", region=beyond).json
    assert any(warning.startswith("The region reached beyond the image and was cut") for warning in answer["warnings"])
    corners = {"x1": 0.25, "y1": 0.25, "x2": 0.75, "y2": 0.5}
    answer = send(client, saved(FRAMES[0], "PNG"), operation="inpaint", prompt="a cat", region=corners).json
    assert not any("region" in warning for warning in answer["warnings"])
    mask = store.images.get(store.jobs.get(answer["id"]).inputs[-1])
    services: Any = client.application.extensions["qwen-image-studio"]
    white = Image.open(BytesIO(services.gallery.open(mask.key))).convert("L")
    assert white.getbbox() == (8, 6, 24, 12)


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ({"x1": 10, "y1": 10, "x2": 5, "y2": 20}, "x2 must be greater than x1"),
        ({"x1": "a", "y1": 10, "x2": 5, "y2": 20}, "must be numbers"),
        ({"x1": 1, "y1": 2, "width": 5, "height": 5}, "region.x: field required"),
    ],
)
def test_corners_that_make_no_box_are_refused(client: FlaskClient, region: dict[str, Any], said: str) -> None:
    """A11: and the field is named."""
    answer = send(client, saved(FRAMES[0], "PNG"), operation="inpaint", prompt="a cat", region=region)
    assert answer.status_code == 422
    assert said in answer.json["error"]["message"]
