"""The data of 0.1.0 under the server of this tree: nothing is lost, every link opens, what waited is painted."""

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
from PIL import Image

from tests.compat.calls import HERE
from tests.support.studio import Studio

FACTS: Mapping[str, Any] = json.loads((HERE / "data-0.1.0.json").read_text(encoding="utf-8"))
"""What the old server told of its data last; see make_fixtures.py."""
JOBS: Mapping[str, Any] = {job["id"]: job for job in FACTS["jobs"]}
IDS: Mapping[str, str] = {name: sent["job_id"] for name, sent in FACTS["submissions"].items()}
WAITING: list[str] = FACTS["waiting"]
ENDED = [name for name in IDS if name not in WAITING]
LINKS = {"url", "thumbnail_url", "comparison_url", "archive_url", "preview_url"}
SIXTY_YEARS_S = 60 * 365 * 86400


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """This tree's server on the old data, with the settings that the old one had."""
    folder = tmp_path_factory.mktemp("upgraded")
    with zipfile.ZipFile(HERE / "data-0.1.0.zip") as data:
        data.extractall(folder)
    studio = Studio(folder, public_url=FACTS["public_url"], link_ttl_s=SIXTY_YEARS_S, memory_s=SIXTY_YEARS_S)
    studio.api_key = FACTS["api_key"]
    with studio:
        yield studio


