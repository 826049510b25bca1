"""The headers of a trace are read as W3C Trace Context says, and invalid ones are ignored."""

import orjson
import pytest

from app.main import create_app
from app.routes.examples.inline import TUTORIAL
from app.telemetry import trace_context
from tests.app.client import Client
from tests.app.http.test_shortcut import GRADIENTS, LEAVE, TRACEPARENT, post
from tests.app.listening import listening

TRACE, PARENT = TRACEPARENT.split("-")[1:3]


@pytest.mark.parametrize(
    "header",
    [
        TRACEPARENT,
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"cc-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
    ],
)
def test_a_valid_context_is_continued(header: str) -> None:
    found = trace_context.read(header.encode(), b"vendor=value")
    assert found is not None
    assert (found.trace_id, found.parent_id, found.state) == (TRACE, PARENT, "vendor=value")
    assert found.is_sampled == (header.split("-")[3] in {"01", "ff"})
    assert len(found.span_id) == 16
    assert found.span_id not in {PARENT, "0" * 16}
    assert found.response == f"00-{TRACE}-{found.span_id}-00"


INVALID = {
    "nothing": "",
    "upper case": TRACEPARENT.upper(),
    "a version that is none": f"ff-{TRACE}-{PARENT}-01",
    "a version of one digit": f"0-{TRACE}-{PARENT}-01",
    "more than version 00 has": f"{TRACEPARENT}-",
    "more than its flags": f"{TRACEPARENT}00",
    "more without a dash": f"cc-{TRACE}-{PARENT}-01.future",
    "a trace of zeros": f"00-{'0' * 32}-{PARENT}-01",
    "a parent of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "a short trace": f"00-{TRACE[1:]}-{PARENT}-01",
    "a long parent": f"00-{TRACE}-{PARENT}0-01",
    "no flags": f"00-{TRACE}-{PARENT}",
    "no digits": f"00-{TRACE[1:]}g-{PARENT}-01",
    "two values": f"{TRACEPARENT},{TRACEPARENT}",
    "a line feed": f"{TRACEPARENT}\n",
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_one_is_ignored(client: Client, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    header = INVALID[name]
    assert trace_context.read(header.encode(), b"a=b") is None
    if "\n" not in header:
        reply = client.get("/v1/limits", headers={"traceparent": header, "tracestate": "a=b"})
        assert "traceresponse" not in reply.headers
        client.services.access.flush()
        assert "trace_id" not in orjson.loads(capsys.readouterr().err)


@pytest.mark.parametrize("shortcut", [True, False])
def test_the_reply_and_the_log_name_the_trace(shortcut: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(create_app(), shortcut=shortcut) as found:
        for body in (TUTORIAL, b"{"):
            reply = found.exchange(post(GRADIENTS, body, f"traceparent: {TRACEPARENT}"), LEAVE)
            found.services.access.flush()
            line, other = map(orjson.loads, capsys.readouterr().err.splitlines())
            assert line["trace_id"] == TRACE
            assert f"\r\ntraceresponse: 00-{TRACE}-{line['span_id']}-00\r\n".encode() in reply
            assert "trace_id" not in other
