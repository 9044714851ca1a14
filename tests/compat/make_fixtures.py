"""Makes what lies in this folder the way version 0.1.0 did it: its plugin's package, its answers, its data.

This does not run in the present tree, and need not run again: what was made once is what people have installed. It ran
in a checkout of b9bab95, the last commit of version 0.1.0, into which this folder had been copied:

    git worktree add ../old b9bab95 && cp -r tests/compat ../old/tests && cd ../old && make setup-tests
    .venv/bin/python -m tests.compat.make_fixtures

It takes about three minutes. Each run makes other ids, times and keys.
"""

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from PIL import Image, ImageDraw

from tests.compat.calls import Caller, DifyFiles, told
from tests.compat.replay import NEWER, key_of, sent_in
from tests.support import ROOT
from tests.support.daemon import Daemon
from tests.support.scripted import Answer, Call, ScriptedServer
from tests.support.studio import Studio
from tests.support.waiting import until

HERE = Path(__file__).parent
VERSION = "0.1.0"
PUBLIC_URL = "http://old.example"
SIXTY_YEARS_S = 60 * 365 * 86400
SIZE = (96, 64)
SMALL: dict[str, Any] = {"size": "64x64", "steps": 2}
LONG: dict[str, Any] = {"size": "256x256", "n": 4, "steps": 150}
ENDED = ("succeeded", "failed", "cancelled")
LINKS = ("url", "thumbnail_url", "comparison_url")


def main() -> None:
    """Write every file."""
    make_package()
    make_answers()
    make_data()
    for path in sorted(HERE.glob(f"*-{VERSION}.*")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def picture(kind: str) -> bytes:
    """A photo as people have one, or a mask for it, white in the middle."""
    image = Image.new("RGB" if kind == "photo" else "L", SIZE, (200, 60, 40) if kind == "photo" else 0)
    draw = ImageDraw.Draw(image)
    if kind == "photo":
        draw.rectangle((0, 40, 96, 64), fill=(230, 220, 200))
        draw.ellipse((30, 14, 66, 50), fill=(40, 120, 60))
    else:
        draw.ellipse((28, 12, 68, 52), fill=255)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def written(value: Any, depth: int) -> str:
    """JSON with a line for each entry down to ``depth``, so that a difference can be read and the file stays small."""
    if not depth or not isinstance(value, dict | list) or not value:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, list):
        return "[\n" + ",\n".join(written(each, depth - 1) for each in value) + "\n]"
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {written(each, depth - 1)}" for name, each in value.items()) + "\n}"


def encoded(data: bytes) -> str:
    """Bytes within JSON."""
    return base64.b64encode(data).decode()


# -- the package ---------------------------------------------------------------------------------------------------


