"""Metrics for Prometheus. What is about jobs is read from the tables when it is asked for, so that every web process
says the same; what is about requests is this process's own.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from qwen_image_studio.contract.words import ADJUSTED
from qwen_image_studio.jobs import JobStore
from qwen_image_studio.jobs import tallies as counted
from qwen_image_studio.jobs.queue import OfModel
from qwen_image_studio.jobs.states import CLAIMING
from qwen_image_studio.models.table import Model
from qwen_image_studio.settings import Settings
from qwen_image_studio.web.call_log import CallLog
from qwen_image_studio.web.health import workers_now

_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_USED = (
    (counted.IMAGES, "studio_usage_images", "Pictures that were made."),
    (counted.MEGAPIXEL_STEPS, "studio_usage_megapixel_steps", "Painted megapixels times their steps."),
    (counted.DEVICE_S, "studio_usage_device_seconds", "Seconds for which devices worked."),
)


_OF_TIERS = (
    (counted.TIER_IMAGES, "studio_tier_images", "Pictures that a model painted, by tier."),
    (counted.TIER_DEVICE_S, "studio_tier_device_seconds", "Seconds for which devices worked at them."),
)


class Metrics:
    """The metrics of one web process, and those of the tables."""

    def __init__(self, store: JobStore, settings: Settings, models: Mapping[str, Model], call_log: CallLog) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter("studio_requests", "Requests.", ["route", "method", "status"], registry=self._registry)
        self._seconds = Histogram(
            "studio_request_seconds",
            "Time until the answer began; of routes that wait for news, with the wait.",
            ["route"],
            buckets=_REQUEST_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Tables(store, settings, models, call_log))
        ProcessCollector(registry=self._registry)

    def note(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is its rule, not its address."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them. Raises what the job store raises."""
        return generate_latest(self._registry)


class _Tables(Collector):
    def __init__(self, store: JobStore, settings: Settings, models: Mapping[str, Model], call_log: CallLog) -> None:
        self._store, self._settings, self._models, self._call_log = store, settings, models, call_log

    def collect(self) -> Iterator[Metric]:
        """Yield what the tables say now."""
        yield from self._queue()
        yield from self._workers()
        yield from self._ended()
        held, callbacks = self._store.queue.held(), self._store.outbox.counts()
        yield GaugeMetricFamily("studio_review_held", "Images that wait for a reviewer.", held)
        yield GaugeMetricFamily("studio_deliveries_waiting", "Callbacks that are to be sent.", callbacks.waiting)
        yield GaugeMetricFamily("studio_deliveries_dead", "Callbacks that were given up.", callbacks.dead)
        dropped = self._call_log.dropped
        yield CounterMetricFamily("studio_calls_dropped", "Rows of the call log that were not written.", dropped)

    def _queue(self) -> Iterator[Metric]:
        found, now = self._store.queue.by_model(), self._store.database.now()
        waiting = GaugeMetricFamily("studio_jobs_waiting", "Jobs that wait.", labels=["model"])
        running = GaugeMetricFamily("studio_jobs_running", "Jobs under way.", labels=["model"])
        oldest = GaugeMetricFamily("studio_oldest_waiting_seconds", "Age of the oldest such job.", labels=["model"])
        for model in dict.fromkeys([*self._models, ADJUSTED, *found]):  # 0 is told, too: something may scale by it
            of_model = found.get(model, OfModel())
            waiting.add_metric([model], of_model.waiting)
            running.add_metric([model], of_model.running)
            oldest.add_metric([model], max(0.0, now - (of_model.oldest_at or now)))
        yield from (waiting, running, oldest)

    def _workers(self) -> Iterator[Metric]:
        workers = GaugeMetricFamily("studio_workers", "Worker processes.", labels=["model", "state"])
        numbers: dict[tuple[str, str], int] = {}
        for worker in workers_now(self._store, self._settings):
            series = (worker.model or "", worker.state.value)
            numbers[series] = numbers.get(series, 0) + 1
        for (model, state), number in numbers.items():
            workers.add_metric([model, state], number)
        yield workers

    def _ended(self) -> Iterator[Metric]:
        found = self._store.tallies.read()
        ended = CounterMetricFamily("studio_jobs", "Jobs that have ended.", labels=["model", "outcome"])
        for (model, outcome), value in found.of(counted.ENDED).items():
            ended.add_metric([model, outcome], value)
        yield ended
        cached = CounterMetricFamily(
            "studio_jobs_cached", "Jobs that were answered without painting.", labels=["model", "cache"]
        )
        for (model, how), value in found.of(counted.CACHED).items():
            cached.add_metric([model, how], value)
        yield cached
        for name, shown, about in _USED:
            used = CounterMetricFamily(shown, about, labels=["model"])
            for (model, _), value in found.of(name).items():
                used.add_metric([model], value)
            yield used
        for name, shown, about in _OF_TIERS:
            of_tier = CounterMetricFamily(shown, about, labels=["model", "tier"])
            for (model, tier), value in found.of(name).items():
                of_tier.add_metric([model, tier], value)
            yield of_tier
        yield from _histograms(found)


def _histograms(found: counted.Read) -> Iterator[Metric]:
    phases = HistogramMetricFamily("studio_job_seconds", "Time that jobs spent in a phase.", labels=["model", "phase"])
    claims = HistogramMetricFamily("studio_claim_seconds", "Time of the transaction that claims a job.")
    claimed, sum_s = [0] * (len(counted.CLAIM_SECONDS) + 1), 0.0
    for (model, phase), (numbers, seconds) in found.histograms().items():
        if phase == CLAIMING:
            claimed, sum_s = [a + b for a, b in zip(claimed, numbers, strict=True)], sum_s + seconds
        else:
            phases.add_metric([model, phase], _buckets(phase, numbers), seconds)
    claims.add_metric([], _buckets(CLAIMING, claimed), sum_s)
    yield from (phases, claims)


def _buckets(phase: str, numbers: list[int]) -> list[tuple[str, float]]:
    """Return how many are at or below each bound."""
    bounds = [*(str(bound) for bound in counted.bounds_of(phase)), "+Inf"]
    return list(zip(bounds, map(float, accumulate(numbers)), strict=True))
