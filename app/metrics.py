"""What the service counts, in Prometheus' terms. Labels take few values: paths are route templates, codes are ours."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.errors import Problem

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "gradd_requests", "Requests answered.", ("endpoint", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "gradd_request_seconds", "Time to answer.", ("endpoint",), registry=self._registry, buckets=_SECONDS
        )
        self._refused = Counter(
            "gradd_refused", "Requests answered with a problem, by its code.", ("code",), registry=self._registry
        )
        self.inflight = Gauge("gradd_inflight", "Requests being answered.", registry=self._registry)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def refused(self, problem: Problem) -> None:
        """Count a problem: by the code of each kind of fault in it, or by its own."""
        for code in {fault.code for fault in problem.faults} or {problem.code}:
            self._refused.labels(code).inc()

    def exposition(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        return generate_latest(self._registry)
