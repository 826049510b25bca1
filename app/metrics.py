"""What the service counts, in Prometheus' terms. Labels take few values: paths are route templates, codes are ours.

Everything is noted on the event loop, counted later, many at a time, and counted in plain numbers: Prometheus' own
counters, with a lock and a lookup for each, would take longer than reading a small request does. They are made only
when somebody asks for them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.errors import Problem

_REQUEST_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PHASE_BOUNDS = (0.00001, 0.000025, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10, 30)


_PHASES = ("parse", "plan", "run", "encode")

_MOST_NOTED = 1000
"""Requests and computations that may wait to be counted."""


class Histogram:
    """How often a duration was within each bound, and what all of them sum to."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, label: str) -> None:
        """Show it as one of a family."""
        total = 0
        buckets = []
        for bound, count in zip([*map(str, map(float, self._bounds)), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric([label], buckets, self._sum)


class Metrics(Collector):
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._answered: list[tuple[str, int, float]] = []
        self._computed: list[tuple[float, float, float, float, bool]] = []
        self._requests: Counter[tuple[str, int]] = Counter()
        self._refused: Counter[str] = Counter()
        self._plans: Counter[str] = Counter()
        self._seconds: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(_REQUEST_BOUNDS))
        self._phases: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(_PHASE_BOUNDS))
        self._lookups: Counter[str] = Counter()
        self._stored: tuple[int, int] | None = None
        self.inflight = 0

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Note a request."""
        self._answered.append((endpoint, status, seconds))
        if len(self._answered) > _MOST_NOTED:
            self._count()

    def refused(self, problem: Problem) -> None:
        """Count a problem: by the code of each kind of fault in it, or by its own."""
        self._refused.update({fault.code for fault in problem.faults} or {problem.code})

    def computed(self, phases: tuple[float, float, float, float, bool]) -> None:
        """Note a computation: the seconds of each phase, and whether its plan was kept."""
        self._computed.append(phases)
        if len(self._computed) > _MOST_NOTED:
            self._count()

    def _count(self) -> None:
        """Count what is noted."""
        for endpoint, status, seconds in self._answered:
            self._requests[endpoint, status] += 1
            self._seconds[endpoint].observe(seconds)
        for *phases, kept in self._computed:
            self._plans["hit" if kept else "miss"] += 1
            for phase, seconds in zip(_PHASES, phases, strict=True):
                self._phases[phase].observe(seconds)
        self._answered.clear()
        self._computed.clear()

    def looked_up(self, found: bool) -> None:
        """Count a call of a registered graph by whether there is one of that id."""
        self._lookups["hit" if found else "miss"] += 1

    def stored(self, graphs: int, size: int) -> None:
        """Take down how many graphs are registered, and their bytes."""
        self._stored = graphs, size

    def collect(self) -> Iterator[Metric]:
        """Yield everything as Prometheus knows it."""
        self._count()
        requests = CounterMetricFamily("gradd_requests", "Requests answered.", labels=("endpoint", "status"))
        for (endpoint, status), count in self._requests.items():
            requests.add_metric([endpoint, str(status)], count)
        refused = CounterMetricFamily(
            "gradd_refused", "Requests answered with a problem, by its code.", labels=["code"]
        )
        plans = CounterMetricFamily("gradd_plans", "Plans asked for: kept (hit) or made (miss).", labels=["found"])
        lookups = CounterMetricFamily(
            "gradd_graph_lookups", "Registered graphs asked for: there (hit) or not (miss).", labels=["found"]
        )
        for family, counter in ((refused, self._refused), (plans, self._plans), (lookups, self._lookups)):
            for label, count in counter.items():
                family.add_metric([label], count)
        seconds = HistogramMetricFamily("gradd_request_seconds", "Time to answer.", labels=["endpoint"])
        phases = HistogramMetricFamily(
            "gradd_phase_seconds", "Time that a computation's phases took.", labels=["phase"]
        )
        for histograms, shown in ((self._seconds, seconds), (self._phases, phases)):
            for label, histogram in histograms.items():
                histogram.add_to(shown, label)
        yield from (requests, refused, plans, lookups, seconds, phases)
        yield GaugeMetricFamily("gradd_inflight", "Requests being answered.", value=self.inflight)
        if self._stored is not None:
            graphs, size = self._stored
            yield GaugeMetricFamily("gradd_graphs", "Graphs that are registered.", value=graphs)
            yield GaugeMetricFamily("gradd_store_bytes", "Bytes that registered graphs count for.", value=size)

    def exposition(self) -> bytes:
        """Return all counters in Prometheus' text format."""
        return generate_latest(self._registry)
