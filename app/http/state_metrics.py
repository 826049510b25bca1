"""Metrics of the state of slots, workers and caches, read for each exposition. `app.http.services` adds them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.evaluation.evaluator import Evaluator
from app.http.middleware import Slots
from app.workers.pool import ENDINGS, Workers


class StateMetrics(Collector):
    """The metrics of one application's slots, workers and caches."""

    def __init__(self, slots: Slots, workers: Workers, evaluator: Evaluator) -> None:
        self._slots, self._workers, self._evaluator = slots, workers, evaluator

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield GaugeMetricFamily("gradd_slots", "Requests that may compute or wait at a time.", value=self._slots.most)
        yield GaugeMetricFamily("gradd_slots_taken", "Requests that compute or wait.", value=self._slots.taken)
        yield from self._of_workers()
        yield from self._of_caches()

    def _of_workers(self) -> Iterator[Metric]:
        workers = self._workers
        yield GaugeMetricFamily("gradd_workers", "Worker processes that the server keeps.", value=workers.most)
        yield GaugeMetricFamily("gradd_workers_alive", "Worker processes that run.", value=workers.alive)
        yield GaugeMetricFamily("gradd_workers_busy", "Worker processes that compute.", value=workers.busy)
        yield GaugeMetricFamily("gradd_worker_queue", "Calls that wait for a worker process.", value=workers.waiting)
        restarts = CounterMetricFamily(
            "gradd_worker_restarts", "Worker processes that were replaced, by the reason.", labels=["reason"]
        )
        for ending in ENDINGS:
            restarts.add_metric([ending], workers.endings[ending])
        yield restarts

    def _of_caches(self) -> Iterator[Metric]:
        """Yield the usage of the caches of the server process and of all workers."""
        labels = ["cache", "process"]
        entries = GaugeMetricFamily("gradd_cache_entries", "Values in the caches.", labels=labels)
        size = GaugeMetricFamily("gradd_cache_bytes", "Bytes that the values in the caches take.", labels=labels)
        lookups = CounterMetricFamily(
            "gradd_cache_lookups", "Lookups in the caches: found (hit) or not (miss).", labels=[*labels, "found"]
        )
        for process, caches in (("server", self._evaluator.caches), ("workers", self._workers.caches)):
            for name, usage in caches.items():
                entries.add_metric([name, process], usage.entries)
                size.add_metric([name, process], usage.weight)
                lookups.add_metric([name, process, "hit"], usage.hits)
                lookups.add_metric([name, process, "miss"], usage.misses)
        yield from (entries, size, lookups)
