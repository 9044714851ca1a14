"""``make demo``: the main job, end to end. Starts the server, plays Dify's plugin daemon, calls every tool, stops.

The plugin runs as Dify runs it: the real SDK in a process of its own, JSON lines on its stdin and stdout. The server
is the real one with the miniature. Pictures are saved under demo/.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from PIL import Image

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.support.daemon import Daemon, DaemonError, Outcome, ToolError

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "demo"
START_S = 120
CHINESE = "蓝色背景上的红苹果"
ENGLISH = "make the background green"
LATER = {"prompt": "a dog on a purple background", "wait": False}
REGION = {"prompt": "把苹果换成猫", "region": "0.1,0.1,0.8,0.8"}
WIDER = {"prompt": "", "aspect_ratio": "16:9"}
CHAT = ({"prompt": "白色背景上的红苹果"}, {"prompt": "now make the background blue"})
HELD = {"operation": "generate", "prompt": "a cat on a yellow background", "hold": True}
WISH = {"prompt": "红灯笼", "theme": "春节", "purpose": "generate"}
ROWS = "thing,colour\nstar,purple\ncup,pink\n小狗,蓝色\n"
LOGO = {"prompt": "a star", "background": "transparent", "seed": 3}
BATCH = {"operation": "generate", "prompt": "a {{thing}} on a {{colour}} background", "rows": ROWS, "seed": 7}
CAMPAIGN = {
    **{"brief": "A cat, the launch of our café, “HOT” and “春”, in English and Chinese", "channels": "post, banner"},
    **{"enhance": "off", "save_style": "café", "seed": 1},
}


class DemoFailed(RuntimeError):
    """What went wrong, in one line."""


def main() -> int:
    """Run the demo; 0 when every picture came back and no process is left."""
    started = time.monotonic()
    try:
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir()
        settings = Settings(data_dir=OUT / "data")
        key = KeyStore(open_database(settings)).add("demo")
        with running_server(settings) as server:
            play(settings, key)
        if server.poll() != 0:
            raise DemoFailed(f"the server did not stop cleanly (exit code {server.returncode}); see demo/server.log")
    except (DemoFailed, StudioError, ToolError, DaemonError, OSError, requests.RequestException) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started:.1f} s; look at the pictures in {OUT.relative_to(ROOT)}/.")
    return 0


def play(settings: Settings, key: str) -> None:
    """Check the credentials and call the tools, as Dify would."""
    credentials = {"server_url": settings.address, "api_key": key, "verify_tls": True, "time_budget": "300"}
    python = ROOT / ".venv-plugin/bin/python"
    with Daemon(python, ROOT) as daemon, file_server(OUT) as files:
        daemon.validate("qwen_image", credentials)
        print("Credentials are valid: the server is there, the key is right, a model is loaded.")
        first = call(daemon, "image_generation", {"prompt": CHINESE, "aspect_ratio": "1:1"}, credentials)
        made = save(first, "1-generation")
        picture = dify_file(f"{files}/{made.name}?sign=demo", made)
        call_two = {"prompt": ENGLISH, "images": [picture], "output_format": "png"}
        save(call(daemon, "image_edit", call_two, credentials), "2-edit")
        stored = {"image_id": first.variables["image_id"]}
        part = save(call(daemon, "image_edit", {**REGION, **stored}, credentials), "3-region")
        check_outside(made, part)
        save(call(daemon, "image_outpaint", {**WIDER, **stored}, credentials), "4-outpaint")
        save(call(daemon, "image_batch", BATCH, credentials), "5-batch")
        print("\nIn a chat, where the last picture needs no name:")
        chat = {"conversation_id": "demo"}
        call(daemon, "image_generation", CHAT[0], credentials, **chat)
        save(call(daemon, "image_edit", CHAT[1], credentials, **chat), "6-chat")
        print("\nStarted now, fetched later:")
        begun = daemon.invoke("qwen_image", "image_generation", LATER, credentials)
        begun.raise_on_error()
        print(f"  {begun.texts[0].strip()}")
        save(call(daemon, "image_job", {"job_id": begun.variables["job_id"]}, credentials), "7-later")
        written = daemon.invoke("qwen_image", "prompt_enhance", WISH, credentials)
        written.raise_on_error()
        print(f"\nprompt_enhance by its rules, as no language model is chosen: {WISH}\n  {written.variables['prompt']}")
        save(approved(daemon, settings, credentials), "8-approved")
        print("\nA campaign from one sentence, whose style is kept by name:")
        save(call(daemon, "image_campaign", CAMPAIGN, credentials), "9-campaign")
        styles = daemon.invoke("qwen_image", "image_style", {"action": "list"}, credentials)
        styles.raise_on_error()
        print(f"  image_style: {styles.texts[0].strip()}")
        alike = {"prompt": "a dog", "style": CAMPAIGN["save_style"]}
        save(call(daemon, "image_generation", alike, credentials), "10-same-style")
        save(call(daemon, "image_generation", LOGO, credentials), "11-logo")
        apart = call(daemon, "image_layers", {"layers": 2, **stored}, credentials)
        save(apart, "12-recomposed")
        save(apart, "12-layers", which=-1)


def approved(daemon: Daemon, settings: Settings, credentials: dict[str, Any]) -> Outcome:
    """A picture that is held until a person with a reviewer's key has approved it."""
    print("\nHeld until a person has approved it:")
    reviewer = KeyStore(open_database(settings)).add("reviewer", "demo", [Scope.REVIEW])
    mine, theirs = ({"Authorization": f"Bearer {key}"} for key in (credentials["api_key"], reviewer))
    job_id = requests.post(f"{settings.address}/v1/jobs", json=HELD, headers=mine, timeout=30).json()["id"]
    waiting = daemon.invoke("qwen_image", "image_job", {"job_id": job_id}, credentials)
    waiting.raise_on_error()
    print(f"  {waiting.texts[0].strip()}")
    found = requests.get(f"{settings.address}/v1/images?review=held", headers=theirs, timeout=30).json()["data"]
    verdict = {"image_id": found[0]["id"], "verdict": "approved"}
    decided = daemon.invoke("qwen_image", "image_review", verdict, {**credentials, "api_key": reviewer})
    decided.raise_on_error()
    print(f"  {decided.texts[0].strip()}")
    return call(daemon, "image_job", {"job_id": job_id}, credentials)


