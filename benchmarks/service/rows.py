"""Rows of the service: rates and times of scenarios, and the time of a health check during large requests."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice

from benchmarks.effort import Effort
from benchmarks.results import Row, Target
from benchmarks.service.client import HttpRequest, RequestFailed, rate, sender
from benchmarks.service.exchanges import Scenario, ScenarioRequest, large_json
from benchmarks.service.servers import SERVERS, running
from benchmarks.service.short_requests import SHORT, ShortRequest
from benchmarks.timing import compare, interleaved

RTOL = 1e-12
HEALTH = "health"
HEALTH_WORK = "99th percentile of health's answers while two requests with 1 M float64 in JSON run"
POLLS, ROUND_SECONDS = 200, 4
"""Health requests in a round, five milliseconds apart, and the maximum seconds of a round."""


def scenario_rows(scenario: Scenario, effort: Effort) -> tuple[Row]:
    """Return the row of a scenario, as a tuple of one."""
    row = Row(scenario.name, scenario.work, scenario.quantity, targets=scenario.targets, note=scenario.note)
    try:
        with _contestants(scenario) as contestants:
            differences = _differences(contestants)
            if differences:
                return (replace(row, fault="; ".join(differences)),)
            samples = _rates(contestants, effort) if scenario.quantity == "rate" else _times(contestants, effort)
            return (replace(row, samples=samples),)
    except RequestFailed as error:
        return (replace(row, fault=str(error)),)


@contextlib.contextmanager
def _contestants(scenario: Scenario) -> Iterator[dict[str, tuple[int, ScenarioRequest]]]:
    """A context in which all servers run, with the port and the request of each contestant by name."""
    with contextlib.ExitStack() as stack:
        gradd = stack.enter_context(running(SERVERS["gradd"]))
        requests = scenario.requests(gradd, **scenario.sizes)
        with sender(gradd, requests["gradd"].request) as send:
            size = len(send())
        ports = {"gradd": gradd}
        for name in {one.server for one in requests.values()} - {"gradd"}:
            ports[name] = stack.enter_context(running(SERVERS[name], REPLY_BYTES=str(size)))
        yield {name: (ports[one.server], one) for name, one in requests.items()}


def _differences(contestants: Mapping[str, tuple[int, ScenarioRequest]]) -> list[str]:
    """Return the differences of the gradients in the replies from gradd's gradients."""
    found = {}
    for name, (port, contestant) in contestants.items():
        if contestant.read is not None:
            with sender(port, contestant.request) as send:
                found[name] = [contestant.read(bytes(send()))]
    return compare(found, RTOL)


def _rates(contestants: Mapping[str, tuple[int, ScenarioRequest]], effort: Effort) -> dict[str, list[float]]:
    def once(name: str) -> float:
        port, contestant = contestants[name]
        return rate(port, contestant.request, effort.wrk_seconds)

    for name in contestants:
        once(name)
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(effort.rounds):
        for name, taken in samples.items():
            taken.append(once(name))
    return samples


def _times(contestants: Mapping[str, tuple[int, ScenarioRequest]], effort: Effort) -> dict[str, list[float]]:
    with contextlib.ExitStack() as stack:
        turns = {
            name: partial(_seconds, stack.enter_context(sender(port, contestant.request)))
            for name, (port, contestant) in contestants.items()
        }
        return interleaved(turns, rounds=effort.rounds, seconds=effort.seconds)


def _seconds(send: Callable[[], bytes | memoryview], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        send()
    return time.perf_counter() - begin


def health_rows(effort: Effort) -> tuple[Row]:
    """Return the row of health's slowest answers, as a tuple of one."""
    targets = (Target(0.02),)
    with running(SERVERS["gradd"]) as port:
        request = large_json(port, 1_000_000)["gradd"].request
        over = threading.Event()
        busy = [threading.Thread(target=_send_until, args=(port, request, over)) for _ in range(2)]
        for thread in busy:
            thread.start()
        time.sleep(1)
        samples = [_slowest(port) for _ in range(effort.rounds)]
        over.set()
        for thread in busy:
            thread.join()
    return (Row(HEALTH, HEALTH_WORK, "time", {"gradd": samples}, targets),)


SHORT_REQUESTS = "short_requests"
SHORT_WORK = "health's slowest answer while one short request with long work is answered"


def short_rows(effort: Effort) -> list[Row]:
    """Return a row for each short request: health's slowest answer during the request, with a target of 50 ms."""
    with running(SERVERS["gradd"]) as port:
        return [_short_row(port, name, short, effort) for name, short in SHORT.items()]


def _short_row(port: int, name: str, short: ShortRequest, effort: Effort) -> Row:
    request = HttpRequest(f"/v1/{short.operation}", short.body, short.media_type, short.headers)
    samples = []
    for _ in range(effort.rounds):
        sending = threading.Thread(target=_send_once, args=(port, request))
        sending.start()
        samples.append(max(_health(port, sending.is_alive)))
        sending.join()
    return Row(name, f"health beside {short.work}", "time", {"gradd": samples}, (Target(0.05),))


def _send_once(port: int, request: HttpRequest) -> None:
    with sender(port, request) as send, contextlib.suppress(RequestFailed):  # the service rejects several of them
        send()


def _send_until(port: int, request: HttpRequest, over: threading.Event) -> None:
    with sender(port, request) as send:
        while not over.is_set():
            send()


def _slowest(port: int) -> float:
    """Return the 99th percentile of health's times, in seconds."""
    end = time.perf_counter() + ROUND_SECONDS
    return statistics.quantiles(islice(_health(port, lambda: time.perf_counter() < end), POLLS), n=100)[-1]


def _health(port: int, lasts: Callable[[], bool]) -> Iterator[float]:
    """Yield the seconds of a health request, every five milliseconds while `lasts()` is True; at least one."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        while True:
            begin = time.perf_counter()
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            yield time.perf_counter() - begin
            if not lasts():
                return
            time.sleep(0.005)