def make_package() -> None:
    """The plugin as `make package` makes it."""
    subprocess.run([sys.executable, ".ci/package.py"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    shutil.copy(ROOT / f"dist/qwen_image_studio-{VERSION}.difypkg", HERE / f"plugin-{VERSION}.difypkg")


# -- the answers ---------------------------------------------------------------------------------------------------

CALLS: dict[str, dict[str, Any]] = {
    "check": {},
    "check_with_a_wrong_key": {"credentials": {"api_key": "wrong"}},
    "generate": {"tool": "image_generation", "parameters": {"prompt": "a red apple", "n": 2, "seed": 7, **SMALL}},
    "generate_in_chinese_as_webp": {
        "tool": "image_generation",
        "parameters": {"prompt": "一个红苹果", "seed": 8, "size": "96x64", "steps": 2, "output_format": "webp"},
    },
    "generate_from_an_image": {
        "tool": "image_generation",
        "parameters": {"prompt": "a green cup", "image": [{"$file": "photo"}], "strength": 0.5, "seed": 9, "steps": 4},
    },
    "edit_a_file": {
        "tool": "image_edit",
        "parameters": {"prompt": "把它变成绿色", "images": [{"$file": "photo"}], "seed": 5, "steps": 2},
    },
    "edit_by_image_id": {
        "tool": "image_edit",
        "parameters": {"prompt": "make it blue", "image_id": {"$image_id": "generate"}, "seed": 5, "steps": 2},
    },
    "edit_without_a_model": {
        "tool": "image_edit",
        "parameters": {"prompt": "rotate it 90 degrees", "image_id": {"$image_id": "edit_a_file"}},
    },
    "edit_with_a_template": {
        "tool": "image_edit",
        "parameters": {
            "template": "replace_object",
            "slots": "old=apple; new=a cat",
            "image_id": {"$image_id": "generate"},
            "seed": 5,
            "steps": 2,
        },
    },
    "edit_a_region": {
        "tool": "image_edit",
        "parameters": {
            "prompt": "make it green",
            "region": "16,16,32,32",
            "image_id": {"$image_id": "generate"},
            "seed": 5,
            "steps": 2,
        },
    },
    "edit_with_a_mask": {
        "tool": "image_edit",
        "parameters": {
            "prompt": "make it blue",
            "images": [{"$file": "photo"}],
            "mask": {"$file": "mask"},
            "seed": 5,
            "steps": 2,
        },
    },
    "generate_in_a_conversation": {
        "tool": "image_generation",
        "conversation_id": "c1",
        "parameters": {"prompt": "a blue cup", "seed": 7, **SMALL},
    },
    "edit_the_last_image_of_the_conversation": {
        "tool": "image_edit",
        "conversation_id": "c1",
        "parameters": {"prompt": "make it red", "seed": 5, "steps": 2},
    },
    "outpaint_a_file": {
        "tool": "image_outpaint",
        "parameters": {"image": {"$file": "photo"}, "left": 32, "bottom": 32, "seed": 3, "steps": 2},
    },
    "outpaint_by_image_id": {
        "tool": "image_outpaint",
        "parameters": {
            "prompt": "white background",
            "image_id": {"$image_id": "generate"},
            "aspect_ratio": "2:1",
            "anchor": "left",
            "seed": 3,
            "steps": 2,
            "output_format": "jpeg",
        },
    },
    "batch": {
        "tool": "image_batch",
        "parameters": {"prompt": "a {{colour}} cup", "rows": "colour\nred\n蓝色", "seed": 7, **SMALL},
    },
    "batch_with_a_row_that_fails": {
        "tool": "image_batch",
        "parameters": {
            "operation": "edit",
            "prompt": "rotate it {{angle}} degrees",
            "rows": [
                {"image": {"$image_id": "generate"}, "angle": 90},
                {"image": {"$image_id": "edit_a_file"}, "angle": 180},
                {"image": "img_no", "angle": 90},
            ],
        },
    },
    "start": {
        "tool": "image_generation",
        "parameters": {"prompt": "a red apple", "seed": 7, **SMALL, "wait": False},
    },
    "fetch": {"tool": "image_job", "parameters": {"job_id": {"$job_id": "start"}}},
    "start_a_batch": {
        "tool": "image_batch",
        "parameters": {"prompt": "a {{colour}} cup", "rows": "colour\nred\nblue", "seed": 1, **SMALL, "wait": False},
    },
    "fetch_the_batch": {"tool": "image_job", "parameters": {"job_id": {"$job_id": "start_a_batch"}}},
    "start_a_long_job": {
        "tool": "image_generation",
        "parameters": {"prompt": "a red apple", "seed": 7, **LONG, "wait": False},
    },
    "list": {"tool": "image_job", "parameters": {"action": "list", "limit": 3}},
    "cancel": {"tool": "image_job", "parameters": {"action": "cancel", "job_id": {"$job_id": "start_a_long_job"}}},
    "fetch_what_was_cancelled": {"tool": "image_job", "parameters": {"job_id": {"$job_id": "start_a_long_job"}}},
    "cancel_what_has_ended": {
        "tool": "image_job",
        "parameters": {"action": "cancel", "job_id": {"$job_id": "start"}},
    },
    "fetch_an_unknown_job": {"tool": "image_job", "parameters": {"job_id": "job_none"}},
    "edit_an_unknown_image": {"tool": "image_edit", "parameters": {"prompt": "make it blue", "image_id": "img_no"}},
    "edit_without_a_model_what_needs_one": {
        "tool": "image_edit",
        "parameters": {"prompt": "remove the cup", "prefer": "cv", "image_id": {"$image_id": "generate"}},
    },
    "generate_with_an_unknown_model": {
        "tool": "image_generation",
        "parameters": {"prompt": "a cup", "model": "none-such"},
    },
    "batch_of_which_every_row_fails": {
        "tool": "image_batch",
        "parameters": {"operation": "edit", "prompt": "make it blue", "rows": '[{"image": "img_no"}]'},
    },
}
"""Every tool that asks the server, in each of its ways; see tests/compat/calls.py for the places marked with $."""

PROBES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "route": ("GET", f"/v1/{NEWER}", {}),
    "method": ("POST", "/v1/health", {}),
    "query": ("GET", f"/v1/jobs?{NEWER}=1", {}),
    "operation": ("POST", "/v1/jobs", {"json": {"operation": NEWER}}),
    "parameter": ("POST", "/v1/jobs", {"json": {"operation": "generate", "prompt": "a cup", NEWER: 1}}),
    "form": ("POST", "/v1/jobs", {"data": {"params": "{}"}, "files": {NEWER: b"x"}}),
    "key": ("GET", "/v1/models", {"headers": {"Authorization": "Bearer wrong"}}),
}
"""Calls that the server refuses since it does not know what they ask for."""


class Recorder(ScriptedServer):
    """Stands before a server and keeps what is said."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.exchanges: list[dict[str, Any]] = []
        super().__init__(self._forward)

    def taken(self) -> list[dict[str, Any]]:
        """The exchanges since the last time, without the looks in between at a job that runs."""
        kept: list[dict[str, Any]] = []
        for number, exchange in enumerate(self.exchanges):
            around = self.exchanges[max(0, number - 1) : number + 2]
            states = {(each["route"], each.get("json", {}).get("state")) for each in around}
            if len(around) < 3 or states != {(exchange["route"], "running")}:
                kept.append(exchange)
        self.exchanges = []
        return kept

    def _forward(self, call: Call) -> Answer:
        url = f"{self._url}{call.path}" + (f"?{call.query}" if call.query else "")
        headers = {name: value for name, value in call.headers.items() if name.lower() != "host"}
        answer = requests.request(call.method, url, headers=headers, data=call.body, timeout=70)
        self.exchanges.append(exchange_of(call.route, call.query, answer))
        if call.route == "POST /v1/jobs":
            params, files = sent_in(call)
            self.exchanges[-1] |= {"sent": params, "files": list(files)}
        told = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
        return Answer(answer.status_code, answer.content, told)


def exchange_of(route: str, query: str, answer: requests.Response) -> dict[str, Any]:
    """One exchange as it is recorded."""
    exchange: dict[str, Any] = {"route": route, "status": answer.status_code}
    if key_of(route, query) != route:
        exchange["query"] = query
    kind = answer.headers["Content-Type"]
    if kind == "application/json":
        return exchange | {"json": answer.json()}
    return exchange | {"type": kind, "base64": encoded(answer.content)}


def make_answers() -> None:
    """What the server answers to each tool's calls."""
    files, calls = {"photo": picture("photo"), "mask": picture("mask")}, {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Studio(Path(folder), with_key=True, public_url=PUBLIC_URL) as studio,
        Recorder(studio.url) as recorder,
        DifyFiles(files) as dify,
        Daemon(ROOT / ".venv-plugin/bin/python", ROOT, environment={"NO_PROXY": "*", "no_proxy": "*"}) as plugin,
    ):
        caller = Caller(plugin, {"server_url": recorder.url, "api_key": studio.api_key, "time_budget": "120"}, dify)
        for name, call in CALLS.items():
            outcome = told(caller.make(name, call))
            calls[name] = {**call, "outcome": outcome, "exchanges": recorder.taken()}
            print(f"{name}: {outcome['error'] or outcome['variables'].get('state', 'fine')}")
        always = [
            exchange_of(f"GET {path}", "", studio.request("GET", path))
            for path in ("/v1/health", "/v1/models", "/v1/templates")
        ]
        refuses = {
            kind: exchange_of(f"{method} {path}", "", studio.request(method, path, **options))
            for kind, (method, path, options) in PROBES.items()
        }
        contract = studio.request("GET", "/openapi.json").json()
    routes = {
        f"{method.upper()} {path}": [each["name"] for each in about.get("parameters", []) if each["in"] == "query"]
        or None
        for path, methods in contract["paths"].items()
        for method, about in methods.items()
        if path.startswith("/v1/")
    }
    schemas = contract["components"]["schemas"]
    operations = schemas["Operation"]["enum"]
    takes = {name: list(schemas[f"{name.capitalize()}Request"]["properties"]) for name in operations}
    recording = {"files": {name: encoded(data) for name, data in files.items()}, "always": always, "routes": routes}
    text = written({**recording, "takes": takes, "refuses": refuses, "calls": calls}, 2)
    (HERE / f"answers-{VERSION}.json").write_text(text + "\n", encoding="utf-8")


# -- the data ------------------------------------------------------------------------------------------------------


class Shop:
    """The caller whose jobs fill the data: owner ``shop`` with one key."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.submissions: dict[str, dict[str, Any]] = {}
        """What was sent, by name, with the answer's id."""

    def submit(self, name: str, files: Mapping[str, str] | None = None, /, **params: Any) -> str:
        """Submit a job under a name, with an Idempotency-Key; its id. ``files`` are kinds of pictures by field."""
        key = f"{name}-{uuid.uuid4()}"
        body: dict[str, Any] = {"json": params}
        if files:
            sent = {field: (f"{kind}.png", picture(kind), "image/png") for field, kind in files.items()}
            body = {"data": {"params": json.dumps(params, ensure_ascii=False)}, "files": sent}
        answer = self.studio.request("POST", "/v1/jobs", headers=self.headers(key), **body)
        assert answer.status_code == 202, answer.text
        job_id = str(answer.json()["id"])
        self.submissions[name] = {"job_id": job_id, "idempotency_key": key, "params": params, "files": files or {}}
        return job_id

    def headers(self, key: str) -> dict[str, str]:
        """Those of a submission."""
        return {"Idempotency-Key": key, "Authorization": f"Bearer {self.studio.api_key}"}

    def painted(self, name: str, files: Mapping[str, str] | None = None, /, **params: Any) -> str:
        """Submit a job and wait until it succeeds; the id of its first image."""
        job = self.studio.finished(self.submit(name, files, **params))
        assert job["state"] == "succeeded", job
        return str(job["images"][0]["id"])

    def look(self, path: str) -> dict[str, Any]:
        """One answer in JSON."""
        answer = self.studio.request("GET", path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def rows(self, job_id: str) -> list[dict[str, Any]]:
        """The JobViews of a batch's rows."""
        return list(self.look(f"/v1/jobs?parent_id={job_id}&limit=100")["data"])


def make_data() -> None:
    """A DATA_DIR as an installation leaves it: what has ended, what power cut off, what waits."""
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"public_url": PUBLIC_URL, "link_ttl_s": SIXTY_YEARS_S}
        studio = Studio(Path(folder), **settings)
        studio.api_key = command(studio, "keys", "add", "shop-app", "--owner", "shop")
        revoked = command(studio, "keys", "add", "shop-leaked", "--owner", "shop")
        command(studio, "keys", "revoke", "shop-leaked")
        other = command(studio, "keys", "add", "bakery")
        shop = Shop(studio)
        try:
            first = end_jobs(shop)
            cut_off(shop)
            facts = let_wait(shop, first)
        finally:
            studio.__exit__(None, None, None)
        keys = {"api_key": studio.api_key, "revoked_key": revoked, "key_of_another_owner": other}
        pictures = {kind: encoded(picture(kind)) for kind in ("photo", "mask")}
        known = {"version": VERSION, "public_url": PUBLIC_URL}
        text = written({**known, **keys, "files": pictures, "submissions": shop.submissions, **facts}, 2)
        (HERE / f"data-{VERSION}.json").write_text(text + "\n", encoding="utf-8")
        with zipfile.ZipFile(HERE / f"data-{VERSION}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted((Path(folder) / "data").rglob("*")):
                if path.suffix != ".sqlite-shm":  # of processes that have ended; SQLite makes it anew
                    archive.write(path, path.relative_to(folder))


def command(studio: Studio, *arguments: str) -> str:
    """What a command of the server prints."""
    told = subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        env=studio.environment,
        cwd=studio.folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return told.stdout.strip()


def end_jobs(shop: Shop) -> str:
    """Jobs of every operation and every end; the id of the first image."""
    studio = shop.studio
    studio.environment["STUDIO_JOB_TIMEOUT_S"] = "3"
    with studio:
        timed_out = studio.finished(shop.submit("timed_out", operation="generate", prompt="a cup", seed=1, **LONG))
        assert timed_out["error"]["code"] == "engine_timeout", timed_out
    del studio.environment["STUDIO_JOB_TIMEOUT_S"]
    studio.start()
    ann: dict[str, Any] = {"user": "ann", "conversation": "ann's chat"}
    first = shop.painted("generated", operation="generate", prompt="a red apple", n=2, seed=7, **SMALL)
    shop.painted("edited", {"image[]": "photo"}, operation="edit", prompt="把它变成绿色", seed=11, steps=2)
    given: dict[str, Any] = {"prompt": "make it blue", "seed": 12, "steps": 2}
    shop.painted("inpainted", {"image": "photo", "mask": "mask"}, operation="inpaint", **given)
    wider: dict[str, Any] = {"right": 32, "seed": 13, "steps": 2, "output_format": "webp"}
    shop.painted("outpainted", operation="outpaint", image=first, **wider)
    words = {"prompt": "rotate it 90 degrees, then make it brighter", "output_format": "jpeg"}
    shop.painted("adjusted", operation="adjust", image=first, **words)
    shop.painted("edited_without_a_model", operation="edit", image=first, prompt="把它变成黑白")
    rows = [{"image": image, "colour": "blue"} for image in (first, "img_no", first)]
    by_colour = {"operation": "edit", "prompt": "make it {{colour}}", "image": "{{image}}", "seed": 20, "steps": 2}
    shop.painted("batch", operation="batch", job=by_colour, rows=rows)
    lost = studio.finished(shop.submit("rows_failed", operation="batch", job=by_colour, rows=rows[1:2]))
    assert lost["error"]["code"] == "rows_failed", lost
    shop.painted("conversation_begun", operation="generate", prompt="a blue cup", seed=30, **SMALL, **ann)
    shop.painted("conversation_gone_on", operation="edit", prompt="make it red", seed=31, steps=2, **ann)
    cancelled = shop.submit("cancelled", operation="generate", prompt="a cup", seed=1, user="ann", **LONG)
    until(lambda: studio.job(cancelled)["progress"]["step"])
    assert studio.request("POST", f"/v1/jobs/{cancelled}/cancel").status_code == 200
    assert studio.finished(cancelled)["state"] == "cancelled"
    return first


def cut_off(shop: Shop) -> None:
    """A batch whose second row is being painted when the machine loses power."""
    rows = [{"steps": steps} for steps in (2, 60, 2, 2)]
    job = {"operation": "generate", "prompt": "a red cup", "size": "64x64", "steps": "{{steps}}", "seed": 40}
    batch = shop.submit("cut_off", operation="batch", job=job, rows=rows)
    until(lambda: any(row["progress"]["preview_url"] for row in shop.rows(batch)[1:]))
    shop.studio.kill()
    shop.studio.process = None


def let_wait(shop: Shop, first: str) -> dict[str, Any]:
    """Jobs that come while nobody paints; and then all that the server tells, as its last word."""
    studio = shop.studio
    studio.process = studio.spawn("web")
    studio.wait_for_state("starting", "ready", "busy", "degraded", "failed")
    before = set(shop.submissions)
    shop.submit("waiting_generate", operation="generate", prompt="a green apple", n=2, seed=50, **SMALL)
    template = {"template": "replace_object", "slots": {"old": "apple", "new": "cat"}, "seed": 51, "steps": 2}
    shop.submit("waiting_edit", {"image[]": "photo"}, operation="edit", **template)
    region = {"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}
    given = {"prompt": "a cup", "prompt_kind": "description", "strength": 0.5, "seed": 52, "steps": 4}
    shop.submit("waiting_inpaint", operation="inpaint", image=first, region=region, **given)
    shop.submit("waiting_outpaint", operation="outpaint", image=first, aspect_ratio="2:1", seed=53, steps=2)
    shop.submit("waiting_adjust", operation="adjust", image=first, adjustments=[{"do": "rotate", "degrees": 90}])
    table = "colour,seed\nred,60\n绿色,61\nblue,62\n"
    job = {"operation": "generate", "prompt": "a {{colour}} cup", "seed": "{{seed}}", **SMALL}
    shop.submit("waiting_batch", operation="batch", job=job, rows=table, user="ann")
    jobs = shop.look("/v1/jobs?limit=100")["data"]
    rows = {job["id"]: shop.rows(job["id"]) for job in jobs if job["rows"]}
    links: dict[str, str] = {}
    archives: dict[str, dict[str, str]] = {}
    records: dict[str, dict[str, Any]] = {}
    for job in (*jobs, *(row for each in rows.values() for row in each)):
        for image in job["images"]:
            records[image["id"]] = shop.look(f"/v1/images/{image['id']}")
            links |= {target(image[name]): digest(studio, image[name]) for name in LINKS if image[name]}
        if job["archive_url"]:
            archives[target(job["archive_url"])] = names_in(studio, job["archive_url"])
    waiting = ["cut_off", *(name for name in shop.submissions if name not in before)]
    studio.stop()
    views = {"jobs": jobs, "rows": rows, "images": records}
    return {"waiting": waiting, **views, "links": links, "archives": archives}


def target(link: str) -> str:
    """Path and query of a link: where the server is reached does not matter to it."""
    parts = urlsplit(link)
    return f"{parts.path}?{parts.query}"


def opened(studio: Studio, link: str) -> bytes:
    """What is behind a link, without a key."""
    answer = requests.get(f"{studio.url}{target(link)}", timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.content


def digest(studio: Studio, link: str) -> str:
    """SHA-256 of what is behind a link."""
    return hashlib.sha256(opened(studio, link)).hexdigest()


def names_in(studio: Studio, link: str) -> dict[str, str]:
    """The files of an archive with the SHA-256 of each."""
    with zipfile.ZipFile(io.BytesIO(opened(studio, link))) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


if __name__ == "__main__":
    main()
