"""Content credentials over HTTP: what survives which way out, as the table in docs/credentials.md says."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr

from qwen_image_studio.contract.layers import ARCHIVE_TYPES, ArchiveFormat
from qwen_image_studio.contract.words import Prompts
from qwen_image_studio.credentials.manifest import COMPOSED_OF_PAINTED, PAINTED, PAINTED_OVER
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.local.files import paint_to_files
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import close_app, create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support import ROOT
from tests.support.authority import actions, active, authority, seen
from tests.support.layers import offer_layers
from tests.support.mcp import called
from tests.support.pictures import png
from tests.support.studio import free_port
from tests.support.waiting import until
from tests.support.worker import scripted_worker, working

ASK: dict[str, Any] = {"operation": "generate", "prompt": "a red apple", "steps": 2, "size": "64x64", "seed": 5}
AS_STORED, ANEW, NONE = "as stored", "signed anew", "none"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings of a server that signs."""
    return authority().issue().settings(settings)


def sent(client: FlaskClient, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={**ASK, **changes})
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def look(client: FlaskClient, job: Mapping[str, Any]) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job['id']}").get_json())


def done(client: FlaskClient, worker: Worker, **changes: Any) -> dict[str, Any]:
    """A job as it is after its worker had it."""
    job = sent(client, **changes)
    assert worker.run_next(), job
    return look(client, job)


def painted(client: FlaskClient, worker: Worker, **changes: Any) -> dict[str, Any]:
    """One image of a job."""
    job = done(client, worker, **changes)
    assert job["state"] == "succeeded", job
    return dict(job["images"][0])


def adjusted(client: FlaskClient, light: Worker, image: str, **changes: Any) -> dict[str, Any]:
    turn = [{"do": "rotate", "degrees": 90}]
    answer = client.post("/v1/jobs", json={"operation": "adjust", "image": image, "adjustments": turn, **changes})
    assert answer.status_code == 202, answer.text
    assert light.run_next()
    job = look(client, answer.get_json())
    assert job["state"] == "succeeded", job
    return dict(job["images"][0])


def file_of(client: FlaskClient, image: Mapping[str, Any]) -> bytes:
    answer = client.get(image["url"])
    assert answer.status_code == 200
    return bytes(answer.data)


