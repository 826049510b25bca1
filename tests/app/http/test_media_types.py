"""JSON and MessagePack, in and out, each chosen for itself; the two say the same."""

from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from tests.app.bodies import echo, op, request, wanted
from tests.app.client import Client
from tests.app.malformed import CASES, RIGHT, Case

JSON, MSGPACK = "application/json", "application/msgpack"
RAW = np.array([[1.0, -0.0, np.nan], [np.inf, 5e-324, 0.1]])


def post(client: Client, body: Any, path: str = "/v1/forward", accept: str | None = MSGPACK) -> Any:
    """Post as MessagePack."""
    packed = body if isinstance(body, bytes) else msgpack.packb(body)
    return client.post(path, packed, headers={"Content-Type": MSGPACK, **({"Accept": accept} if accept else {})})


def raw(array: np.ndarray[Any, Any], **members: Any) -> dict[str, Any]:
    return {"data": array.tobytes(), "dtype": str(array.dtype), "shape": list(array.shape), **members}


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (MSGPACK, MSGPACK),
        ("application/x-msgpack", MSGPACK),
        ("application/vnd.msgpack", MSGPACK),
        ("APPLICATION/MSGPACK", MSGPACK),
        (f"{JSON};q=0.5, {MSGPACK}", MSGPACK),
        (f"{MSGPACK};q=0.5, {JSON};q=0.9", JSON),
        (f"{MSGPACK}, {JSON}", JSON),
        (f"*/*;q=0.1, {MSGPACK};q=0.2", MSGPACK),
        (f"{JSON};q=0, */*", MSGPACK),
        (f"{JSON};q=0, application/*;q=0.3", MSGPACK),
        ("application/problem+json", JSON),
    ],
)
@pytest.mark.parametrize("sent", [JSON, MSGPACK])
def test_the_reply_is_what_is_accepted_whatever_was_sent(client: Client, sent: str, accept: str, given: str) -> None:
    body = client.post("/v1/forward", echo(1)).request.content if sent == JSON else msgpack.packb(echo(1))
    headers = {"Content-Type": sent, "Accept": accept} if accept else {"Content-Type": sent}
    reply = client.post("/v1/forward", body, headers=headers)
    assert (reply.status_code, reply.headers["content-type"], reply.headers["vary"]) == (
        200,
        given,
        "Accept, Accept-Encoding",
    )


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        (
            "application/x-www-form-urlencoded",
            "`curl -d` sends this type by itself: add -H 'content-type: application/json'.",
        ),
        ("text/plain", "Name the type of the body: -H 'content-type: application/json'."),
    ],
)
def test_the_hint_of_another_type_is_the_header_that_mends_it(client: Client, sent: str, hint: str) -> None:
    reply = client.post("/v1/gradients", b"{}", headers={"Content-Type": sent})
    assert reply.status_code == 415
    assert [error["hint"] for error in reply.json()["errors"]] == [hint]


def test_raw_bytes_come_back_as_they_were_sent(client: Client) -> None:
    reply = msgpack.unpackb(post(client, echo(raw(RAW))).content)
    assert reply == {"outputs": {"x": {"dtype": "float64", "shape": [2, 3], "data": RAW.tobytes()}}}


def test_encoding_is_about_json(client: Client) -> None:
    asked = echo(raw(RAW), encoding="base64")
    assert msgpack.unpackb(post(client, asked).content)["outputs"]["x"]["data"] == RAW.tobytes()
    assert isinstance(post(client, asked, accept=JSON).json()["outputs"]["x"]["data"], str)


@pytest.mark.parametrize(
    ("value", "array"),
    [
        ([[1, 2.5], [3, float("nan")]], np.array([[1, 2.5], [3, np.nan]])),
        (["NaN", float("-inf"), "Infinity"], np.array([np.nan, -np.inf, np.inf])),
        ({"data": "AAAAAAAA8D8=", "shape": [1]}, np.array([1.0])),
        ({"data": [2**63 - 1, -(2**63)], "dtype": "int64"}, np.array([2**63 - 1, -(2**63)])),
        (2**64 - 1, np.array(float(2**64))),
        ([True, False], np.array([True, False])),
        ({"data": b"", "shape": [2, 0]}, np.zeros((2, 0))),
        ({"data": b"\x00\x01", "shape": [2], "dtype": "bool"}, np.array([False, True])),
        ({"data": bytes(8), "shape": []}, np.array(0.0)),
    ],
)
def test_whatever_json_has_for_values_stands_in_messagepack_too(client: Client, value: Any, array: Any) -> None:
    found = msgpack.unpackb(post(client, echo(value)).content)["outputs"]["x"]
    assert found == {"dtype": str(array.dtype), "shape": list(array.shape), "data": array.tobytes()}


