"""A worker's second reads and writes as the worker does: the same numbers and the same bytes, and it is not missed."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import segments
from app.frames import Closed
from app.second import OfSheet, Second, serve
from app.segments import Mappings
from app.wire import json_reply, numbers
from app.wire.codec import JSON
from app.wire.numbers import Numbers
from engine.types import DTYPES
from tests.app.wire.test_numbers import IRREGULAR, REGULAR, damaged
from tests.app.wire.test_pieces import any_array

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no such memory")

SIZE = 2**20
Given = Callable[[bytes], tuple[OfSheet, memoryview]]


@pytest.fixture(scope="module", autouse=True)
def everything_is_worthwhile() -> Iterator[None]:
    """Short texts and arrays are divided, in pieces of a few numbers."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (segments, "_SCRATCH", SIZE // 2),
            (numbers, "_WORTHWHILE", 2),
            (numbers, "_PIECE", 30),
            (json_reply, "_WORTHWHILE", 1),
            (json_reply, "_ROUND", 100),
            (json_reply, "_PIECE", 3),
            (json_reply, "LONG", 9),
        ):
            patch.setattr(module, name, value)
        yield


def second_of(connection: socket.socket, size: int) -> Given:
    """Return what gives the second at work on a body, and the body."""
    mappings = Mappings()
    second = Second(connection, mappings)
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, size)

    def given_body(body: bytes) -> tuple[OfSheet, memoryview]:
        told = {"number": 1, "size": len(body), "closed": []}
        sheet = mappings.sheet(told, [] if mappings._mapped else [descriptor])
        sheet.body[:] = body
        return second.beside(1, sheet), sheet.body

    return given_body


@pytest.fixture(scope="module")
def at_work() -> Iterator[Given]:
    """A second in a thread of this process."""
    ours, theirs = socket.socketpair()

    def live() -> None:
        with suppress(Closed, OSError), theirs:
            serve(theirs)

    thread = threading.Thread(target=live)
    thread.start()
    yield second_of(ours, SIZE)
    ours.close()
    thread.join()


@pytest.fixture(scope="module")
def lost() -> Iterator[Given]:
    """A second that ended."""
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        yield second_of(ours, SIZE)


def read(text: bytes | memoryview, dtype: str, beside: OfSheet | None) -> np.ndarray[Any, Any] | None:
    return Numbers(text, 0, len(text)).read(DTYPES[dtype], beside)


def same(one: np.ndarray[Any, Any] | None, other: np.ndarray[Any, Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@given(st.data())
def test_lists_are_read_the_same(at_work: Given, lost: Given, data: st.DataObject) -> None:
    text = data.draw(REGULAR | damaged() | IRREGULAR).encode()
    dtype = data.draw(st.sampled_from(["float64", "float32", "int64", "bool"]))
    whole = read(text, dtype, None)
    for second in (at_work, lost):
        beside, body = second(text)
        assert same(read(body, dtype, beside), whole)


@given(any_array(), any_array(), st.sampled_from(["json", "base64"]))
def test_arrays_are_written_the_same(
    at_work: Given, lost: Given, one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], encoding: str
) -> None:
    members = {"a": one, "b": {"c": other}}
    whole = JSON.write(members, encoding)
    for second in (at_work, lost):
        beside, _ = second(b"")
        assert b"".join(map(bytes, JSON.pieces(members, encoding, beside))) == whole


def test_what_finds_no_room_is_done_by_the_worker(at_work: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).standard_normal(20)
    for room in (0, 8, 80, 100, 180):
        monkeypatch.setattr(segments, "_SCRATCH", room)
        whole = JSON.write({"x": array}, "json")
        text = whole[whole.index(b"[", 40) :].strip(b"}")
        beside, body = at_work(text)
        assert b"".join(map(bytes, JSON.pieces({"x": array}, "json", beside))) == whole
        assert same(read(body, "float64", beside), array)


def test_a_writer_that_is_given_up_leaves_the_second_ready(at_work: Given) -> None:
    array = np.random.default_rng(0).standard_normal((10, 10))
    whole = JSON.write({"x": array}, "json")
    for taken in range(1, 12):
        beside, _ = at_work(b"")
        pieces = iter(JSON.pieces({"x": array}, "json", beside))
        for _ in range(taken):
            next(pieces)
        del pieces
        assert b"".join(map(bytes, JSON.pieces({"x": array}, "json", beside))) == whole
