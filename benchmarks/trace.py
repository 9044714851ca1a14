"""``make trace``: which files of ours a request touches, from the Dify tool to the picture and back.

One picture is generated, one edited within a mask, and one made as the row of a batch. The plugin runs as Dify starts
it, in a process of its own; web and workers run in this one, over a real socket, with the real job store and the
miniature. A file counts as touched where a function in it runs, not where it is merely imported.
"""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from PIL import Image
from werkzeug.serving import WSGIRequestHandler, make_server

from benchmarks.calls import ROOT, follow_calls, stop_following
from qwen_image_studio.jobs.store import open_store
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.planning.engine import open_engine
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.worker.light import light_worker
from qwen_image_studio.worker.loop import Worker
from tests.support.daemon import Daemon
from tests.support.dify import PROVIDER, dify_file
from tests.support.scripted import Answer, ScriptedServer

STAGES = ("submit", "paint", "look", "bytes")
"""POST /v1/jobs; the workers; GET /v1/jobs; GET /v1/images. The plugin's calls belong to the request that follows."""
PYTHONS = [Path(ROOT, folder, "bin/python") for folder in (".venv-plugin", ".venv-plugin-oldest")]


@dataclass(frozen=True, order=True)
class Call:
    """One call of a function of ours."""

    at: int
    """Nanoseconds of the monotonic clock."""
    stage: str
    file: str
    """Path of the function's file below the root of the repository."""


@dataclass(frozen=True)
class Journey:
    """What one use of a tool called, first call first."""

    name: str
    calls: list[Call]

    def touched(self, stage: str, folder: str = "") -> Counter[str]:
        """Return the files below the folder that a stage touched, in order of first touch, with the number of calls."""
        return Counter(call.file for call in self.calls if call.stage == stage and call.file.startswith(folder))

    def show(self) -> None:
        """Print it, stage by stage."""
        print(f"\n{self.name}: {len({call.file for call in self.calls})} files")
        for stage in STAGES:
            touched = self.touched(stage)
            server = len(self.touched(stage, "server/"))
            print(f"  {stage}: {len(touched) - server} files of the plugin, {server} of the server")
            for file, count in touched.items():
                print(f"    {file:62} {count:6}")


class Recorder:
    """Notes the calls of this process, and reads those that the plugin has written down."""

    def __init__(self, written: Path) -> None:
        self._written = written
        self._calls: list[Call] = []
        self._answered: dict[str, int] = {}
        """When the last request of each stage was answered."""
        self._of_thread = threading.local()

    def note(self, at: int, file: str) -> None:
        """Note a call; its stage follows from the thread."""
        others = "look" if threading.current_thread().name == "changes" else "paint"
        self._calls.append(Call(at, getattr(self._of_thread, "stage", others), file))

    def following(self, application: Any, submitted: Callable[[], None]) -> Any:
        """Return the WSGI application with its requests told apart; `submitted` is called after each POST."""

        def follow(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            posts, is_job = environ["REQUEST_METHOD"] == "POST", environ["PATH_INFO"].startswith("/v1/jobs")
            stage = self._of_thread.stage = "submit" if posts else "look" if is_job else "bytes"
            answer: Iterable[bytes] = application(environ, start_response)
            self._answered[stage] = time.monotonic_ns()
            if posts:
                submitted()
            return answer

        return follow

    def journey(self, name: str) -> Journey:
        """Return all calls since the journey before."""
        calls, self._calls = self._calls, []
        for line in self._written.read_text().splitlines():
            at, file = line.split()
            stage = next((stage for stage, end in self._answered.items() if int(at) <= end), "bytes")
            calls.append(Call(int(at), stage, file))
        self._answered.clear()
        self._written.write_text("")
        return Journey(name, sorted(calls))


def trace() -> list[Journey]:
    """Make the three journeys and return them."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "calls")
        written.touch()
        recorder = Recorder(written)
        with _studio(Path(folder), recorder) as url, _plugin(written) as plugin, _files() as files:
            return list(_journeys(recorder, plugin, url, files))


def _journeys(recorder: Recorder, plugin: Daemon, url: str, files: str) -> Iterator[Journey]:
    image, mask = (dify_file(f"{files}/files/{name}/file-preview?sign=s") for name in ("image", "mask"))
    for name, tool, parameters in (
        ("generate", "image_generation", {"prompt": "a red apple on a blue background", "steps": 2}),
        ("masked edit", "image_edit", {"prompt": "replace it with a cat", "images": [image], "mask": mask, "steps": 2}),
        ("batch of one row", "image_batch", {"prompt": "a {{colour}} cup", "rows": "colour\nred", "steps": 2}),
    ):
        recorder.journey("")  # the start, or what followed the answer before
        plugin.invoke(PROVIDER, tool, parameters, {"server_url": url, "time_budget": "120"}).raise_on_error()
        yield recorder.journey(name)


@contextmanager
def _studio(folder: Path, recorder: Recorder) -> Iterator[str]:
    """Serve and work in threads; the value is the address."""
    settings = Settings(data_dir=folder / "data", models="miniature")
    models = configured_models(settings, card_gib=0)
    store, engine = open_store(settings), open_engine(settings, models, "cpu")
    engine.load("miniature")
    workers = [light_worker(settings, models, store), Worker(settings, "cpu", engine, list(models), store)]
    posted = SimpleQueue[bool]()

    def work() -> None:
        while posted.get():
            while any(worker.run_next() for worker in workers):
                pass

    application = recorder.following(create_app(settings, models), lambda: posted.put(True))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Silent)
    threads = [threading.Thread(target=target) for target in (work, server.serve_forever)]
    follow_calls(recorder.note)
    for thread in threads:
        thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        stop_following()
        posted.put(False)
        server.shutdown()
        server.server_close()
        for thread in threads:
            thread.join()


class _Silent(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@contextmanager
def _plugin(written: Path) -> Iterator[Daemon]:
    """Start the plugin with a Python that imports `sitecustomize` first, and so writes its calls down."""
    python = next(python for python in PYTHONS if python.exists())
    with tempfile.TemporaryDirectory() as folder:
        hook = f"import sys, benchmarks.calls as calls; sys.meta_path.insert(0, calls.CallWriter({str(written)!r}))\n"
        Path(folder, "sitecustomize.py").write_text(hook)
        environment = {"PYTHONPATH": f"{folder}:{ROOT}", "NO_PROXY": "*", "no_proxy": "*"}
        with Daemon(python, ROOT, environment=environment) as daemon:
            yield daemon


@contextmanager
def _files() -> Iterator[str]:
    """Serve an image and a mask as Dify serves files; the value is the address."""
    mask, data = Image.new("L", (128, 128)), {"image": BytesIO(), "mask": BytesIO()}
    mask.paste(255, (32, 32, 96, 96))
    mask.save(data["mask"], "PNG")
    Image.new("RGB", (128, 128), "red").save(data["image"], "PNG")
    with ScriptedServer(lambda call: Answer(body=data[call.path.split("/")[2]].getvalue())) as server:
        yield server.url


if __name__ == "__main__":
    for journey in trace():
        journey.show()
