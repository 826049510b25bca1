"""What surrounds every request: ids, headers, log lines, counters, places, and bounds on bodies."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from app.main import create_app
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.client import Client, chunks, client_of


def test_a_request_keeps_a_sane_id(client: Client) -> None:
    assert client.get("/v1/limits", headers={"X-Request-ID": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"


@pytest.mark.parametrize("given", [None, "", "a b", "é".encode("latin-1"), "x" * 129, "a\tb", '"'])
def test_other_requests_get_one(client: Client, given: Any) -> None:
    replies = [client.get("/nope", headers={} if given is None else {"X-Request-ID": given}) for _ in range(2)]
    ids = {reply.headers["x-request-id"] for reply in replies}
    assert len(ids) == 2
    assert all(len(found) == 32 for found in ids)
    assert replies[0].json()["request_id"] == replies[0].headers["x-request-id"]


def test_every_request_has_a_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    with client_of(create_app()) as client:
        client.get("/v1/ops/exp", headers={"X-Request-ID": "one"})
        client.post("/v1/forward", b"{", headers={"X-Request-ID": "two"})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["request_id"], line["status"], line["path"]) for line in lines] == [
        ("one", 200, "/v1/ops/exp"),
        ("two", 400, "/v1/forward"),
    ]
    assert lines[1]["code"] == "malformed_json"
    assert all(line["ms"] > 0 for line in lines)


def test_lines_for_a_person_and_none_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    with client_of(create_app(Settings(log_format="console"))) as client:
        client.get("/v1/limits")
    assert "/v1/limits" in capsys.readouterr().err
    with client_of(create_app(Settings(log_level="warning"))) as client:
        client.get("/v1/limits")
    assert not capsys.readouterr().err


def test_every_reply_says_what_it_took(client: Client) -> None:
    for reply in (client.get("/health/live"), client.get("/nope"), client.post("/v1/gradients", b"{")):
        assert re.fullmatch(r"total;dur=[\d.]+", reply.headers["server-timing"])


def test_a_computation_says_what_its_phases_took_and_whether_its_plan_was_kept(client: Client) -> None:
    for found in ("miss", "hit"):
        reply = client.post("/v1/gradients", sum_of_exp(wrt=["x"]))
        taken = re.findall(r"(\w+)(?:;desc=(\w+))?;dur=([\d.]+)", reply.headers["server-timing"])
        assert [(name, desc) for name, desc, _ in taken] == [
            ("parse", ""),
            ("plan", found),
            ("run", ""),
            ("encode", ""),
            ("total", ""),
        ]
        *phases, total = [float(duration) for *_, duration in taken]
        assert 0 < sum(phases) < total


def test_counters() -> None:
    with client_of(create_app()) as fresh:
        fresh.post("/v1/gradients", sum_of_exp())
        fresh.post("/v1/gradients", sum_of_exp(backward="x", wrong=1))
        fresh.post("/v1/gradients", b"{")
        for path in ("/a", "/b", "/v1/ops/exp", "/v1/ops/log"):
            fresh.get(path)
        text = fresh.get("/metrics").text
    for line in (
        'gradd_requests_total{endpoint="/v1/gradients",status="200"} 1.0',
        'gradd_requests_total{endpoint="/v1/gradients",status="422"} 1.0',
        'gradd_requests_total{endpoint="/v1/gradients",status="400"} 1.0',
        'gradd_requests_total{endpoint="/v1/ops/{name}",status="200"} 2.0',
        'gradd_requests_total{endpoint="unmatched",status="404"} 2.0',
        'gradd_refused_total{code="malformed_json"} 1.0',
        'gradd_refused_total{code="unknown_member"} 1.0',
        'gradd_refused_total{code="not_found"} 2.0',
        'gradd_request_seconds_count{endpoint="/v1/gradients"} 3.0',
        'gradd_plans_total{found="miss"} 1.0',
        'gradd_phase_seconds_count{phase="run"} 1.0',
        "gradd_inflight 1.0",
    ):
        assert line in text.splitlines()


def test_a_defect_is_answered_logged_and_told_to_nobody() -> None:
    app = create_app()

    async def fail(_: Request) -> Response:
        raise ZeroDivisionError("secret")

    app.add_route("/fail", fail)
    with client_of(app) as client, capture_logs() as lines:
        reply = client.get("/fail")
    assert reply.status_code == 500
    assert reply.json()["code"] == "internal_error"
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text
    assert lines[0]["event"] == "failed"
    assert lines[0]["request_id"] == reply.headers["x-request-id"]


def slow(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    async def parts() -> AsyncIterator[bytes]:
        yield body[:1]
        await asyncio.sleep(seconds)
        yield body[1:]

    return parts()


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    with client_of(create_app(Settings(body_timeout_ms=1000))) as client:
        reply = client.request("POST", "/v1/gradients", content=slow(b"{}", 60))
        assert (reply.status_code, reply.json()["code"]) == (408, "slow_body")
        assert reply.headers["connection"] == "close"
        assert client.request("POST", "/v1/gradients", content=slow(b"{}", 0)).status_code == 422


def test_beyond_the_places_requests_are_turned_away_and_health_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    with client_of(create_app(Settings(concurrency=1, queue=2))) as client:
        answer, metrics = client.services.dispatcher.answer, client.services.metrics

        async def waiting(*arguments: Any) -> Any:
            while 'gradd_refused_total{code="busy"} 2.0' not in metrics.exposition().decode():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return await answer(*arguments)

        monkeypatch.setattr(client.services.dispatcher, "answer", waiting)
        posts = [("POST", "/v1/gradients", {"json": sum_of_exp()}) for _ in range(5)]
        health: list[tuple[str, str, dict[str, Any]]] = [("GET", "/health/ready", {}), ("GET", "/v1/limits", {})]
        replies = client.together(posts + health)
        assert sorted(reply.status_code for reply in replies) == [200, 200, 200, 200, 200, 503, 503]
        turned_away = next(reply for reply in replies if reply.status_code == 503)
        assert turned_away.json()["code"] == "busy"
        assert int(turned_away.headers["retry-after"]) >= 1
        assert client.services.slots.taken == 0


def test_a_streamed_body_is_bounded_while_it_streams() -> None:
    with client_of(create_app(Settings(max_body_bytes=10))) as client:
        reply = client.request("POST", "/v1/gradients", content=chunks(*[b" " * 4] * 1000))
        assert reply.status_code == 413


@pytest.mark.parametrize("length", ["9" * 30, "11"])
def test_a_declared_length_is_enough_to_refuse(length: str) -> None:
    with client_of(create_app(Settings(max_body_bytes=10))) as client:
        reply = client.request("POST", "/v1/gradients", content=chunks(), headers={"Content-Length": length})
        assert reply.status_code == 413


@pytest.mark.parametrize(
    ("origin", "method", "named"), [("https://example.net", "POST", "origin"), ("https://example.org", "PUT", "method")]
)
def test_a_preflight_request_that_is_refused_is_a_problem(
    origin: str, method: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    with client_of(create_app(Settings(cors_origins=["https://example.org"]))) as client:
        reply = client.request("OPTIONS", "/v1/gradients", headers=asked)
        assert (reply.status_code, reply.json()["code"]) == (400, "cross_origin")
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["vary"].startswith("Origin")
        assert named in reply.json()["detail"]
        assert 'gradd_refused_total{code="cross_origin"} 1.0' in client.get("/metrics").text.splitlines()
        client.services.access.flush()
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["code"] for line in lines if "code" in line] == ["cross_origin"]


def test_pages_of_other_origins_may_call_only_where_they_are_named() -> None:
    origin = {"Origin": "https://example.org"}
    with client_of(create_app()) as client:
        assert "access-control-allow-origin" not in client.get("/v1/limits", headers=origin).headers
    with client_of(create_app(Settings(cors_origins=["https://example.org"]))) as client:
        for reply in (client.get("/v1/limits", headers=origin), client.post("/v1/gradients", b"{", headers=origin)):
            assert reply.headers["access-control-allow-origin"] == "https://example.org"
        preflight = {
            **origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        assert client.request("OPTIONS", "/v1/gradients", headers=preflight).status_code == 200
