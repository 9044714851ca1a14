"""Parts of pictures the whole way: the plugin on both SDKs, the real server, the miniature's pictures."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import requests
from PIL import Image, ImageDraw

from tests.plugin.test_real_server import assert_complete, called, opened
from tests.support.daemon import Daemon, Outcome
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import Answer, Call, ScriptedServer
from tests.support.studio import Studio

# What the server adds does not depend on the SDK, under both of which test_real_server.py goes the whole way.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")

Pixels = npt.NDArray[np.uint8]
SIZE = (192, 128)
OVAL = (40, 24, 120, 88)


@pytest.fixture
def credentials(studio: Studio) -> dict[str, object]:
    """Credentials for the real server."""
    return {"server_url": studio.url, "api_key": studio.api_key, "time_budget": "120"}


def png(image: Image.Image) -> bytes:
    """The image as a file without loss."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A picture in which every pixel differs from its neighbours, so that none can be kept by chance."""
    noise = np.random.default_rng(5).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return Image.fromarray(noise // 4 + np.array([120, 60, 60], dtype=np.uint8))


@pytest.fixture(scope="module")
def mask() -> Image.Image:
    """White in an oval."""
    image = Image.new("L", SIZE, 0)
    ImageDraw.Draw(image).ellipse(OVAL, fill=255)
    return image


@pytest.fixture
def dify(photo: Image.Image, mask: Image.Image) -> Iterator[ScriptedServer]:
    """Dify's file server with the photo and the mask."""

    def answer(call: Call) -> Answer:
        return Answer(200, png(mask if "mask" in call.path else photo), {"Content-Type": "image/png"})

    with ScriptedServer(answer) as server:
        yield server


def pixels(image: Image.Image) -> Pixels:
    """Height x width x 3 bytes."""
    return np.asarray(image.convert("RGB"))


def assert_only_changed(outcome: Outcome, before: Image.Image, white: npt.NDArray[np.bool_]) -> None:
    """Every pixel that is not white is as it was, to the bit; of the others most are not."""
    assert_complete(outcome, 1)
    [after] = opened(outcome)
    assert after.size == before.size
    differs = (pixels(after) != pixels(before)).any(axis=2)
    assert not differs[~white].any()
    assert differs[white].mean() > 0.9


def test_a_region_changes_and_nothing_else(
    plugin: Daemon, credentials: dict[str, object], dify: ScriptedServer, photo: Image.Image
) -> None:
    file = dify_file(f"{dify.url}/files/photo?sign=s")
    white = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    white[32:96, 96:160] = True
    in_pixels = {"prompt": "把它变成绿色", "region": "96，32，64，64", "images": [file], "seed": 5}
    first = called(plugin, "image_edit", credentials, **in_pixels)
    assert_only_changed(first, photo, white)
    assert first.texts[0].startswith("已编辑 1 张图片, 192x128")
    assert first.variables["change_inside"] > 0.1
    assert first.variables["change_outside"] == 0
    assert 0 < first.variables["compute_saved"] < 1
    strip = requests.get(first.variables["comparison_url"], timeout=60).content
    assert Image.open(io.BytesIO(strip)).width > SIZE[0]
    in_fractions = {"prompt": "make it green", "region": "[0.5, 0.25, 0.3333333, 0.5]", "images": [file], "seed": 5}
    assert_only_changed(called(plugin, "image_edit", credentials, **in_fractions), photo, white)


def test_a_mask_changes_a_file_and_a_stored_image_and_nothing_else(
    plugin: Daemon, credentials: dict[str, object], dify: ScriptedServer, photo: Image.Image, mask: Image.Image
) -> None:
    white = np.asarray(mask) > 0
    files = {
        "images": [dify_file(f"{dify.url}/files/photo?sign=s")],
        "mask": dify_file(f"{dify.url}/files/mask?sign=s"),
    }
    first = called(plugin, "image_edit", credentials, prompt="make it blue", seed=5, **files)
    assert_only_changed(first, photo, white)
    stored = {"image_id": first.variables["image_id"], "mask": [dify_file(f"{dify.url}/files/mask?sign=s")]}
    second = called(
        plugin, "image_edit", credentials, template="replace_object", slots="old=apple; new=cup", seed=6, **stored
    )
    assert_only_changed(second, opened(first)[0], white)


@pytest.mark.parametrize(
    ("parameters", "size", "place"),
    [
        ({"left": 64, "bottom": "32"}, (256, 160), (64, 0)),
        ({"aspect_ratio": "2：1", "anchor": "left"}, (256, 128), (0, 0)),
        ({"size": "256x192", "anchor": "bottom", "prompt": "white background"}, (256, 192), (32, 64)),
    ],
)
def test_extending_keeps_every_pixel_of_the_image(
    plugin: Daemon,
    credentials: dict[str, object],
    dify: ScriptedServer,
    photo: Image.Image,
    parameters: dict[str, Any],
    size: tuple[int, int],
    place: tuple[int, int],
) -> None:
    file = dify_file(f"{dify.url}/files/photo?sign=s")
    outcome = called(plugin, "image_outpaint", credentials, image=file, seed=3, **parameters)
    assert_complete(outcome, 1)
    assert outcome.texts[0].startswith("Extended 1 image")
    [after] = opened(outcome)
    assert after.size == size
    left, top = place
    kept = pixels(after)[top : top + SIZE[1], left : left + SIZE[0]]
    assert (kept == pixels(photo)).all()
    assert (outcome.variables["change_inside"], outcome.variables["change_outside"]) == (-1, 0)


def test_an_image_to_start_from_is_followed_the_more_the_lower_the_strength(
    plugin: Daemon, credentials: dict[str, object], dify: ScriptedServer, photo: Image.Image
) -> None:
    given: dict[str, Any] = {"prompt": "a red apple", "seed": 4, "size": "192x128", "steps": 8}
    file = dify_file(f"{dify.url}/files/photo?sign=s")
    alone = called(plugin, "image_generation", credentials, **given)
    near = called(plugin, "image_generation", credentials, image=[file], strength=0.25, **given)
    assert_complete(near, 1)
    smooth = photo.resize((12, 8), Image.Resampling.BOX)
    distances = [
        np.abs(pixels(opened(outcome)[0].resize((12, 8), Image.Resampling.BOX)).astype(int) - pixels(smooth)).mean()
        for outcome in (near, alone)
    ]
    assert distances[0] < 0.7 * distances[1], distances
    stored = called(plugin, "image_generation", credentials, prompt="a cup", image_id=near.variables["image_id"])
    assert 2 * stored.variables["width"] == 3 * stored.variables["height"], "without a size, the image's shape is kept"


def test_a_mask_of_another_shape_is_refused_by_the_server_in_its_own_words(
    plugin: Daemon, credentials: dict[str, object], dify: ScriptedServer
) -> None:
    square = called(plugin, "image_generation", credentials, prompt="a cup", size="128x128")
    parameters = {
        "prompt": "x",
        "image_id": square.variables["image_id"],
        "mask": dify_file(f"{dify.url}/files/mask?sign=s"),
    }
    outcome = plugin.invoke(PROVIDER, "image_edit", parameters, credentials)
    assert outcome.error is not None
    assert outcome.error.type == "InvokeBadRequestError"
    assert "mask: has 192x128 pixels and the image 128x128, another shape" in outcome.error.message