def call(daemon: Daemon, tool: str, parameters: dict[str, Any], credentials: dict[str, Any], **place: Any) -> Outcome:
    """One tool invocation, with its progress on one line and what came back on the next."""
    asked = ", ".join(
        f"{name} {value!r}" for name, value in parameters.items() if name not in {"images", "output_format"}
    )
    print(f"\n{tool}: {asked}")
    started = time.monotonic()
    outcome = daemon.invoke("qwen_image", tool, parameters, credentials, **place)
    outcome.raise_on_error()
    seconds = time.monotonic() - started
    url = outcome.variables["image_url"]
    answer = requests.get(url, timeout=30)
    if answer.status_code != 200 or answer.content != outcome.blobs[0].content:
        raise DemoFailed(f"{url} does not serve the picture that the tool returned")
    print(f"  {seconds:.1f} s")
    print(f"  {url} (fetched, {len(answer.content)} bytes)")
    for name in ("comparison_url", "archive_url"):
        if outcome.variables.get(name):
            print(f"  {name}: {outcome.variables[name]}")
    return outcome


def check_outside(before: Path, after: Path) -> None:
    """Hold the promise of regions: outside, every pixel is as it was."""
    with Image.open(before) as one, Image.open(after) as other:
        left, top, right, bottom = (round(share * side) for share in (0.1, 0.9) for side in one.size)
        pictures = [picture.convert("RGB") for picture in (one, other)]
    for picture in pictures:
        picture.paste(0, (left, top, right, bottom))
    if pictures[0].tobytes() != pictures[1].tobytes():
        raise DemoFailed("a pixel outside the region has changed")
    print("  outside the region every pixel is as it was")


def save(outcome: Outcome, name: str, which: int = 0) -> Path:
    """Keep one of the files under demo/, by default the picture."""
    blob = outcome.blobs[which]
    path = OUT / f"{name}{Path(blob.meta['filename']).suffix}"
    path.write_bytes(blob.content)
    print(f"  saved {path.relative_to(ROOT)}")
    return path


def dify_file(url: str, path: Path) -> dict[str, Any]:
    """A file parameter as Dify hands it to a tool."""
    return {
        "dify_model_identity": "__dify__file__",
        "mime_type": "image/png",
        "filename": path.name,
        "extension": path.suffix,
        "size": path.stat().st_size,
        "type": "image",
        "url": url,
    }


@contextlib.contextmanager
def running_server(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """``qwen-image-studio serve``, ready to paint; stopped with all its processes afterwards."""
    refuse_taken_port(settings)
    on_any_machine = {"STUDIO_MODELS": "miniature,miniature-layered", "STUDIO_DEVICES": "cpu"}
    environment = {**os.environ, "STUDIO_DATA_DIR": str(settings.data_dir), **on_any_machine}
    log = OUT / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "qwen_image_studio", "serve"], env=environment, cwd=ROOT, stdout=file, stderr=file
        )
    try:
        wait_until_ready(settings, server, log)
        yield server
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def refuse_taken_port(settings: Settings) -> None:
    """Another server that already answers there must not be taken for ours."""
    with socket.socket() as probe:
        if probe.connect_ex((urlsplit(settings.address).hostname, settings.port)) == 0:
            raise DemoFailed(f"port {settings.port} is taken; stop what uses it, or run STUDIO_PORT=8301 make demo")


def wait_until_ready(settings: Settings, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the model; a server that gives up says why in its last line."""
    print(f"Starting the server on {settings.address} ...")
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            last = (log.read_text().strip().splitlines() or ["it said nothing"])[-1]
            raise DemoFailed(f"the server did not start: {last.removeprefix('Error: ')}")
        with contextlib.suppress(requests.RequestException, ValueError):
            health = requests.get(f"{settings.address}/v1/health", timeout=5).json()
            if health["state"] == "ready":
                return
            if health["state"] == "failed":
                raise DemoFailed(health["message"])
        time.sleep(0.1)
    raise DemoFailed(f"the server was not ready after {START_S} s; see {log.relative_to(ROOT)}")


@contextlib.contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serves files as Dify's API does for its plugins, whose links are signed; its address."""
    handler = partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/files"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        """Where the file lies."""
        return super().translate_path(path.removeprefix("/files"))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