def manifest_of(client: FlaskClient, image: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of an image's file, which readers trust."""
    return active(seen(file_of(client, image), image["mime_type"]))


# -- ways out ------------------------------------------------------------------------------------------------------


class Way:
    """What a way out needs: a caller, the workers and a folder."""

    def __init__(self, client: FlaskClient, worker: Worker, light: Worker, folder: Path) -> None:
        self.client, self.worker, self.light, self.folder = client, worker, light, folder
        self.image: dict[str, Any] = {}

    def paint(self, **changes: Any) -> dict[str, Any]:
        """The image that goes out."""
        self.image = painted(self.client, self.worker, **changes)
        return self.image


Out = tuple[bytes, str]


def _content(way: Way) -> Out:
    return way.client.get(f"/v1/images/{way.paint()['id']}/content").data, "image/png"


def _link(way: Way) -> Out:
    return file_of(way.client, way.paint()), "image/png"


def _format(mime_type: str) -> Callable[[Way], Out]:
    return lambda way: (file_of(way.client, way.paint(output_format=mime_type.removeprefix("image/"))), mime_type)


def _archive(way: Way) -> Out:
    job = done(way.client, way.worker)
    way.image = job["images"][0]
    with zipfile.ZipFile(BytesIO(way.client.get(job["archive_url"]).data)) as archive:
        return archive.read(archive.namelist()[0]), "image/png"


def _openai(way: Way, **asked: Any) -> dict[str, Any]:
    body = {"model": "miniature", "prompt": "a red apple", "size": "64x64", "steps": 2, "seed": 5, **asked}
    with working(way.worker):
        answer = way.client.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    item = dict(answer.get_json()["data"][0])
    way.image = way.client.get(f"/v1/images/{item['id']}").get_json()
    return item


def _openai_bytes(way: Way) -> Out:
    item = _openai(way, response_format="b64_json", output_format="jpeg")
    return base64.b64decode(item["b64_json"]), "image/jpeg"


def _openai_link(way: Way) -> Out:
    return way.client.get(_openai(way, response_format="url")["url"]).data, "image/png"


def _openai_stream(way: Way) -> Out:
    body = {"model": "miniature", "prompt": "a red apple", "size": "64x64", "steps": 2, "seed": 5, "stream": True}
    with working(way.worker):
        events = way.client.post("/v1/images/generations", json=body).text
    said = json.loads(next(line for line in events.splitlines() if line.startswith("data: ")).removeprefix("data: "))
    way.image = way.client.get(f"/v1/images/{said['id']}").get_json()
    return base64.b64decode(said["b64_json"]), "image/png"


def _mcp(inline: str) -> Callable[[Way], Out]:
    def called_for(way: Way) -> Out:
        asked = {"prompt": "a red apple", "size": "64x64", "steps": 2, "seed": 5, "inline": inline}
        with working(way.worker), pytest.MonkeyPatch.context() as small:
            small.setattr("qwen_image_studio.web.mcp.pictures.PREVIEW_BYTES", 2000)  # instead of a very large picture
            result = called(way.client, "image_generation", **asked)
        way.image = way.client.get(f"/v1/images/{result['structuredContent']['image_id']}").get_json()
        [image] = [each for each in result["content"] if each["type"] == "image"]
        return base64.b64decode(image["data"]), image["mimeType"]

    return called_for


def _huggingface(way: Way) -> Out:
    with working(way.worker):
        answer = way.client.post("/models/miniature", json={"inputs": "a red apple"}, headers={"Accept": "image/webp"})
    assert answer.status_code == 200, answer.text
    way.image = way.client.get(f"/v1/images/{answer.headers['X-Image-Id']}").get_json()
    return answer.data, str(answer.mimetype)


def _adjusted(way: Way) -> Out:
    turned = adjusted(way.client, way.light, way.paint()["id"], output_format="jpeg")
    return file_of(way.client, turned), "image/jpeg"


def _sheet(way: Way) -> Out:
    rows, job = [{"thing": "cup"}], {**ASK, "prompt": "a {{thing}}"}
    batch = way.client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": rows}).get_json()
    while way.light.run_next() or way.worker.run_next():
        pass
    [way.image] = look(way.client, batch)["images"]
    return file_of(way.client, way.image), way.image["mime_type"]


def _layers(kind: ArchiveFormat, mime_type: str) -> Callable[[Way], Out]:
    def out(way: Way) -> Out:
        form = {
            "params": json.dumps({"operation": "layers", "seed": 7, "layers": 2}),
            "image": (BytesIO(png()), "a.png"),
        }
        job = way.client.post("/v1/jobs", data=form).get_json()
        assert way.worker.run_next(), job
        way.image = look(way.client, job)["images"][0]
        answer = way.client.get(f"/v1/jobs/{job['id']}/archive?format={kind}")
        assert answer.status_code == 200, answer.text
        if kind is not ArchiveFormat.ZIP:
            return answer.data, mime_type
        with zipfile.ZipFile(BytesIO(answer.data)) as archive:
            return archive.read(archive.namelist()[0]), mime_type

    return out


def _comparison(way: Way) -> Out:
    first = way.paint()
    edit = painted(way.client, way.worker, operation="edit", image=first["id"], prefer="model", size=None)
    return way.client.get(edit["comparison_url"]).data, "image/webp"


def _thumbnail(way: Way) -> Out:
    return way.client.get(way.paint()["thumbnail_url"]).data, "image/webp"


def _preview(way: Way) -> Out:
    job = sent(way.client, prompt="preview forever")
    with working(way.worker):
        url = until(lambda: look(way.client, job)["progress"]["preview_url"])
        data = way.client.get(url).data
        way.client.post(f"/v1/jobs/{job['id']}/cancel")
        until(lambda: look(way.client, job)["state"] == "cancelled")
    return data, "image/webp"


def _upload(way: Way) -> Out:
    data = file_of(way.client, way.paint())
    answer = way.client.post("/v1/images", data={"image": (BytesIO(data), "a.png")})
    assert answer.status_code in {200, 201}, answer.text
    return way.client.get(f"/v1/images/{answer.get_json()['id']}/content").data, "image/png"


def _shell(way: Way) -> Out:
    file = way.folder / "apple.webp"
    paint_to_files("generate", [], file, {"prompt": "a red apple", "size": "64x64", "steps": 2, "model": "miniature"})
    return file.read_bytes(), "image/webp"


WAYS: Mapping[str, Callable[[Way], Out]] = {
    "`GET /v1/images/{id}/content`": _content,
    "a signed link, `url`": _link,
    "a picture painted as JPEG": _format("image/jpeg"),
    "a picture painted as WebP": _format("image/webp"),
    "a member of a ZIP, `archive_url`": _archive,
    "OpenAI's routes, `b64_json`": _openai_bytes,
    "OpenAI's routes, `url`": _openai_link,
    "OpenAI's routes, the last event of a stream": _openai_stream,
    "Hugging Face's routes, the bytes": _huggingface,
    "MCP, a whole image (`inline` `full`)": _mcp("full"),
    "MCP, a preview (`inline` `preview`) of a file over 1 MB": _mcp("preview"),
    "`adjust`, also into another format": _adjusted,
    "the contact sheet of a batch": _sheet,
    "a strip of before and after, `comparison_url`": _comparison,
    "layers, by their links and in their ZIP": _layers(ArchiveFormat.ZIP, "image/png"),
    "layers as PSD": _layers(ArchiveFormat.PSD, "image/vnd.adobe.photoshop"),
    "layers as PPTX": _layers(ArchiveFormat.PPTX, ARCHIVE_TYPES[ArchiveFormat.PPTX]),
    "a file of the shell (`qwen-image-studio generate --output`)": _shell,
    "a thumbnail, `thumbnail_url`": _thumbnail,
    "a preview, `preview_url`, and OpenAI's partial images": _preview,
    "an upload, given back": _upload,
}
"""By the first column of the table."""


def table() -> dict[str, str]:
    """What the page says of each way out."""
    lines = (ROOT / "docs/credentials.md").read_text().partition("| way out |")[2].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines[: lines.index("")]]
    return {way: said for way, said, _ in rows}


