"""Layers the whole way: the plugin, the server's routes and files, and a toy that takes pictures apart."""

import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pptx
import pytest
import requests
from PIL import Image
from psd_tools import PSDImage
from werkzeug.serving import make_server

from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from tests.plugin.test_tools import JOB_VARIABLES, LAYERS_VARIABLES
from tests.support.daemon import Daemon, Outcome
from tests.support.database import with_tables
from tests.support.dify import PROVIDER, dify_file
from tests.support.layers import offer_layers, recomposed, toy_layers
from tests.support.scripted import Answer, ScriptedServer
from tests.support.worker import scripted_worker, working

# What the server adds does not depend on the SDK, under both of which test_layers_tool.py calls the tool.
pytestmark = pytest.mark.parametrize("sdk_python", ["newest"], indirect=True, scope="session")

SIZE = (120, 80)


@dataclass(frozen=True)
class Apart:
    """A server that takes pictures apart, and Dify's file server with a picture."""

    credentials: dict[str, object]
    photo: dict[str, Any]

    def opened(self, link: str) -> bytes:
        """What a link for people leads to."""
        parts = urlsplit(link)
        answer = requests.get(f"{self.credentials['server_url']}{parts.path}?{parts.query}", timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.content


def _photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", SIZE, "red").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Apart]:
    """The server in this process, with a worker in the background."""
    settings = with_tables(Settings(data_dir=tmp_path / "data", models="miniature"))
    models = configured_models(settings, card_gib=0)
    offer_layers(models, monkeypatch)
    app = create_app(settings, models)
    parts: Services = app.extensions["qwen-image-studio"]
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        with working(scripted_worker(parts)), ScriptedServer(lambda _: Answer(200, _photo())) as dify:
            credentials: dict[str, object] = {
                "server_url": f"http://127.0.0.1:{server.server_port}",
                "time_budget": "540",
            }
            yield Apart(credentials, dify_file(f"{dify.url}/files/photo?sign=s"))
    finally:
        server.shutdown()
        serving.join()


def files(outcome: Outcome) -> dict[str, bytes]:
    """The files that came back, by their names."""
    return {str(blob.meta["filename"]): blob.content for blob in outcome.blobs}


def pixels(content: bytes) -> bytes:
    """The pixels of a picture, with their transparency."""
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGBA").tobytes()


def test_a_designer_gets_pictures_and_every_kind_of_file(plugin: Daemon, apart: Apart) -> None:
    """One picture is taken apart; the other files are fetched of the same job."""
    asked = {"image": [apart.photo], "layers": 3, "seed": 7}
    outcome = plugin.invoke(PROVIDER, "image_layers", asked, apart.credentials)
    outcome.raise_on_error()
    assert set(outcome.variables) == LAYERS_VARIABLES
    told = outcome.variables
    assert (told["width"], told["height"], told["seed"], told["count"]) == (*SIZE, 7, 4)
    whole, *layers = outcome.blobs[:-1]
    made = toy_layers(3, SIZE, 7)
    assert [pixels(each.content) for each in layers] == [layer.tobytes() for layer in made]
    assert pixels(whole.content) == recomposed(made).convert("RGBA").tobytes()
    names = [str(blob.meta["filename"]).removesuffix(".png") for blob in outcome.blobs[:-1]]
    ids = [told["image_id"], *told["layer_ids"]]
    assert names == [ids[0], f"01-background-{ids[1]}", f"02-layer-1-{ids[2]}", f"03-layer-2-{ids[3]}"]
    archive = files(outcome)[f"{told['job_id']}.zip"]
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        assert [name for name in packed.namelist() if name.endswith(".png")] == [
            *("01-background.png", "02-layer-1.png", "03-layer-2.png", "recomposed.png"),
        ]
    assert apart.opened(str(told["archive_url"])) == archive
    for kind in ("psd", "pptx"):
        fetched = plugin.invoke(PROVIDER, "image_job", {"job_id": told["job_id"], "format": kind}, apart.credentials)
        fetched.raise_on_error()
        assert set(fetched.variables) == JOB_VARIABLES
        assert fetched.variables["warnings"] == told["warnings"]
        assert fetched.variables["archive_url"].endswith(f"&format={kind}")
        document = files(fetched)[f"{told['job_id']}.{kind}"]
        if kind == "psd":
            assert [layer.name for layer in PSDImage.open(io.BytesIO(document))] == ["Background", "Layer 1", "Layer 2"]
        else:
            [slide] = pptx.Presentation(io.BytesIO(document)).slides
            assert len(slide.shapes) == 3


def test_a_chat_goes_on_with_the_picture_that_the_layers_make(plugin: Daemon, apart: Apart) -> None:
    place = "c-1"
    asked = {"image": [apart.photo], "layers": 2, "format": "pictures"}
    first = plugin.invoke(PROVIDER, "image_layers", asked, apart.credentials, conversation_id=place)
    first.raise_on_error()
    again = plugin.invoke(
        PROVIDER, "image_layers", {"layers": 2, "format": "pictures"}, apart.credentials, conversation_id=place
    )
    again.raise_on_error()
    assert again.variables["image_id"] != first.variables["image_id"]
    job = requests.get(f"{apart.credentials['server_url']}/v1/jobs/{again.variables['job_id']}", timeout=60).json()
    assert job["request"]["image"] in (first.variables["image_id"], [first.variables["image_id"]])


def test_a_model_that_cannot_is_told_with_those_that_can(plugin: Daemon, apart: Apart) -> None:
    asked = {"image": [apart.photo], "model": "miniature"}
    outcome = plugin.invoke(PROVIDER, "image_layers", asked, apart.credentials)
    assert outcome.error is not None
    assert outcome.error.type == "InvokeBadRequestError"
    assert "takes-apart" in outcome.error.message