VALUES = {
    "raw bytes without a shape": ({"data": bytes(8)}, "missing_shape", "/data"),
    "raw bytes alone": (bytes(8), "missing_shape", ""),
    "too few raw bytes": ({"data": bytes(12), "shape": [2]}, "shape_mismatch", "/data"),
    "too many raw bytes": ({"data": bytes(24), "shape": [2]}, "shape_mismatch", "/data"),
    "raw bytes of another dtype": ({"data": bytes(8), "shape": [2], "dtype": "int8"}, "shape_mismatch", "/data"),
    "raw bytes that are no bool": (
        {"data": b"\2", "shape": [1], "dtype": "bool"},
        "value_not_representable",
        "/data",
    ),
    "raw bytes among numbers": ([1.0, b"12345678"], "not_a_number", "/1"),
    "an extension type": ([1.0, msgpack.ExtType(1, b"1")], "not_a_number", "/1"),
    "a timestamp": (msgpack.Timestamp(1), "not_a_number", ""),
    "NaN among integers": ({"data": [1, float("nan")], "dtype": "int8"}, "value_not_representable", "/data/1"),
    "infinity among integers": ({"data": [float("inf")], "dtype": "int64"}, "value_not_representable", "/data/0"),
    "an integer too wide for int64": ({"data": [2**64 - 1], "dtype": "int64"}, "value_not_representable", "/data/0"),
    "ragged lists": ([[1.0], [2.0, 3.0]], "ragged_data", "/1"),
    "null": ([None], "null_value", "/0"),
    "true among numbers": ([1.0, True], "bool_among_numbers", "/1"),
}


@pytest.mark.parametrize(("value", "code", "below"), VALUES.values(), ids=VALUES)
def test_values_at_fault_are_pointed_at(client: Client, value: Any, code: str, below: str) -> None:
    reply = post(client, echo(value))
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
    [error] = reply.json()["errors"]
    assert (error["pointer"], error["code"]) == (f"#/graph/tensors/x{below}", code)
    assert error["hint"]


def structural(case: Case) -> Any:
    """The case's body, or None where MessagePack cannot say it or says it differently."""
    try:
        body = orjson.loads(case.body)
    except orjson.JSONDecodeError:
        return None
    return body if case.status == 422 and orjson.dumps(body) == case.body else None


STRUCTURAL = [(case, body) for case in CASES if (body := structural(case)) is not None]


@pytest.mark.parametrize(("case", "body"), STRUCTURAL, ids=[case.name for case, _ in STRUCTURAL])
def test_what_is_wrong_in_json_is_wrong_in_messagepack(client: Client, case: Case, body: Any) -> None:
    reply = post(client, body, "/v1/gradients")
    assert reply.status_code == case.status
    assert [(error["pointer"], error["code"]) for error in reply.json()["errors"]] == [(case.pointer, case.code)]


def test_problems_are_json_for_everybody(client: Client) -> None:
    reply = post(client, b"\xc1")
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")


def test_both_share_what_is_kept(client: Client) -> None:
    asked = request({"x": wanted([0.25, 0.5])}, op("sigmoid", ["x"], "s"), op("sum", ["s"], "t"))
    assert "miss" in client.post("/v1/gradients", asked).headers["server-timing"]
    reply = post(client, asked, "/v1/gradients")
    assert "hit" in reply.headers["server-timing"]
    assert msgpack.unpackb(reply.content)["dag"] == client.post("/v1/gradients", asked).json()["dag"]


def test_the_right_request_is_right(client: Client) -> None:
    assert post(client, RIGHT, "/v1/gradients").status_code == 200
