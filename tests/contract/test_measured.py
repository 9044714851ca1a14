"""What a job cost is measured while it is worked on, and kept however it ends."""

import threading
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.words import State
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs.states import Measured
from qwen_image_studio.planning.plan import Pass
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from qwen_image_studio.worker.stopwatch import Stopwatch
from tests.support.pictures import png
from tests.support.plans import a_plan
from tests.support.waiting import until
from tests.support.worker import working

SMALL = 128 * 128 / 1e6
"""Megapixels of the pictures that these tests ask for."""


def submit(client: FlaskClient, prompt: str, **more: Any) -> str:
    """Queue a small painting and return its id."""
    body = {"operation": "generate", "prompt": prompt, "width": 128, "height": 128, "steps": 4, **more}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["id"])


def measured(store: JobStore, job_id: str) -> Measured:
    """What is kept of a job's cost."""
    found = store.jobs.get(job_id).measured
    assert found is not None
    return found


def test_a_job_that_succeeded_has_the_time_of_each_phase_and_what_was_painted(
    client: FlaskClient, store: JobStore, worker: Worker
) -> None:
    job_id = submit(client, "a red apple", n=2)
    assert worker.run_next()
    cost = measured(store, job_id)
    assert cost.megapixel_steps == pytest.approx(2 * 4 * SMALL)
    assert set(cost.phases) == {"waiting", "claiming", "loading", "denoising", "storing"}
    assert cost.device_s * 1000 == pytest.approx(cost.phases["loading"] + cost.phases["denoising"], abs=2)


def test_a_job_that_failed_has_what_it_used_until_then(client: FlaskClient, store: JobStore, worker: Worker) -> None:
    job_id = submit(client, "bug@3 always", n=2)
    assert worker.run_next()
    assert store.jobs.get(job_id).state is State.FAILED
    assert measured(store, job_id).megapixel_steps == pytest.approx(3 * SMALL)


def test_a_cancelled_job_has_what_it_used_until_then(client: FlaskClient, store: JobStore, worker: Worker) -> None:
    job_id = submit(client, "forever")
    with working(worker):
        until(lambda: store.jobs.get(job_id).progress.step == 1)
        client.post(f"/v1/jobs/{job_id}/cancel")
        until(lambda: store.jobs.get(job_id).state is State.CANCELLED)
    assert measured(store, job_id).megapixel_steps == pytest.approx(SMALL)


def test_what_never_began_has_cost_nothing(client: FlaskClient, store: JobStore) -> None:
    job_id = submit(client, "a red apple")
    client.post(f"/v1/jobs/{job_id}/cancel")
    assert store.jobs.get(job_id).measured is None


def test_an_adjustment_uses_no_device(client: FlaskClient, parts: Services, light: Worker) -> None:
    params = '{"operation": "adjust", "prompt": "rotate it 90 degrees"}'
    answer = client.post("/v1/jobs", data={"params": params, "image": (BytesIO(png()), "a.png")})
    assert answer.status_code == 202, answer.text
    assert light.run_next()
    cost = measured(parts.store, answer.get_json()["id"])
    assert (cost.device_s, cost.megapixel_steps) == (0.0, 0.0)
    assert "adjusting" in cost.phases


@pytest.mark.parametrize(
    ("plan", "step", "painted"),
    [
        (a_plan(steps=4), 3, 3 * 64 * 64),
        (a_plan(steps=4, seeds=(1, 2)), 5, 5 * 64 * 64),
        (a_plan(steps=4, strength=0.5), 2, 2 * 64 * 64),
        (a_plan(steps=4), 99, 4 * 64 * 64),
        (
            a_plan(
                steps=2,
                seeds=(1, 2),
                passes=(
                    Pass(window=(0, 0, 9, 9), width=10, height=10),
                    Pass(window=(0, 0, 9, 9), width=20, height=10),
                ),
            ),
            7,
            2 * (100 + 200) + 2 * 100 + 200,
        ),
    ],
    ids=["part of an image", "images", "started from an image", "no more than planned", "each pass at its own size"],
)
def test_painted_megapixel_steps(plan: Any, step: int, painted: int) -> None:
    assert plan.megapixel_steps(step) == pytest.approx(painted / 1e6)


def test_a_phase_that_comes_again_is_added_to(client: FlaskClient, store: JobStore) -> None:
    now = [100.0]
    watch = Stopwatch(store.jobs.get(submit(client, "x")), clock=lambda: now[0])
    for phase, seconds in (("loading", 3), ("denoising", 2), ("storing", 1), ("denoising", 4), ("storing", 1)):
        watch.enter(phase, 0)
        now[0] += seconds
    cost = watch.read()
    assert cost.phases == {"loading": 3000, "denoising": 6000, "storing": 2000}
    assert cost.device_s == 9
    seen: list[Measured] = []
    reader = threading.Thread(target=lambda: seen.append(watch.read()))
    reader.start()
    reader.join()
    assert seen == [cost]
