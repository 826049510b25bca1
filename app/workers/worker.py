"""A worker process: answers one call after the other. `app.workers.fork_server` forks it, and may kill it at any time.

A call's IPC message names the codecs and the number of other workers that compute now, which share the cores. The body
is the client's, unread, in the message or in shared memory; in the second case the reply is written there too. A worker
first sends the deadline that the client set, so that the server can enforce it. It then sends the answer, the problem,
or the traceback of a defect of the service, always with the usage of its caches.
"""

from __future__ import annotations

import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from app.errors import Busy, ProblemError
from app.evaluation.evaluator import Answer, Call, Evaluator, Observer, Timings
from app.evaluation.structure import Key
from app.graphs import registration
from app.graphs.registered import RegisteredGraphs
from app.graphs.store.store import Store
from app.settings import Settings
from app.wire.codec import CODECS
from app.workers import collector
from app.workers.ipc import Closed, Header, receive, send
from app.workers.shared_memory import Mappings, SharedMapping
from engine import computing


def work(connection: socket.socket, settings: Settings) -> None:
    """Answer calls until the server closes the connection."""
    _bound_memory(settings.worker_memory_bytes)
    collector.configure()
    mappings = Mappings()
    evaluator = Evaluator(settings, RegisteredGraphs(Store(settings, makes=False), settings))
    while True:
        try:
            header, body, descriptors = receive(connection)
            mapping = mappings.mapping(header["segment"], descriptors) if "segment" in header else None
            call = _call(header, body, mapping)
            if call.operation == REGISTRATION:
                work = partial(_registration, call, settings, header["deadline"])
            else:
                work = partial(_computation, evaluator, call, header, _Reporter(connection))
            reply, written = _answer(work)
            reply["caches"] = {name: tuple(usage) for name, usage in evaluator.caches.items()}
            if mapping is not None and mapping.reply_range:
                reply, written = {**reply, "reply_range": mapping.reply_range}, b""
            del body, call, work
            send(connection, reply, written)
        except (Closed, OSError):
            return


def _call(header: Header, body: bytearray, mapping: SharedMapping | None) -> Call:
    return Call(
        header["operation"],
        memoryview(body) if mapping is None else mapping.body,
        CODECS[header["reads"]],
        CODECS[header["writes"]],
        header["graph"],
        b"".join if mapping is None else mapping.put,
    )


def _bound_memory(most: int) -> None:
    """Limit the memory of this process to `most` bytes (Linux). Allocations beyond it fail."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415  # exists on Unix alone

        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


class _Reporter(Observer):
    """Observer that sends a call's deadline to the server, and stores its predicted time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.seconds = 0.0

    def due(self, deadline: float | None) -> None:
        """Send the deadline."""
        send(self._connection, {"deadline": deadline})

    def running(self, key: Key, seconds: float) -> None:  # noqa: ARG002
        """Store the predicted seconds for the answer."""
        self.seconds = seconds


REGISTRATION = "register"
"""The operation of a call whose body is a graph to register. The answer is `app.graphs.registration.packed`."""

_UNTIMED = Timings(0.0, 0.0, 0.0, 0.0, kept=False)


def _answer(work: Callable[[], tuple[Answer, float]]) -> tuple[Header, bytes | memoryview]:
    """Return header and body of the answer. `spent` in the header says that the worker reached its memory limit.

    `work` returns the answer and its predicted seconds.
    """
    try:
        answer, seconds = work()
    except ProblemError as problem:
        return {"problem": problem.packed(), "spent": isinstance(problem, Busy)}, b""
    except Exception:  # noqa: BLE001  # the server raises it again and logs it
        return {"failed": traceback.format_exc()}, b""
    return {"timings": tuple(answer.timings), "began": answer.began, "seconds": seconds}, answer.body


def _computation(evaluator: Evaluator, call: Call, header: Header, reporter: _Reporter) -> tuple[Answer, float]:
    with ExitStack() as others:
        for _ in range(header["others"]):
            others.enter_context(computing())
        return evaluator.answer(call, header["deadline"], reporter), reporter.seconds


def _registration(call: Call, settings: Settings, deadline: float) -> tuple[Answer, float]:
    began = time.perf_counter()
    try:
        kept, needs = registration.read(bytes(call.body), call.reads, settings, deadline)
        return Answer(registration.packed(kept, needs), _UNTIMED, began=began), 0.0
    except MemoryError:
        raise Busy("The server has no memory for this graph now.", settings.retry_after_s) from None
