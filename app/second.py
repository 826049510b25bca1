"""A worker's second: a process that reads half of a long list and writes half of a long reply, as the worker does the
other half. What reads and writes JSON holds the interpreter's lock, so a thread would only wait.

The body is in a segment that both see, and so is what they hand each other. A second that is lost is not missed: the
worker does what it left. It ends with its worker, however that ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np

from app.forked import die_with_parent
from app.frames import Closed, Header, receive, send
from app.segments import Mappings, Sheet
from app.wire.beside import Array, Piece
from app.wire.json_reply import rows
from app.wire.numbers import NotPlain, parsed


class Second:
    """The second as its worker sees it, who has the segments of `mappings`; `connection` leads to it."""

    def __init__(self, connection: socket.socket, mappings: Mappings) -> None:
        self._connection, self._mappings = connection, mappings
        self._known: set[int] = set()

    def beside(self, number: int, sheet: Sheet) -> OfSheet:
        """Return what does a part of the work on the segment of that number."""
        return OfSheet(self, number, sheet)

    def ask(self, number: int, size: int, job: Header) -> Callable[[], Header | None]:
        """Ask for a job on a segment with a body of this size. Return how to wait for what it tells."""
        told, descriptors = self._mappings.told(self._known, number, size)
        with suppress(OSError):
            send(self._connection, {**job, "segment": told}, descriptors=descriptors)
        return self._heard

    def _heard(self) -> Header | None:
        try:
            header, _, _ = receive(self._connection)
        except (Closed, OSError):
            return None
        return None if "failed" in header else header


class OfSheet:
    """The second at work on one segment."""

    def __init__(self, second: Second, number: int, sheet: Sheet) -> None:
        self._second, self._number, self._sheet = second, number, sheet

    def read(self, begin: int, end: int, kind: str) -> Callable[[], Piece | None]:
        """Read the numbers in a part of the body. They stand in the scratch, and the marks behind them."""
        wait = self._ask({"job": "read", "begin": begin, "end": end, "kind": kind})

        def piece() -> Piece | None:
            told = wait()
            if told is None:
                return None
            numbers, marks = self._sheet.scratch(told["numbers"], told["marks"])
            return Piece(np.frombuffer(numbers, told["dtype"]), bytes(marks), end - begin)

        return piece

    def write(self, array: Array) -> Callable[[], memoryview | None]:
        """Write an array, which is put in the scratch; so is the text, behind it."""
        size = array.nbytes
        try:
            [place] = self._sheet.scratch(size)
        except BufferError:
            return lambda: None
        np.copyto(np.frombuffer(place, array.dtype).reshape(array.shape), array)
        wait = self._ask({"job": "write", "dtype": array.dtype.str, "shape": array.shape})

        def text() -> memoryview | None:
            told = wait()
            return None if told is None else self._sheet.scratch(size, told["text"])[1]

        return text

    def _ask(self, job: Header) -> Callable[[], Header | None]:
        return self._second.ask(self._number, len(self._sheet.body), job)


def forked(mappings: Mappings) -> Second:
    """Return a second of this process, which has no threads yet."""
    ours, theirs = socket.socketpair()
    if not os.fork():
        _live(ours, theirs)
    theirs.close()
    return Second(ours, mappings)


def _live(worker: socket.socket, connection: socket.socket) -> NoReturn:
    """Be a second, until the worker is gone."""
    with suppress(BaseException):
        worker.close()
        die_with_parent()
        serve(connection)
    os._exit(0)


def serve(connection: socket.socket) -> None:
    """Do one job after the other. Raises Closed when the worker is gone."""
    mappings = Mappings()
    while True:
        job, _, descriptors = receive(connection)
        sheet = mappings.sheet(job["segment"], descriptors)
        try:
            told = _JOBS[job["job"]](sheet, job)
        except (NotPlain, BufferError, MemoryError):
            told = {"failed": True}
        send(connection, told)


def _read(sheet: Sheet, job: Header) -> Header:
    """Put the numbers in the scratch, and the marks behind them. Raises NotPlain, and BufferError where room lacks."""
    size, marks, dtype = 0, [], ""
    for piece in parsed(sheet.body[job["begin"] : job["end"]], job["kind"]):
        sheet.scratch(size, piece.numbers.nbytes)[1][:] = piece.numbers.data.cast("B")
        size += piece.numbers.nbytes
        marks.append(piece.marks)
        dtype = piece.numbers.dtype.str
    together = b",".join(marks)
    sheet.scratch(size, len(together))[1][:] = together
    return {"numbers": size, "marks": len(together), "dtype": dtype}


def _write(sheet: Sheet, job: Header) -> Header:
    """Put the text of the array in the scratch behind it. Raises BufferError where room lacks."""
    dtype = np.dtype(job["dtype"])
    begin = int(np.prod(job["shape"])) * dtype.itemsize
    array = np.frombuffer(sheet.scratch(begin)[0], dtype).reshape(job["shape"])
    size = 0
    for piece in rows(array):
        sheet.scratch(begin + size, len(piece))[1][:] = piece
        size += len(piece)
    return {"text": size}


_JOBS: dict[str, Callable[[Sheet, Header], dict[str, Any]]] = {"read": _read, "write": _write}
