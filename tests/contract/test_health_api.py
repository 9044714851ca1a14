"""Health in words for people, and in statuses for probes; nothing untrue in either."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from qwen_image_studio.contract.service import Health
from qwen_image_studio.contract.words import LIGHT_DEVICE, WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.settings import Settings
from qwen_image_studio.system.processes import is_locked, lock
from qwen_image_studio.system.seats import holding, worker_name
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker

STARTING, READY, BUSY, FAILED, LOST = WorkerState
Report = Callable[..., None]


@pytest.fixture
def report(store: JobStore) -> Report:
    """Have a worker, of another host unless told otherwise, say how it is or was so many seconds ago."""

    def report(state: WorkerState, message: str = "", device: str = "cuda:0", age: float = 0, name: str = "") -> None:
        store.workers.note(WorkerReport(name or f"far/{device}", device, state, None, message, time.time() - age))

    return report


def health_of(client: FlaskClient) -> Health:
    answer = client.get("/v1/health")
    assert answer.status_code == 200
    health = Health.model_validate(answer.get_json())
    ready = client.get("/v1/health/ready")
    assert Health.model_validate(ready.get_json()) == health.model_copy(update={"operator": None})
    assert ready.status_code == (200 if can_paint(health) else 503)
    accepts = client.get("/v1/health/accepts")
    assert accepts.get_json() == ready.get_json()
    assert accepts.status_code == (503 if health.queued is None else 200), "whoever is up to paint"
    live = client.get("/v1/health/live")
    assert (live.status_code, live.get_json()["version"]) == (200, health.version)
    return health


def can_paint(health: Health) -> bool:
    return any(each.state in {READY, BUSY} for each in health.workers if each.device != LIGHT_DEVICE)


@pytest.mark.parametrize(
    ("reports", "state", "words"),
    [
        ([], "starting", "No worker"),
        ([(STARTING, "Loading Qwen-Image")], "starting", "Loading Qwen-Image"),
        ([(READY,)], "ready", "Ready"),
        ([(BUSY,)], "busy", "Painting"),
        ([(BUSY,), (READY, "", "cuda:1")], "ready", "Ready"),
        ([(FAILED, "no weights")], "failed", "no weights"),
        ([(FAILED, "no weights"), (READY, "", "cuda:1")], "degraded", "no weights"),
        ([(FAILED, "no weights"), (STARTING, "Loading", "cuda:1")], "starting", "Loading"),
        ([(READY, "", "cuda:0", 30)], "failed", "not been heard of for 30 seconds"),
        ([(READY, "", "cuda:0", 300)], "starting", "No worker"),
        ([(LOST, "The worker ended with signal 9; it is started again.")], "failed", "it is started again"),
        ([(READY,), (LOST, "Stopped.", LIGHT_DEVICE)], "degraded", "adjustments and batches: Stopped."),
        ([(READY,), (READY, "", LIGHT_DEVICE, 300)], "degraded", "adjustments and batches: The worker has not"),
        ([(READY,), (READY, "", LIGHT_DEVICE)], "ready", "Ready"),
        ([(READY, "", LIGHT_DEVICE)], "starting", "No worker"),
    ],
)
def test_health(
    client: FlaskClient, report: Report, reports: list[tuple[WorkerState, str, str, float]], state: str, words: str
) -> None:
    for each in reports:
        report(*each)
    health = health_of(client)
    assert (health.service, health.state) == ("qwen-image-studio", state)
    assert words in health.message


def test_equal_devices_of_several_hosts_are_told_apart(client: FlaskClient, store: JobStore) -> None:
    for host, state in (("gpu1", READY), ("gpu2", FAILED)):
        report = WorkerReport(f"{host}/cuda:0/1", "cuda:0", state, None, "no weights", time.time(), host=host)
        store.workers.note(report)
    health = health_of(client)
    assert [(worker.host, worker.device, worker.state) for worker in health.workers] == [
        ("gpu1", "cuda:0", READY),
        ("gpu2", "cuda:0", FAILED),
    ]
    assert (health.state, health.message) == ("degraded", "gpu2, cuda:0: no weights")


@pytest.mark.parametrize(("device", "others"), [("cuda:0", READY), (LIGHT_DEVICE, READY), ("cuda:0", LOST)])
def test_a_worker_that_was_stopped_is_told_of_where_none_of_its_kind_goes_on(
    client: FlaskClient, report: Report, device: str, others: WorkerState
) -> None:
    report(READY, device="cuda:7")
    report(LOST, "Stopped.", device, name="h/a", age=1)
    report(others, "", device, name="h/b")
    expected = "ready" if device == "cuda:0" or others is READY else "degraded"
    assert health_of(client).state == expected
    assert not [worker for worker in health_of(client).workers if worker.state is LOST]


@pytest.mark.parametrize("state", [READY, BUSY])
def test_a_worker_of_this_host_lives_for_as_long_as_its_lock_is_held(
    client: FlaskClient, report: Report, settings: Settings, state: WorkerState
) -> None:
    report(state, device="cpu", name=worker_name("cpu"))
    with holding(settings.data_dir, "cpu"):
        assert health_of(client).state == state.value
    health = health_of(client)
    assert (health.state, health.workers[0].state) == ("failed", LOST)
    assert "process has ended" in health.message
    assert "restarted" not in health.message


def test_a_worker_that_starts_may_not_hold_its_lock_yet(client: FlaskClient, report: Report) -> None:
    report(STARTING, "Starting.", device="cpu", name=worker_name("cpu"))
    assert health_of(client).state == "starting"


def test_a_worker_that_was_started_again_is_not_ready_by_the_report_of_the_one_before(
    client: FlaskClient, report: Report, settings: Settings
) -> None:
    """B10: the report of a worker that was killed stays, where the database is too busy to note its end."""
    with holding(settings.data_dir, "cpu", "h/cpu/before"):
        report(READY, device="cpu", name="h/cpu/before")
        assert health_of(client).state == "ready"
    with holding(settings.data_dir, "cpu"):
        health = health_of(client)
        assert (health.state, health.workers[0].state) == ("starting", STARTING)
        assert "has not reported yet" in health.message
        report(READY, device="cpu", name=worker_name("cpu"))
        assert health_of(client).state == "ready"


@pytest.mark.parametrize("state", [READY, BUSY, STARTING])
def test_a_worker_that_lives_and_cannot_report_is_not_said_to_be_started_again(
    client: FlaskClient, report: Report, settings: Settings, state: WorkerState
) -> None:
    """B10: a full disk or a locked database keeps reports from being written, and nothing is restarted then."""
    with holding(settings.data_dir, "cpu"):
        report(state, device="cpu", name=worker_name("cpu"), age=20)
        health = health_of(client)
        assert health.state == "failed"
        assert "lives, but has not reported for 20 seconds" in health.message
        for cause in ("full disk", "locked database"):
            assert cause in health.message
        assert "started again" not in health.message


def test_looking_at_a_lock_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "worker.lock"
    assert not is_locked(path)
    for _ in range(3):
        with lock(path, wait=False):
            assert is_locked(path)
        assert not is_locked(path)


@pytest.mark.parametrize("content", [b"this is no database" * 500, None], ids=["damaged", "gone"])
def test_a_database_that_cannot_be_read_is_a_state_and_no_error(
    client: FlaskClient, parts: Services, report: Report, content: bytes | None
) -> None:
    report(READY)
    parts.store.database.engine.dispose()
    database = parts.settings.data_dir / "studio.sqlite"
    for path in database.parent.glob("studio.sqlite*"):
        path.unlink()
    if content is not None:
        database.write_bytes(content)
    health = health_of(client)
    assert (health.state, health.queued, health.running, health.workers) == ("failed", None, None, [])
    assert "cannot be used" in health.message


def test_health_says_nothing_of_a_job_that_failed(client: FlaskClient, light: Worker) -> None:
    """It is open to everybody, and errors quote what their callers sent."""
    job = {"operation": "edit", "image": "{{which}}", "prompt": "x"}
    answer = client.post("/v1/jobs", json={"operation": "batch", "job": job, "rows": [{"which": "private-name"}]})
    while light.run_next():
        pass
    assert "private-name" in client.get(f"/v1/jobs/{answer.get_json()['id']}").get_json()["error"]["message"]
    assert "private-name" not in client.get("/v1/health").text
