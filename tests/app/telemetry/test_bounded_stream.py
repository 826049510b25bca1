"""A stream whose reader is slow, absent or gone never holds its writer, loses no line in silence, and ends in time."""

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from app.telemetry.bounded_stream import BoundedStream
from tests.serving import PATIENCE_S

LINE = "x" * 99 + "\n"


@dataclass
class Pipe:
    """A bounded stream to a pipe, with the pipe's other end."""

    stream: BoundedStream
    reader: int

    def read(self, size: int = 2**20) -> str:
        return os.read(self.reader, size).decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    yield Pipe(BoundedStream(writer, lambda lines: f"{lines} missing\n", most=100_000), reader)
    os.close(reader)
    os.close(writer)


def test_lines_come_in_order(pipe: Pipe) -> None:
    for number in range(100):
        pipe.stream.write(f"{number}\n")
    pipe.stream.end()
    assert pipe.read() == "".join(f"{number}\n" for number in range(100))
    assert pipe.stream.dropped == 0


def test_without_a_reader_writing_returns_and_what_is_missing_is_told_afterwards(pipe: Pipe) -> None:
    for _ in range(5000):
        pipe.stream.write(LINE)
    dropped = pipe.stream.dropped
    assert 5000 - dropped < 3000  # a pipe and the bound hold 165,536 bytes
    received, missing = "", 0
    while received.count(LINE) + missing < 5000:  # the pipe takes some lines late, so there may be several gaps
        received += pipe.read()
        missing = sum(map(int, re.findall(r"^(\d+) missing$", received, re.MULTILINE)))
    assert missing == dropped
    pipe.stream.write("more\n")
    pipe.stream.end()
    assert pipe.read() == "more\n"


def test_what_is_missing_is_told_at_its_place(pipe: Pipe) -> None:
    while not pipe.stream.dropped:
        pipe.stream.write(LINE)
    dropped, received = pipe.stream.dropped, pipe.read(2**15)
    while pipe.stream._size + 1000 > 100_000:
        received += pipe.read(2**12)
    pipe.stream.write("after\n")
    while not received.endswith("after\n"):
        received += pipe.read()
    assert received.endswith(f"{LINE}{dropped} missing\nafter\n")


def test_the_end_does_not_wait_for_a_reader(pipe: Pipe) -> None:
    for _ in range(2000):
        pipe.stream.write(LINE)
    pipe.stream.end()
    pipe.stream.write("late\n")
    assert pipe.stream.dropped


def test_a_reader_that_is_gone_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = BoundedStream(writer, lambda lines: f"{lines} missing\n")
    for _ in range(10):
        stream.write(LINE)
    stream.end()
    assert stream.dropped == 10
    os.close(writer)


@pytest.mark.parametrize("descriptor", ["closed", "full"])
def test_a_descriptor_that_takes_nothing_is_no_error(descriptor: str) -> None:
    number = os.open("/dev/full", os.O_WRONLY)
    if descriptor == "closed":
        os.close(number)
    stream = BoundedStream(number, lambda lines: f"{lines} missing\n")
    stream.write(LINE)
    stream.end()
    assert stream.dropped == 1


def test_a_descriptor_that_is_set_not_to_block_gets_everything(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    for _ in range(1000):
        pipe.stream.write(LINE)
    received = ""
    while len(received) < 1000 * len(LINE):
        received += pipe.read(2**12)
    assert received == LINE * 1000


def test_threads_write_whole_lines(pipe: Pipe) -> None:
    def write(name: str) -> None:
        for _ in range(100):
            pipe.stream.write(name * 50 + "\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    pipe.stream.end()
    assert sorted(pipe.read().splitlines()) == sorted(name * 50 for name in "abcd" for _ in range(100))
