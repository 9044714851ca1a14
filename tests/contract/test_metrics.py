"""Numbers for Prometheus, from the tables when they are asked for; and the dashboard that is drawn of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from qwen_image_studio.contract.words import Lane, Scope, WorkerState
from qwen_image_studio.jobs import JobStore, WorkerReport
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.app import create_app
from qwen_image_studio.web.routing import Services
from qwen_image_studio.worker.loop import Worker
from tests.support import ROOT

ASK = {"operation": "generate", "prompt": "a red apple", "steps": 2, "width": 128, "height": 128}
DASHBOARD = ROOT / "examples/grafana/dashboard.json"
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(client: FlaskClient) -> Series:
    """What is served: values by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float | None:
    """One value; None where there is no such series."""
    return series.get((name, tuple(sorted(labels.items()))))


def test_the_queue_is_told_by_model_as_the_table_has_it(client: FlaskClient, store: JobStore, parts: Services) -> None:
    for _ in range(3):
        client.post("/v1/jobs", json=ASK)
    store.leases.claim("w1", Lane.PAINT, ["miniature"])
    store.workers.note(WorkerReport("far/cuda:0", "cuda:0", WorkerState.BUSY, "miniature", "", 4e9))
    seen = scraped(client)
    assert value(seen, "studio_jobs_waiting", model="miniature") == 2
    assert value(seen, "studio_jobs_running", model="miniature") == 1
    assert (value(seen, "studio_oldest_waiting_seconds", model="miniature") or 0) > 0
    assert value(seen, "studio_jobs_waiting", model="cv") == 0
    assert value(seen, "studio_workers", model="miniature", state="busy") == 1
    other = create_app(parts.settings, parts.models).test_client()  # another web process
    assert value(scraped(other), "studio_jobs_waiting", model="miniature") == 2


def test_what_ended_is_counted_with_its_outcome_and_its_phases(client: FlaskClient, worker: Worker) -> None:
    client.post("/v1/jobs", json={**ASK, "n": 2})
    client.post("/v1/jobs", json={**ASK, "prompt": "bug@1 always"})
    while worker.run_next():
        pass
    cancelled = client.post("/v1/jobs", json=ASK).get_json()["id"]
    client.post(f"/v1/jobs/{cancelled}/cancel")
    seen = scraped(client)
    for outcome in ("succeeded", "failed:engine_failed", "cancelled"):
        assert value(seen, "studio_jobs_total", model="miniature", outcome=outcome) == 1
    phase = {"model": "miniature", "phase": "denoising"}
    assert value(seen, "studio_job_seconds_count", **phase) == 2
    assert (value(seen, "studio_job_seconds_sum", **phase) or 0) > 0
    assert value(seen, "studio_job_seconds_bucket", le="+Inf", **phase) == 2
    assert value(seen, "studio_claim_seconds_count") == 2
    assert value(seen, "studio_usage_images_total", model="miniature") == 2
    assert value(seen, "studio_usage_megapixel_steps_total", model="miniature") == pytest.approx(
        (2 * 2 + 1) * 128 * 128 / 1e6
    )


def test_pictures_and_their_seconds_are_counted_by_tier(client: FlaskClient, worker: Worker) -> None:
    for tier in ("quality", "turbo", "turbo"):
        client.post("/v1/jobs", json={**ASK, "tier": tier})
    while worker.run_next():
        pass
    seen = scraped(client)
    for tier, number in (("quality", 1), ("turbo", 2)):
        assert value(seen, "studio_tier_images_total", model="miniature", tier=tier) == number
        assert (value(seen, "studio_tier_device_seconds_total", model="miniature", tier=tier) or 0) > 0


def test_a_counter_never_shrinks_whatever_is_deleted(
    client: FlaskClient, store: JobStore, worker: Worker, parts: Services
) -> None:
    job_id = client.post("/v1/jobs", json=ASK).get_json()["id"]
    assert worker.run_next()
    before = scraped(client)
    client.delete(f"/v1/jobs/{job_id}")
    while store.calls.prune(4e9):
        pass
    after = scraped(create_app(parts.settings, parts.models).test_client())  # the process was started again
    for (name, labels), number in before.items():
        if name.startswith(("studio_jobs_total", "studio_job_seconds", "studio_usage", "studio_tier", "studio_claim")):
            assert after[name, labels] >= number, name


