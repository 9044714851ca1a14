"""The server behind nginx and Caddy, as examples/ has them: TLS, below a path, nothing held back on the way."""

import json
import os
import ssl
from collections.abc import Iterator
from io import BytesIO
from socket import create_connection
from typing import Any

import openai
import pytest
import requests
from PIL import Image
from requests.adapters import HTTPAdapter

from qwen_image_studio.jobs import open_store
from qwen_image_studio.settings import Settings
from tests.services.conftest import Front
from tests.support.waiting import until

ASK: dict[str, Any] = {"operation": "generate", "prompt": "a cup", "steps": 2}


class Caller:
    """A caller in front of the proxy."""

    def __init__(self, front: Front, address: str = "127.0.0.1") -> None:
        self.front = front
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {front.studio.api_key}"
        self.session.verify = str(front.certificate)
        self.session.mount("https://", From(address))

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request to the public address."""
        return self.session.request(method, f"{self.front.url}{path}", timeout=120, **options)

    def submit(self, **asked: Any) -> str:
        """The id of a job."""
        answer = self.ask("POST", "/v1/jobs", json={**ASK, **asked})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def finished(self, job_id: str) -> dict[str, Any]:
        """A job after its end, by long polls."""

        def look() -> dict[str, Any] | None:
            job: dict[str, Any] = self.ask("GET", f"/v1/jobs/{job_id}?wait=20").json()
            return job if job["state"] in {"succeeded", "failed", "cancelled"} else None

        return until(look) or {}


class From(HTTPAdapter):
    """Connections that come from an address of this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Bind every connection to the address."""
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


@pytest.fixture
def caller(front: Front) -> Caller:
    """A caller from the machine itself."""
    return Caller(front)


def noise(size: int) -> bytes:
    """A PNG of about so many bytes."""
    side = int((size / 3) ** 0.5)
    buffer = BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def test_a_job_is_submitted_waited_for_and_its_links_open(caller: Caller) -> None:
    answer = caller.ask("POST", "/v1/jobs", json=ASK)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/studio/v1/jobs/{answer.json()['id']}"
    job = caller.finished(answer.json()["id"])
    [image] = job["images"]
    for link in (image["url"], image["thumbnail_url"], job["archive_url"]):
        assert link.startswith(f"{caller.front.url}/files/")
        opened = requests.get(link, verify=str(caller.front.certificate), timeout=60)
        assert (opened.status_code, len(opened.content) > 0) == (200, True)
    assert caller.ask("GET", "/openapi.json").json()["servers"] == [{"url": caller.front.url}]


def events(answer: requests.Response) -> Iterator[dict[str, Any]]:
    """The data of events, each as soon as it comes."""
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


@pytest.mark.parametrize("path", ["/v1/jobs/{}/events", "/v1/events?kinds=job"])
def test_events_arrive_while_the_job_still_runs(caller: Caller, path: str) -> None:
    job_id = caller.submit(prompt="forever")
    with caller.ask("GET", path.format(job_id), stream=True) as answer:
        assert answer.status_code == 200
        told = (job for job in events(answer) if job["id"] == job_id)
        # It paints until somebody cancels it: whatever is read before that was not held back.
        assert next(job for job in told if job["state"] == "running")
        assert Caller(caller.front).ask("POST", f"/v1/jobs/{job_id}/cancel").status_code == 200
        assert next(job for job in told if job["state"] == "cancelled")


def test_a_body_up_to_the_limit_is_taken_and_a_larger_one_told_so(caller: Caller) -> None:
    for size, status in ((1_900_000, 201), (2_040_000, 413), (3_000_000, 413)):
        answer = caller.ask("POST", "/v1/images", files={"image": ("x.png", noise(size))})
        assert answer.status_code == status, (size, answer.text[:300])
        assert status == 201 or answer.json()["error"]["code"] == "body_too_large"


def test_openais_client_works_below_the_path(caller: Caller) -> None:
    context = ssl.create_default_context(cafile=str(caller.front.certificate))
    with openai.DefaultHttpxClient(verify=context) as http:
        client = openai.OpenAI(
            base_url=f"{caller.front.url}/v1", api_key=caller.front.studio.api_key, http_client=http, max_retries=0
        )
        answer = client.images.generate(model="miniature", prompt="a cup", extra_body={"steps": 2})
        assert answer.data is not None
        link = str(answer.data[0].url or "")
        assert answer.data[0].b64_json or link.startswith(caller.front.url)
        streamed = client.images.generate(
            model="miniature", prompt="a cup preview", stream=True, partial_images=1, extra_body={"steps": 4}
        )
        assert [event.type for event in streamed][-1] == "image_generation.completed"


def test_where_a_request_comes_from_is_what_the_proxy_saw(front: Front) -> None:
    forged = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Forwarded-Prefix": "/evil"}
    answer = Caller(front, "127.0.0.2").ask("POST", "/v1/jobs", json=ASK, headers=forged)
    assert answer.headers["Location"].startswith("/studio/v1/jobs/")
    with open_store(Settings(data_dir=front.studio.folder / "data")) as store:
        assert store.jobs.get(answer.json()["id"]).peer == "127.0.0.2"


def test_http_2_is_spoken_and_nothing_older_than_tls_1_2(front: Front) -> None:
    context = ssl.create_default_context(cafile=str(front.certificate))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with create_connection(("127.0.0.1", front.port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            assert secure.selected_alpn_protocol() == "h2"
            assert secure.version() in {"TLSv1.2", "TLSv1.3"}


def test_other_paths_are_not_the_servers(caller: Caller) -> None:
    root = caller.front.url.removesuffix("/studio")
    answer = caller.session.get(f"{root}/v1/health", timeout=60)
    assert "state" not in answer.text
