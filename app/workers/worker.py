"""A worker process: answers one call after the other. `app.workers.fork_server` forks it, and may kill it at any time.

A call's IPC message names the codecs and the number of other workers that compute now, which share the cores. The body
is the client's, unread, in the message or in shared memory; in the second case the reply is written there too. A worker
first sends the deadline that the client set, so that the server can enforce it. It then sends the answer, the problem,
or the traceback of a defect of the service, always with the usage of its caches.
"""

from __future__ import annotations

import socket
import sys
import traceback
from contextlib import ExitStack

from app.errors import Busy, ProblemError
from app.evaluation.evaluator import Call, Evaluator, Observer
from app.evaluation.structure import Key
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
    evaluator = Evaluator(settings)
    while True:
        try:
            header, body, descriptors = receive(connection)
            mapping = mappings.mapping(header["segment"], descriptors) if "segment" in header else None
            reply, written = _answer(evaluator, _call(header, body, mapping), header, _Reporter(connection))
            reply["caches"] = {name: tuple(usage) for name, usage in evaluator.caches.items()}
            if mapping is not None and mapping.reply_range:
                reply, written = {**reply, "reply_range": mapping.reply_range}, b""
            del body
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


def _answer(evaluator: Evaluator, call: Call, header: Header, reporter: _Reporter) -> tuple[Header, bytes | memoryview]:
    """Return header and body of the answer. `spent` in the header says that the worker reached its memory limit."""
    try:
        with ExitStack() as others:
            for _ in range(header["others"]):
                others.enter_context(computing())
            answer = evaluator.answer(call, header["deadline"], reporter)
    except ProblemError as problem:
        return {"problem": problem.packed(), "spent": isinstance(problem, Busy)}, b""
    except Exception:  # noqa: BLE001  # the server raises it again and logs it
        return {"failed": traceback.format_exc()}, b""
    return {"timings": tuple(answer.timings), "began": answer.began, "seconds": reporter.seconds}, answer.body