def test_the_page_has_each_way_out_once() -> None:
    assert table().keys() == WAYS.keys()


@pytest.mark.parametrize("name", WAYS)
def test_what_survives_is_what_the_page_says(
    name: str, client: FlaskClient, parts: Services, light: Worker, settings: Settings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if name.startswith("layers"):
        offer_layers(parts.models, monkeypatch)
    worker = scripted_worker(parts)
    monkeypatch.setenv("STUDIO_C2PA_CERTIFICATE", settings.c2pa_certificate)
    monkeypatch.setenv("STUDIO_C2PA_KEY", settings.c2pa_key.get_secret_value())
    monkeypatch.setenv("STUDIO_ENGINE", "tests.support.engine:open_engine")
    monkeypatch.setenv("STUDIO_DATA_DIR", str(settings.data_dir))
    way = Way(client, worker, light, tmp_path)
    data, mime_type = WAYS[name](way)
    if table()[name] == NONE:
        assert not any(b"jumdc2pa" in part for part in unpacked(data))
        assert not mime_type.startswith("image/") or mime_type.endswith("photoshop") or seen(data, mime_type) is None
        return
    manifest = active(seen(data, mime_type))
    assert manifest["claim_generator_info"][0]["name"] == "Qwen-Image Studio"
    if table()[name] == AS_STORED:
        assert hashlib.sha256(data).hexdigest() == way.image["sha256"] != way.image["unsigned_sha256"]
        assert actions(manifest)[-1]["digitalSourceType"] in {PAINTED, PAINTED_OVER}
    else:
        assert table()[name] == ANEW
        assert actions(manifest)[-1]["action"] in {"c2pa.created", "c2pa.edited", "c2pa.placed"}


def unpacked(data: bytes) -> list[bytes]:
    """A file, or what is in a document that is a ZIP."""
    if not data.startswith(b"PK"):
        return [data]
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return [archive.read(name) for name in archive.namelist()]


# -- what is said --------------------------------------------------------------------------------------------------


def test_an_edit_says_from_what_and_keeps_the_chain(client: FlaskClient, worker: Worker, light: Worker) -> None:
    first = painted(client, worker)
    edit = painted(
        client, worker, operation="edit", image=first["id"], prompt="make it blue", prefer="model", size=None
    )
    turned = adjusted(client, light, edit["id"], output_format="webp")
    said = seen(file_of(client, turned), "image/webp")
    assert said is not None
    assert len(said["manifests"]) == 3
    own = active(said)
    opened, changed = actions(own)
    assert (opened["action"], changed["action"], changed["digitalSourceType"]) == (
        "c2pa.opened", "c2pa.edited", PAINTED_OVER,
    )  # fmt: skip
    assert "softwareAgent" not in changed  # no model worked
    assert json.loads(changed["parameters"]["qwen_image_studio"]["adjustments"])[0]["do"] == "rotate"
    before = said["manifests"][own["ingredients"][0]["active_manifest"]]
    assert [each["action"] for each in actions(before)] == ["c2pa.opened", "c2pa.edited"]
    assert actions(before)[1]["parameters"]["qwen_image_studio"]["prompt"] == "make it blue"
    oldest = said["manifests"][before["ingredients"][0]["active_manifest"]]
    [created] = actions(oldest)
    assert (created["softwareAgent"]["name"], created["parameters"]["qwen_image_studio"]["seed"]) == ("miniature", 5)


def test_an_adjusted_photograph_is_not_called_an_ais(client: FlaskClient, light: Worker) -> None:
    photo = client.post("/v1/images", data={"image": (BytesIO(png()), "a.png")}).get_json()
    manifest = manifest_of(client, adjusted(client, light, photo["id"]))
    assert [each.get("digitalSourceType") for each in actions(manifest)] == [None, None]
    assert "active_manifest" not in manifest["ingredients"][0]


def test_a_strip_of_what_an_ai_made_says_so(client: FlaskClient, worker: Worker, light: Worker, tmp_path: Path) -> None:
    data, mime_type = _comparison(Way(client, worker, light, tmp_path))
    manifest = active(seen(data, mime_type))
    assert [each["action"] for each in actions(manifest)] == ["c2pa.created", "c2pa.placed"]
    assert actions(manifest)[0]["digitalSourceType"] == COMPOSED_OF_PAINTED
    assert "active_manifest" in manifest["ingredients"][0]


def test_an_upload_is_told_that_its_credentials_end(client: FlaskClient, worker: Worker) -> None:
    data = file_of(client, painted(client, worker))
    for file, told in ((data, True), (png(), False)):
        form = {"params": json.dumps({"operation": "edit", "prompt": "make it blue", "steps": 2, "prefer": "model"})}
        answer = client.post("/v1/jobs", data={**form, "image": (BytesIO(file), "a.png")})
        assert (
            any("content credentials of this file end here" in each for each in answer.get_json()["warnings"]) is told
        )


@pytest.mark.parametrize("prompts", [Prompts.HASHED, Prompts.DROPPED])
def test_no_prompt_is_signed_where_none_is_kept(prompts: Prompts, settings: Settings) -> None:
    for app in signing_app(settings.model_copy(update={"prompts": prompts})):
        with app.test_client() as client:
            image = painted(client, scripted_worker(app.extensions["qwen-image-studio"]))
            assert b"red apple" not in file_of(client, image)
            facts = actions(manifest_of(client, image))[0]["parameters"]["qwen_image_studio"]
            assert "prompt" not in facts
            assert facts["seed"] == 5


# -- the same picture ----------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_unsigned_bytes_and_the_cache_hits(client: FlaskClient, worker: Worker) -> None:
    first, anew = painted(client, worker), painted(client, worker, cache=False)
    assert first["sha256"] != anew["sha256"]
    assert first["unsigned_sha256"] == anew["unsigned_sha256"]
    hit = sent(client)
    assert (hit["cache"], hit["images"][0]["sha256"]) == ("exact", anew["sha256"])
    assert not worker.run_next()
    manifest_of(client, hit["images"][0])


def test_an_equal_input_of_another_signature_is_the_same_input(
    client: FlaskClient, worker: Worker, light: Worker
) -> None:
    first, anew = (painted(client, worker, output_format="jpeg", cache=False)["id"] for _ in range(2))
    turned = adjusted(client, light, first)
    turn = {"operation": "adjust", "adjustments": [{"do": "rotate", "degrees": 90}], "cache": True}
    again = client.post("/v1/jobs", json={**turn, "image": anew}).get_json()
    assert (again["cache"], again["images"][0]["sha256"]) == ("exact", turned["sha256"])


def test_turned_on_or_off_the_cache_gives_out_none_of_before(settings: Settings, store: JobStore) -> None:
    unsigned = settings.model_copy(update={"c2pa_certificate": "", "c2pa_key": SecretStr("")})
    renewed = authority().issue().settings(settings)
    seen_so_far = set()
    for each in (unsigned, settings, renewed):
        for app in signing_app(each):
            with app.test_client() as client:
                assert client.get("/v1/health").get_json()["credentials"] is bool(each.c2pa_certificate)
                image = painted(client, scripted_worker(app.extensions["qwen-image-studio"]))
                assert (seen(file_of(client, image), "image/png") is not None) is bool(each.c2pa_certificate)
                assert (image["sha256"] == image["unsigned_sha256"]) is not bool(each.c2pa_certificate)
                seen_so_far.add(image["unsigned_sha256"])
                assert sent(client)["cache"] == "exact"
    assert len(seen_so_far) == 1
    assert store.jobs.counts() == (0, 0)


def test_a_deleted_image_leaves_neither_hash(client: FlaskClient, worker: Worker) -> None:
    job = done(client, worker)
    assert client.delete(f"/v1/images/{job['images'][0]['id']}").status_code == 204
    [gone] = look(client, job)["images"]
    assert (gone["deleted"], gone["sha256"], gone["unsigned_sha256"]) == (True, "", "")


# -- what fails ----------------------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_signed_is_not_given_out(settings: Settings) -> None:
    for app in signing_app(authority().issue(days=(-9, -1)).settings(settings)):
        with app.test_client() as client:
            job = done(client, scripted_worker(app.extensions["qwen-image-studio"]))
            assert (job["state"], job["error"]["code"], job["images"], job["attempt"]) == (
                "failed",
                "signing_failed",
                [],
                1,
            )
            assert "PRIVATE" not in json.dumps(job)
    assert [path for path in (settings.data_dir / "images").rglob("*.png")] == []


def test_an_authority_that_is_not_there_costs_a_warning(settings: Settings) -> None:
    for app in signing_app(settings.model_copy(update={"c2pa_tsa_url": f"http://127.0.0.1:{free_port()}/"})):
        with app.test_client() as client:
            job = done(client, scripted_worker(app.extensions["qwen-image-studio"]), n=2)
            assert len([each for each in job["warnings"] if "time-stamping authority did not answer" in each]) == 1
            for image in job["images"]:
                manifest_of(client, image)


def signing_app(settings: Settings) -> Iterator[Flask]:
    """Another application over the same tables."""
    app = create_app(settings, configured_models(settings, card_gib=0))
    yield app
    close_app(app)
