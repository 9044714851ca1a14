"""What an edit changed, over HTTP: the measure, the warnings and the strip, for each way of editing."""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image, ImageDraw

from qwen_image_studio.adjusting.engine import AdjustEngine
from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import LIGHT_DEVICE, Lane
from qwen_image_studio.imaging import read_origin
from qwen_image_studio.imaging.comparing import STRIP_GAP
from qwen_image_studio.models.table import MODELS
from qwen_image_studio.planning.engine import Engine, Painted
from qwen_image_studio.planning.plan import PaintPlan
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support.engine import Paints, ScriptedEngine

if TYPE_CHECKING:
    from qwen_image_studio.painting.qwen import QwenEngine

LABEL = b"trainedAlgorithmicMedia"
NOTHING, NOTHING_INSIDE, TOO_MUCH = "changed almost nothing", "Almost nothing changed where", "Nearly everything"


@pytest.fixture(scope="module")
def real() -> "QwenEngine":
    """The miniature, on one thread."""
    import torch

    from qwen_image_studio.painting.qwen import open_engine

    torch.set_num_threads(1)
    if not (Path(MODELS["miniature"].repository) / "model_index.json").is_file():
        pytest.skip("the miniature's weights are not in this tree")
    return open_engine({"miniature": MODELS["miniature"]}, "cpu")


def done(
    client: FlaskClient, app: Flask, engine: Engine[Any], images: Sequence[Image.Image] = (), **params: Any
) -> Any:
    """The job after a worker with that engine had it."""
    parts: Services = app.extensions["qwen-image-studio"]
    files = {"image[]": [(BytesIO(saved(image)), f"{number}.png") for number, image in enumerate(images)]}
    data = {"params": json.dumps(params), **files}
    answer = client.post("/v1/jobs", data=data) if images else client.post("/v1/jobs", json=params)
    assert answer.status_code == 202, answer.text
    is_light = isinstance(engine, AdjustEngine)
    device, lane = (LIGHT_DEVICE, Lane.LIGHT) if is_light else ("cpu", Lane.PAINT)
    worker = Worker(parts.settings, device, engine, list(parts.models), parts.store, lane=lane)
    assert worker.run_next()
    return client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()


