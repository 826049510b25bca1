"""A worker process: it answers one call after the other, and may be killed at any moment. `app.workers.fork_server`
makes it.

A call's frame names the codecs, and how many other workers compute at that moment: they have cores too. Its body is the
client's, unread, or stands in a segment of memory, and then the reply is written there too. While it computes, a worker
tells when the client wants the call to be over, so that the server can hold it to that; then it sends the answer, the
problem, or, if the service itself failed, the traceback.
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
            sheet = mappings.sheet(header["segment"], descriptors) if "segment" in header else None
            reply, written = _answered(evaluator, _call(header, body, sheet), header, _Teller(connection))
            if sheet is not None and sheet.stands:
                reply, written = {**reply, "stands": sheet.stands}, b""
            del body
            send(connection, reply, written)
        except (Closed, OSError):
            return


def _call(header: Header, body: bytearray, sheet: SharedMapping | None) -> Call:
    return Call(
        header["operation"],
        memoryview(body) if sheet is None else sheet.body,
        CODECS[header["reads"]],
        CODECS[header["writes"]],
        header["graph"],
        b"".join if sheet is None else sheet.put,
    )


def _bound_memory(most: int) -> None:
    """Let allocations beyond `most` bytes fail, where the system counts what a process writes to (Linux)."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415  # exists on Unix alone

        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


class _Teller(Observer):
    """Tells the server what a call turned out to be, before it is computed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.seconds = 0.0

    def due(self, deadline: float | None) -> None:
        """Tell the deadline."""
        send(self._connection, {"deadline": deadline})

    def running(self, key: Key, seconds: float) -> None:  # noqa: ARG002
        """Keep the prediction for the answer."""
        self.seconds = seconds


def _answered(evaluator: Evaluator, call: Call, header: Header, teller: _Teller) -> tuple[Header, bytes | memoryview]:
    """Return the frame of the answer. A worker that met the bound on its memory says that it is spent."""
    try:
        with ExitStack() as others:
            for _ in range(header["others"]):
                others.enter_context(computing())
            answer = evaluator.answer(call, header["deadline"], teller)
    except ProblemError as problem:
        return {"problem": problem.packed(), "spent": isinstance(problem, Busy)}, b""
    except Exception:  # noqa: BLE001  # it is raised again in the server, whose log has it
        return {"failed": traceback.format_exc()}, b""
    return {"timings": tuple(answer.timings), "seconds": teller.seconds}, answer.body