def test_rows_of_a_batch_are_counted_and_the_batch_is_not(client: FlaskClient, light: Worker, worker: Worker) -> None:
    body = {"operation": "batch", "job": {**ASK, "prompt": "{{a}}"}, "rows": [{"a": "x"}, {"a": "y"}]}
    client.post("/v1/jobs", json=body)
    while light.run_next() or worker.run_next():
        pass
    totals = {labels: number for (name, labels), number in scraped(client).items() if name == "studio_jobs_total"}
    assert totals == {(("model", "miniature"), ("outcome", "succeeded")): 2}


def test_requests_are_counted_by_route_and_not_by_address(client: FlaskClient) -> None:
    for path in ("/v1/jobs/job_1", "/v1/jobs/job_2", "/made/up/1", "/made/up/2"):
        client.get(path)
    client.open("/v1/jobs", method="BREW")
    seen = scraped(client)
    assert value(seen, "studio_requests_total", route="/v1/jobs/<job_id>", method="GET", status="404") == 2
    assert value(seen, "studio_requests_total", route="none", method="GET", status="404") == 2
    assert value(seen, "studio_requests_total", route="none", method="other", status="405") == 1
    assert value(seen, "studio_request_seconds_count", route="/v1/jobs/<job_id>") == 2


def test_metrics_need_the_scope_unless_they_are_open(settings: Settings, client: FlaskClient, parts: Services) -> None:
    keys = {scope: parts.keys.add(scope.value, "shop", [scope]) for scope in Scope}
    assert client.get("/metrics").status_code == 401
    for scope, key in keys.items():
        status = client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code
        assert status == (200 if scope is Scope.OPERATE else 403)
    opened = settings.model_copy(update={"metrics_open": True})
    anybody = create_app(opened, parts.models).test_client()
    assert anybody.get("/metrics").status_code == 200
    assert anybody.get("/v1/queue").status_code == 401


# -- the dashboard -------------------------------------------------------------------------------------------------


def queries(panel: Any) -> Iterator[str]:
    """Every query in a dashboard."""
    if isinstance(panel, dict):
        if isinstance(panel.get("expr"), str):
            yield panel["expr"]
        if isinstance(panel.get("query"), str) and "studio_" in panel["query"]:
            yield panel["query"]
        for each in panel.values():
            yield from queries(each)
    elif isinstance(panel, list):
        for each in panel:
            yield from queries(each)


def named(query: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics of a query, each with the labels that are asked of it."""
    grouped = {name.strip() for match in re.findall(r"\bby \(([^)]*)\)", query) for name in match.split(",")}
    for name, _, selector in re.findall(r"\b(studio_\w+)(\{([^}]*)\})?", query):
        yield name, grouped | set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))


@pytest.fixture
def served(app: Flask, client: FlaskClient, store: JobStore, worker: Worker) -> dict[str, set[str]]:
    """The labels of each metric that a server serves which has done a little of everything."""
    client.post("/v1/jobs", json=ASK)
    assert worker.run_next()
    assert client.post("/v1/jobs", json={**ASK, "cache": True}).get_json()["cached"]
    found: dict[str, set[str]] = {}
    for name, labels in scraped(client):
        found.setdefault(name, set()).update(label for label, _ in labels)
    return found


def test_every_metric_of_the_dashboard_is_served_with_its_labels(served: dict[str, set[str]]) -> None:
    asked = [each for query in queries(json.loads(DASHBOARD.read_text())) for each in named(query)]
    assert len(asked) >= 15
    for name, labels in asked:
        assert name in served, name
        assert labels <= served[name], (name, labels - served[name])


def test_every_metric_of_ours_is_on_the_dashboard(served: dict[str, set[str]]) -> None:
    text = DASHBOARD.read_text()
    ours = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in served if name.startswith("studio_")}
    assert not [name for name in ours if name not in text]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sum by (model) (studio_jobs_waiting)", [("studio_jobs_waiting", {"model"})]),
        ('rate(studio_x_total{a="1",b=~".*"}[5m])', [("studio_x_total", {"a", "b"})]),
        ("up", []),
    ],
)
def test_what_a_query_asks_for_is_understood(query: str, found: list[tuple[str, set[str]]]) -> None:
    assert list(named(query)) == found