def saved(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def strip_of(client: FlaskClient, image: dict[str, Any]) -> tuple[Image.Image, bytes]:
    """The comparison behind the link, as picture and as file."""
    answer = client.get(image["comparison_url"])
    assert (answer.status_code, answer.mimetype) == (200, "image/webp")
    picture = Image.open(BytesIO(answer.data))
    assert picture.format == "WEBP"
    picture.load()
    return picture, answer.data


def files_of(settings: Settings) -> list[str]:
    return sorted(path.name for path in (settings.data_dir / "images").rglob("*") if path.is_file())


def drawing(
    ground: str = "white", thing: str = "red", size: tuple[int, int] = (128, 128), lines: bool = True
) -> Image.Image:
    """A round thing on a ground, with a cross over it or not."""
    picture = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(picture)
    if lines:
        draw.line((5, 5, size[0] - 5, size[1] - 5), "black", 3)
    draw.ellipse((30, 40, 80, 90), thing)
    return picture


# -- each way of editing -------------------------------------------------------------------------------------------


def test_an_edit_says_how_much_changed_and_shows_it(client: FlaskClient, app: Flask, real: "QwenEngine") -> None:
    [apple] = done(client, app, real, operation="generate", prompt="a red apple on a blue background", seed=3)["images"]
    assert (apple["change"], apple["comparison_url"]) == (None, None)
    job = done(
        client,
        app,
        real,
        operation="edit",
        image=apple["id"],
        prompt="change the background to green",
        seed=1,
        n=2,
        output_format="jpeg",
    )
    assert job["state"] == "succeeded", job
    assert not [said for said in job["warnings"] if NOTHING in said or TOO_MUCH in said]
    for image in job["images"]:
        assert 0.2 < image["change"]["inside"] < 1
        assert image["change"]["outside"] is None
        strip, file = strip_of(client, image)
        assert strip.size == (2 * 128 + STRIP_GAP, 128)
        assert LABEL in file
        made = read_origin(file)
        assert (made["seed"], made["prompt"]) == (image["seed"], "change the background to green")
        assert made == read_origin(client.get(image["url"]).data)
        pictures = [Image.open(BytesIO(client.get(url).data)).convert("RGB") for url in (apple["url"], image["url"])]
        for picture, left in zip(pictures, (0, 128 + STRIP_GAP), strict=True):
            shown, true = (
                one.convert("L").resize((4, 4)).tobytes() for one in (strip.crop((left, 0, left + 128, 128)), picture)
            )
            assert max(abs(a - b) for a, b in zip(shown, true, strict=True)) < 12
    record = client.get(f"/v1/images/{job['images'][0]['id']}").get_json()
    assert record["change"] == job["images"][0]["change"]


def test_an_inpaint_changes_nothing_outside(client: FlaskClient, app: Flask, real: "QwenEngine") -> None:
    region = {"x": 12, "y": 12, "width": 104, "height": 104}
    [image] = done(
        client,
        app,
        real,
        [drawing("blue")],
        operation="inpaint",
        prompt="replace the apple with a cat",
        region=region,
        seed=1,
    )["images"]
    assert 0.2 < image["change"]["inside"] <= 1
    assert image["change"]["outside"] == 0.0
    strip, file = strip_of(client, image)
    assert strip.size == (2 * 128 + STRIP_GAP, 128)
    assert LABEL in file


def test_an_outpaint_shows_the_image_where_it_stands(client: FlaskClient, app: Flask, real: "QwenEngine") -> None:
    [image] = done(
        client, app, real, [Image.new("RGB", (128, 128), "blue")], operation="outpaint", left=32, right=64, seed=1
    )["images"]
    assert (image["width"], image["height"]) == (224, 128)
    assert image["change"] == {"inside": None, "outside": 0.0}
    strip, _ = strip_of(client, image)
    assert strip.size == (2 * 224 + STRIP_GAP, 128)
    for x, colour in ((10, (224, 224, 224)), (90, (0, 0, 255)), (200, (224, 224, 224))):
        seen = strip.getpixel((x, 64))
        assert isinstance(seen, tuple)
        assert max(abs(one - other) for one, other in zip(seen, colour, strict=True)) < 25, (x, seen)


def test_a_painting_in_an_images_likeness(client: FlaskClient, app: Flask, real: "QwenEngine") -> None:
    job = done(
        client,
        app,
        real,
        [drawing("blue", size=(256, 128))],
        operation="generate",
        prompt="a red apple on a blue background",
        strength=0.2,
        width=128,
        height=128,
        seed=1,
    )
    [image] = job["images"]
    assert 0 < image["change"]["inside"] < 1
    assert image["change"]["outside"] is None
    assert strip_of(client, image)[0].size == (256 + STRIP_GAP + 128, 128)


@pytest.mark.parametrize("operation", ["adjust", "edit"])
def test_an_adjustment_is_shown_and_not_measured(
    client: FlaskClient, app: Flask, settings: Settings, operation: str
) -> None:
    [image] = done(
        client,
        app,
        AdjustEngine(settings),
        [drawing(size=(96, 128))],
        operation=operation,
        prompt="rotate it 90 degrees",
    )["images"]
    assert image["change"] == {"inside": None, "outside": None}
    strip, file = strip_of(client, image)
    assert strip.size == (96 + STRIP_GAP + round(128 * 128 / 96), 128)
    assert LABEL not in file
    assert json.loads(str(read_origin(file)["adjustments"])) == [{"do": "rotate", "degrees": 90.0}]


def test_an_edit_into_another_shape_is_shown_and_measured_without_a_verdict(client: FlaskClient, app: Flask) -> None:
    painted = drawing(size=(256, 128))
    job = done(client, app, Paints(painted), [drawing()], operation="edit", prompt="wider", width=256, height=128)
    assert job["images"][0]["change"]["inside"] > 0
    assert job["images"][0]["change"]["outside"] is None
    assert strip_of(client, job["images"][0])[0].size == (128 + STRIP_GAP + 256, 128)
    assert not [said for said in job["warnings"] if NOTHING in said or TOO_MUCH in said]


def test_a_mask_that_was_broken_is_told(client: FlaskClient, app: Flask) -> None:
    before = drawing()
    after = before.copy()
    after.paste("green", (0, 100, 20, 128))
    region = {"x": 64, "y": 0, "width": 64, "height": 64}
    job = done(client, app, Paints(after), [before], operation="inpaint", prompt="a cat", region=region)
    change = job["images"][0]["change"]
    assert change["inside"] == 0.0
    assert change["outside"] > 0.01
    assert [NOTHING_INSIDE in said for said in job["warnings"]].count(True) == 1


# -- warnings ------------------------------------------------------------------------------------------------------


def warned(job: Any) -> list[str]:
    """Which of the warnings came, each as often as it did."""
    return [kind for said in job["warnings"] for kind in (NOTHING, NOTHING_INSIDE, TOO_MUCH) if kind in said]


def test_an_edit_that_changed_nothing_says_so_once(client: FlaskClient, app: Flask) -> None:
    before = drawing()
    noisy = Image.blend(before, Image.effect_noise(before.size, 40).convert("RGB"), 0.02)
    job = done(client, app, Paints(before, noisy, noisy), [before], operation="edit", prompt="a hat", n=3)
    assert warned(job) == [NOTHING]
    assert [image["change"]["inside"] < 0.1 for image in job["images"]] == [True] * 3


def test_a_small_true_edit_is_not_called_nothing(client: FlaskClient, app: Flask) -> None:
    after = drawing()
    after.paste("blue", (100, 10, 108, 18))
    job = done(client, app, Paints(after), [drawing()], operation="edit", prompt="a blue dot")
    assert warned(job) == []
    assert 0 < job["images"][0]["change"]["inside"] < 0.1


@pytest.mark.parametrize(
    ("after", "least"),
    [
        (drawing("green"), 0.5),
        (drawing(thing="blue"), 0.1),
        (drawing("black", "white"), 0.5),
        (drawing().convert("L").convert("RGB"), 0.1),
    ],
)
def test_a_new_background_or_style_is_not_too_much(
    client: FlaskClient, app: Flask, after: Image.Image, least: float
) -> None:
    job = done(client, app, Paints(after), [drawing()], operation="edit", prompt="restyle")
    assert job["images"][0]["change"]["inside"] > least
    assert warned(job) == []


def test_another_picture_altogether_is_too_much(client: FlaskClient, app: Flask) -> None:
    other = Image.new("RGB", (128, 128), "navy")
    ImageDraw.Draw(other).polygon([(90, 5), (125, 60), (100, 125), (95, 60)], "lime")
    job = done(client, app, Paints(other), [drawing()], operation="edit", prompt="make the ball blue", n=2)
    assert warned(job) == [TOO_MUCH]
    composed = done(
        client, app, Paints(other), [drawing(), drawing("red")], operation="edit", prompt="put them together"
    )
    assert warned(composed) == []
    assert composed["images"][0]["change"]["inside"] > 0.5


# -- files ---------------------------------------------------------------------------------------------------------


def test_the_same_job_makes_the_same_files(client: FlaskClient, app: Flask) -> None:
    ask = {"operation": "edit", "prompt": "a hat", "seed": 5, "cache": False}
    files = [
        client.get(done(client, app, Paints(drawing("green")), [drawing()], **ask)["images"][0][url]).data
        for url in ("url", "url", "comparison_url", "comparison_url")
    ]
    assert files[0] == files[1]
    assert files[2] == files[3]


@pytest.mark.parametrize("fault", ["cancelled", "failed"])
def test_an_attempt_that_comes_to_nothing_leaves_no_strip(
    client: FlaskClient, app: Flask, settings: Settings, fault: str
) -> None:
    """It ends after the first of two pictures has its strip."""
    kept: list[list[str]] = []

    class Ends(ScriptedEngine):
        def paint(self, plan: PaintPlan, images: Sequence[Image.Image], *rest: Any, **more: Any) -> Iterator[Painted]:
            painted = super().paint(plan, images, *rest, **more)
            yield next(painted)
            kept.append([name for name in files_of(settings) if "comparison" in name])
            if fault == "cancelled":
                [running] = client.get("/v1/jobs").get_json()["data"]
                client.post(f"/v1/jobs/{running['id']}/cancel")
            else:
                raise StudioError("engine_failed", "Planted.")
            yield from painted

    engine = Ends("miniature", "cpu")
    engine.load("miniature")
    job = done(client, app, engine, [drawing()], operation="edit", prompt="pace=0.3", n=2, steps=4)
    assert job["state"] == fault
    assert [len(names) for names in kept] == [1]
    assert all(name.startswith("img_") for name in files_of(settings)), "only the input is left"


def test_a_strip_is_recorded_with_its_image(client: FlaskClient, app: Flask) -> None:
    parts: Services = app.extensions["qwen-image-studio"]
    job = done(client, app, Paints(drawing("green")), [drawing()], operation="edit", prompt="a hat")
    stored = parts.store.images.get(job["images"][0]["id"])
    assert str(stored.comparison_key).endswith(f"-{stored.id}.comparison.webp")
    assert job["images"][0]["change"]["inside"] == stored.change_inside
