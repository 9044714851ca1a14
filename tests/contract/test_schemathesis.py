"""Schemathesis with all its checks against the routes as the OpenAPI document promises them, in this process."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import schemathesis.engine
from flask import Flask
from schemathesis.engine import events

from qwen_image_studio.contract.words import LIGHT_DEVICE, WorkerState
from qwen_image_studio.jobs import WorkerReport
from qwen_image_studio.models.served import configured_models
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from tests.support.database import with_tables
from tests.support.worker import scripted_worker, working

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2"))
"""Number of random requests to each route; `make fuzz` sends more."""
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429"]
SEMANTIC = ["2xx", "400", "401", "403", "404", "409", "413", "415", "416", "422", "429"]
"""What a request that the schema allows may be answered: which values go together is said in words, not in schemas."""
CONFIG = {
    "seed": 1,
    "checks": {
        "positive_data_acceptance": {"expected-statuses": SEMANTIC},
        "negative_data_rejection": {"expected-statuses": REFUSED},
        # It fails in schemathesis itself for an application in the same process (4.32); test_access.py has keys.
        "ignored_auth": {"enabled": False},
    },
    "generation": {"max-examples": EXAMPLES, "deterministic": True, "no-shrink": True, "database": "none"},
    "analysis": {"constants": {"enabled": False}},  # it would import torch to look for them
    "phases": {"stateful": {"enabled": EXAMPLES > 10}},
    "continue-on-failure": True,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application with a worker that takes its jobs in the background; streams end when they have begun."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    values = Settings(data_dir=folder / "data", models="miniature", max_image_mb=2, max_image_mpx=4, queue_limit=1000)
    ready = with_tables(values)
    app = create_app(ready, configured_models(ready, card_gib=0))
    app.testing = False
    parts: Services = app.extensions["qwen-image-studio"]
    for device in ("cuda:0", LIGHT_DEVICE):
        report = WorkerReport(f"far/{device}", device, WorkerState.READY, None, "", time.time() + 3600)
        parts.store.workers.note(report)
    with working(scripted_worker(parts)), pytest.MonkeyPatch.context() as patch:
        patch.setattr("qwen_image_studio.web.events.LONGEST_S", 0.0)
        yield app


def test_every_answer_is_one_that_the_contract_promises(whole: Flask) -> None:
    """B16: values that the schema allows and the server refused, undocumented types of content, methods and headers."""
    parts: Services = whole.extensions["qwen-image-studio"]
    key = {"auth": {"openapi": {"key": {"bearer": parts.keys.add("fuzz")}}}}
    config = schemathesis.Config.from_dict(CONFIG | key)
    schema = schemathesis.openapi.from_wsgi("/openapi.json", whole, config=config)
    seen: set[str] = set()
    failures: dict[str, str] = {}
    for event in schemathesis.engine.from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            failures[f"{event.label}: {event.value}"] = str(event.info.format())
        if isinstance(event, events.ScenarioFinished):
            seen.add(event.recorder.label)
            failures |= failures_of(event)
    assert not failures, "\n\n".join(f"{name}\n{how}" for name, how in failures.items())
    assert len(seen) >= len(list(schema.get_all_operations()))


def failures_of(event: events.ScenarioFinished) -> dict[str, str]:
    """What checks found, by route and check, with the request that shows it."""
    found = {}
    for checks in event.recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                failure = check.failure_info.failure
                name = f"{event.recorder.label}: {check.name}: {failure.title}"
                found[name] = f"{failure.message[:600]}\n{check.failure_info.code_sample[:600]}"
    return found
