"""Calling a server with every client of the table, each in a process of its own."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from qwen_image_studio.contract.limits import KeyLimits, Limits
from qwen_image_studio.contract.words import Scope
from qwen_image_studio.database.connection import open_database
from qwen_image_studio.guard.keys import KeyStore
from qwen_image_studio.settings import Settings
from tests.clients.replayed import Replayed
from tests.clients.table import HERE, Client, Program, Row, row_of
from tests.support import ROOT
from tests.support.pictures import png
from tests.support.studio import Studio

PYTHON = ROOT / ".venv-clients/bin/python"
MODULES = HERE / "node/node_modules"
PATIENCE_S = 300
"""How long one client may take for all its rows, on a machine that does other things as well."""
AT_ONCE = 2
_FOREIGN = ("OPENAI_", "AZURE_", "LITELLM_", "LANG", "HF_", "HUGGING", "STUDIO_", "NODE_")
"""What variables begin with that would change how clients behave."""


@dataclass(frozen=True)
class Outcome:
    """What came of a row: it works unless one of the two says why not."""

    row: Row
    failed: str = ""
    skipped: str = ""


def call_all(clients: Iterable[Client], programs: Iterable[Program], folder: Path) -> list[Outcome]:
    """Start a server with the miniature, call it with every client and as every program, and return what came of each
    row.
    """
    with Studio(folder, with_key=True) as studio, ThreadPoolExecutor(AT_ONCE) as pool:
        environment = {**_clean(), **_keys(studio), "SERVER_URL": studio.url, "API_KEY": studio.api_key}
        found = [*pool.map(lambda client: call(client, environment), clients)]
        found += pool.map(lambda program: [replay(each, studio) for each in program.requests], programs)
        return [outcome for outcomes in found for outcome in outcomes]


def call(client: Client, environment: Mapping[str, str]) -> list[Outcome]:
    """Return what came of each row of a client."""
    if client.runs_on_node and not (shutil.which("node") and MODULES.exists()):
        return [Outcome(row, skipped="no node and npm") for row in client.rows]
    path = Path(client.module)
    program = ["node", str(HERE / "node/run.mjs"), path.name]
    if not client.runs_on_node:
        program = [str(PYTHON), "-m", "tests.clients.python.run", path.name]
    with tempfile.TemporaryDirectory() as folder:
        own = {**environment, "FOLDER": folder, "HOME": folder}
        _lay_pictures(Path(folder))
        told, why = _told([*program, *client.tasks], own)
    return [Outcome(row, failed=told.get(row.task, why)) for row in client.rows]


def replay(sent: Replayed, studio: Studio) -> Outcome:
    """Send one request of a program, and return whether the program would find in the answer what it reads."""
    fields: dict[str, Any] = {"data": sent.fields} if sent.urlencoded else {}
    if sent.body is not None:
        fields = {"json": sent.body}
    elif not sent.urlencoded and sent.method == "POST":  # a form even where it has no file
        fields = {"files": [*((name, (None, text)) for name, text in sent.fields), *sent.parts]}
    headers = sent.headers_with(studio.api_key)
    try:
        answer = requests.request(
            sent.method, f"{studio.url}{sent.path}", headers=headers, timeout=PATIENCE_S, **fields
        )
        wrong = sent.misses(answer.json()) if answer.ok else [f"{answer.status_code} {answer.text}"]
    except requests.RequestException as error:
        wrong = [str(error)]
    return Outcome(row_of(sent), failed="; ".join(wrong))


def _lay_pictures(folder: Path) -> None:
    """Write a picture of one colour, and a mask for it with a transparent left half, for the client to send."""
    (folder / "picture.png").write_bytes(png(128, 128, "yellow"))
    mask = Image.new("RGBA", (128, 128), "black")
    mask.paste((0, 0, 0, 0), (0, 0, 64, 128))
    mask.save(folder / "mask.png")


def _told(command: Sequence[str], environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return why each task failed that a module told of (nothing where it did not), and what to say of the others."""
    try:
        ended = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        output, why = ended.stdout, _last_words(ended.stderr)
    except subprocess.TimeoutExpired as error:
        output, why = (error.stdout or b"").decode(), f"no answer within {PATIENCE_S} s"
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"task"')]
    return {line["task"]: line["failed"] for line in lines}, why


def _last_words(stderr: str) -> str:
    """Return the line that tells why a process ended early."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it ended without a word"]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1])


def _clean() -> dict[str, str]:
    """Return the environment without what changes how clients behave, and with what keeps them on this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": str(ROOT), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def _keys(studio: Studio) -> dict[str, str]:
    """Make a key that may not edit, and one whose limit is reached."""
    keys = KeyStore(open_database(Settings(data_dir=studio.folder / "data")))
    spent = KeyLimits(key=Limits(images_per_day=0))
    return {"PAINTER_KEY": keys.add("painter", scopes=[Scope.GENERATE]), "SPENT_KEY": keys.add("spent", limits=spent)}