def look(studio: Studio, path: str, **query: object) -> dict[str, Any]:
    """One answer in JSON."""
    answer = studio.request("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def as_told(now: Any, before: Any) -> Any:
    """Of what the server tells now, what it told before; but no links, which are made anew each time."""
    if isinstance(before, dict):
        return {name: as_told(now[name], value) for name, value in before.items() if name not in LINKS}
    if isinstance(before, list):
        assert len(now) == len(before)
        return [as_told(*pair) for pair in zip(now, before, strict=True)]
    return now


def assert_as_told(now: Any, before: Any) -> None:
    """Whatever was told before is told again; there may be more now."""
    assert as_told(now, before) == as_told(before, before)


def content(studio: Studio, image: Mapping[str, Any]) -> bytes:
    """The bytes of an image, which are what its record says."""
    answer = studio.request("GET", f"/v1/images/{image['id']}/content")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == image["mime_type"]
    assert hashlib.sha256(answer.content).hexdigest() == image["sha256"]
    return answer.content


def test_all_jobs_are_listed_in_their_order(upgraded: Studio) -> None:
    listed = [job["id"] for job in look(upgraded, "/v1/jobs", limit=100)["data"]]
    assert [job_id for job_id in listed if job_id in JOBS] == list(JOBS)


def test_a_persons_jobs_are_found(upgraded: Studio) -> None:
    of_ann = [sent["job_id"] for sent in FACTS["submissions"].values() if sent["params"].get("user") == "ann"]
    assert len(of_ann) > 1
    assert [job["id"] for job in look(upgraded, "/v1/jobs", user="ann")["data"]] == of_ann[::-1]


@pytest.mark.parametrize("name", ENDED)
def test_a_job_that_had_ended_is_told_as_before(upgraded: Studio, name: str) -> None:
    job_id = IDS[name]
    assert_as_told(upgraded.job(job_id), JOBS[job_id])
    if rows := FACTS["rows"].get(job_id):
        assert_as_told(look(upgraded, "/v1/jobs", parent_id=job_id)["data"], rows)


@pytest.mark.parametrize("image_id", FACTS["images"])
def test_an_image_is_kept_to_the_bit(upgraded: Studio, image_id: str) -> None:
    record = FACTS["images"][image_id]
    assert_as_told(look(upgraded, f"/v1/images/{image_id}"), record)
    assert Image.open(io.BytesIO(content(upgraded, record))).size == (record["width"], record["height"])


def test_every_old_link_opens_without_a_key(upgraded: Studio) -> None:
    assert any(".thumbnail." in link for link in FACTS["links"])
    assert any(".comparison." in link for link in FACTS["links"])
    for link, sha256 in FACTS["links"].items():
        answer = requests.get(f"{upgraded.url}{link}", timeout=60)
        assert answer.status_code == 200, link
        assert hashlib.sha256(answer.content).hexdigest() == sha256, link
        assert requests.get(f"{upgraded.url}{link}0", timeout=60).status_code == 403


def test_every_old_archive_opens(upgraded: Studio) -> None:
    assert len(FACTS["archives"]) > 1
    for link, files in FACTS["archives"].items():
        answer = requests.get(f"{upgraded.url}{link}", timeout=60)
        assert answer.status_code == 200, link
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            now = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        if IDS["cut_off"] in link:  # its table says more than it did
            files = {name: sha256 for name, sha256 in files.items() if name != "rows.csv"}
        assert now == now | files, link


def test_an_old_link_names_an_image_to_start_from(upgraded: Studio) -> None:
    [image] = JOBS[IDS["inpainted"]]["images"]
    job = upgraded.finished(
        upgraded.submit(operation="adjust", prompt="rotate it 180 degrees", image=image["url"])["id"]
    )
    assert_turned(upgraded, job, image)


def test_the_last_image_of_a_conversation_is_known(upgraded: Studio) -> None:
    conversation = FACTS["submissions"]["conversation_gone_on"]["params"]["conversation"]
    asked = {"operation": "adjust", "prompt": "rotate it 180 degrees", "conversation": conversation}
    job = upgraded.finished(upgraded.submit(**asked)["id"])
    [image] = JOBS[IDS["conversation_gone_on"]]["images"]
    assert_turned(upgraded, job, image)


def assert_turned(studio: Studio, job: dict[str, Any], image: Mapping[str, Any]) -> None:
    """The job turned this image upside down."""
    assert (job["state"], job["model"], job["engine"]) == ("succeeded", "cv", "cv"), job
    before, after = (Image.open(io.BytesIO(content(studio, each))).convert("RGB") for each in (image, job["images"][0]))
    assert before.transpose(Image.Transpose.ROTATE_180).tobytes() == after.tobytes()


@pytest.mark.parametrize("name", WAITING)
def test_what_waited_is_painted(upgraded: Studio, name: str) -> None:
    job = upgraded.finished(IDS[name])
    assert (job["state"], job["error"]) == ("succeeded", None)
    before = JOBS[job["id"]]
    for field in ("operation", "model", "engine", "tier", "created_at"):
        assert job[field] == before[field], field
    for image in job["images"]:
        content(upgraded, image)
    if name == "waiting_adjust":
        assert (job["images"][0]["width"], job["images"][0]["height"]) == (64, 64)
        assert job["images"][0]["seed"] is None
    elif job["rows"] is None:
        params = FACTS["submissions"][name]["params"]
        seeds = [params["seed"] + number for number in range(params.get("n", 1))]
        assert [image["seed"] for image in job["images"]] == seeds


@pytest.mark.parametrize(("name", "first_seed"), [("cut_off", 40), ("waiting_batch", 60)])
def test_a_batch_that_waited_has_all_its_rows(upgraded: Studio, name: str, first_seed: int) -> None:
    batch = upgraded.finished(IDS[name])
    rows = look(upgraded, "/v1/jobs", parent_id=batch["id"])["data"]
    total = JOBS[batch["id"]]["rows"]["total"]
    assert (batch["rows"]["succeeded"], [row["state"] for row in rows]) == (total, ["succeeded"] * total)
    assert [row["images"][0]["seed"] for row in rows] == [first_seed + number for number in range(total)]
    assert [sheet["mime_type"] for sheet in batch["images"]] == ["image/jpeg"]
    for row in rows:
        content(upgraded, row["images"][0])


def test_the_picture_that_was_cut_off_is_painted_again(upgraded: Studio) -> None:
    batch = upgraded.finished(IDS["cut_off"])
    before = FACTS["rows"][batch["id"]]
    rows = look(upgraded, "/v1/jobs", parent_id=batch["id"])["data"]
    assert [row["id"] for row in rows[: len(before)]] == [row["id"] for row in before]
    assert_as_told(rows[0], before[0])
    assert (before[1]["state"], before[1]["attempt"], rows[1]["attempt"]) == ("running", 1, 2)
    left = [path for path in (upgraded.folder / "data/images").rglob(f"*{rows[1]['id']}*") if "preview" in path.name]
    assert left == [], "what the first attempt left behind is cleared away"


@pytest.mark.parametrize("name", IDS)
def test_a_submission_that_is_sent_again_gives_the_same_job(upgraded: Studio, name: str) -> None:
    sent = FACTS["submissions"][name]
    body: dict[str, Any] = {"json": sent["params"]}
    if sent["files"]:
        files = {field: ("again.png", base64.b64decode(FACTS["files"][kind])) for field, kind in sent["files"].items()}
        body = {"data": {"params": json.dumps(sent["params"])}, "files": files}
    headers = {"Idempotency-Key": sent["idempotency_key"], "Authorization": f"Bearer {upgraded.api_key}"}
    answer = upgraded.request("POST", "/v1/jobs", headers=headers, **body)
    assert (answer.status_code, answer.headers.get("Idempotent-Replayed")) == (202, "true"), answer.text
    assert answer.json()["id"] == sent["job_id"]


def test_the_key_of_a_submission_is_not_anothers(upgraded: Studio) -> None:
    headers = {"Idempotency-Key": FACTS["submissions"]["generated"]["idempotency_key"]}
    headers["Authorization"] = f"Bearer {upgraded.api_key}"
    other = {"operation": "generate", "prompt": "something else"}
    answer = upgraded.request("POST", "/v1/jobs", headers=headers, json=other)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "idempotency_key_reused")


def test_keys_open_what_they_opened(upgraded: Studio) -> None:
    def answer(key: str, path: str = "/v1/jobs") -> requests.Response:
        return upgraded.request("GET", path, headers={"Authorization": f"Bearer {key}"})

    assert answer(FACTS["api_key"]).status_code == 200
    for key in (FACTS["revoked_key"], f"{FACTS['api_key']}x", "wrong"):
        refused = answer(key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer(FACTS["key_of_another_owner"]).json()["data"] == []
    assert answer(FACTS["key_of_another_owner"], f"/v1/jobs/{IDS['generated']}").status_code == 404
