"""Quotas of keys and their graphs, on both ways of answering."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from app.access.quotas import CallWindow
from app.main import create_app
from app.routes.examples.inline import TUTORIAL
from app.settings import Settings
from tests.app.access.test_keys import BODY, asked, made
from tests.app.listening import Listening, listening

REGISTER = orjson.dumps({"graph": TUTORIAL["graph"]})
OTHER = orjson.dumps({"graph": {**TUTORIAL["graph"], "dtype": "float32"}})


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.access.quotas.time", clock)
    return clock


def test_a_window_allows_so_many_calls_in_each_time(clock: Clock) -> None:
    window = CallWindow(2, 60)
    for _ in range(3):
        assert [window.take() for _ in range(4)] == [True, True, False, False]
        assert (window.left, window.reset_s) == (0, 60)
        clock.now += 59.5
        assert not window.take()
        assert window.reset_s == 1
        clock.now += 0.5


def test_a_call_that_is_counted_again_is_given_back(clock: Clock) -> None:
    window = CallWindow(1, 1)
    assert window.take()
    window.give_back()
    assert window.take()
    assert not window.take()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quotas") / "keys.json"


@pytest.fixture(scope="module", params=[True, False], ids=["shortcut", "general"])
def served(request: pytest.FixtureRequest, file: Path) -> Iterator[Listening]:
    if not file.exists():
        made(file, "first")
    with listening(create_app(Settings(concurrency=4, keys_file=file)), shortcut=request.param) as found:
        yield found


def key(served: Listening, file: Path, name: str, *options: str) -> str:
    """Make a key that the server knows. Names are used once for each server."""
    keys = served.services.access_control.keys
    assert keys is not None
    found = made(file, f"{name}-{id(served)}", *options)
    keys.reload()
    return f"Bearer {found}"


@pytest.mark.parametrize(("path", "body", "status"), [("/v1/forward", BODY, 200), ("/v1/forward", b"{", 400)])
def test_calls_beyond_the_quota_are_refused(served: Listening, file: Path, path: str, body: bytes, status: int) -> None:
    mine = key(served, file, f"calls{status}", "--quota", "calls=3/day")
    for left in (2, 1, 0):
        got, answer = asked(served, f"POST {path}", mine, body)
        assert got == status
        assert answer.count(b'\r\nratelimit-policy: "calls";q=3;w=86400\r\n') == 1
        assert answer.count(b'\r\nratelimit: "calls";r=%d;t=86' % left) == 1
    for request in (f"POST {path}", "GET /v1/limits", "GET /nope"):
        got, answer = asked(served, request, mine, body)
        assert (got, answer.partition(b'"code":')[2][:16]) == (429, b'"quota_exceeded"')
        assert b"\r\nretry-after: 86" in answer
        assert answer.count(b'\r\nratelimit: "calls";r=0;t=86') == 1
    assert asked(served, "GET /health/live", mine)[0] == 200
    unlimited = key(served, file, f"free{status}")
    assert b"ratelimit" not in asked(served, f"POST {path}", unlimited, body)[1]


def test_a_call_that_changes_its_way_counts_once(served: Listening, file: Path) -> None:
    mine = key(served, file, "check", "--quota", "calls=9/day")
    for left in (8, 7):
        assert b'"calls";r=%d' % left in asked(served, "POST /v1/check", mine, BODY)[1]


def test_the_count_goes_on_when_the_keys_are_read_again(served: Listening, file: Path) -> None:
    mine = key(served, file, "again", "--quota", "calls=9/day")
    assert b'"calls";r=8' in asked(served, "POST /v1/forward", mine, BODY)[1]
    key(served, file, "another")
    assert b'"calls";r=7' in asked(served, "POST /v1/forward", mine, BODY)[1]


@pytest.mark.parametrize("quota", ["graphs=1", "bytes=1500"])
def test_graphs_beyond_the_quota_are_refused(served: Listening, file: Path, quota: str) -> None:
    mine = key(served, file, quota[:5], "--quota", quota)
    assert asked(served, "POST /v1/graphs", mine, REGISTER)[0] == 201
    assert asked(served, "POST /v1/graphs", mine, REGISTER)[0] == 200
    got, answer = asked(served, "POST /v1/graphs", mine, OTHER)
    assert (got, answer.partition(b'"code":')[2][:16]) == (429, b'"quota_exceeded"')
    assert b"\r\nretry-after: " in answer
    assert b"\r\nratelimit-policy: " in answer


def test_a_graph_is_seen_called_and_deleted_by_its_owners_alone(served: Listening, file: Path) -> None:
    one, two, none = (key(served, file, name) for name in ("one", "two", "none"))
    got, answer = asked(served, "POST /v1/graphs", one, REGISTER)
    path = answer.partition(b"\r\nlocation: ")[2].partition(b"\r\n")[0].decode()
    requests = [(f"POST {path}/forward", b"{}"), (f"GET {path}", b""), (f"DELETE {path}", b"")]

    def statuses(authorization: str) -> list[int]:
        return [asked(served, request, authorization, body)[0] for request, body in requests[:2] * 2]

    assert (got, statuses(one), statuses(two)) == (201, [200] * 4, [404] * 4)
    unknown = path.replace(path[-8:], "00000000")
    refused, never = (asked(served, f"POST {p}/forward", two, b"{}")[1].partition(b"{")[2] for p in (path, unknown))
    assert refused.replace(path[-8:].encode(), b"00000000")[:80] == never[:80]
    assert asked(served, requests[2][0], two)[0] == 404
    assert asked(served, "POST /v1/graphs", two, REGISTER)[0] == 201
    assert (statuses(one), statuses(two), statuses(none)) == ([200] * 4, [200] * 4, [404] * 4)
    assert asked(served, requests[2][0], one)[0] == 204
    assert (statuses(one), statuses(two)) == ([404] * 4, [200] * 4)
    assert asked(served, requests[2][0], two)[0] == 204
    assert statuses(two) == [404] * 4
