"""Laws that hold for every endpoint that the API's description lists."""

from typing import Any

import orjson
import pytest

from app.graphs import registration
from app.main import create_app
from app.routes.examples.registered import GRAPHS, REGISTERED_ID
from app.settings import Settings
from app.wire.codec import JSON
from tests.app.client import Client, chunks, client_of

SCHEMA = create_app().openapi()
ENDPOINTS = [(method.upper(), path) for path, methods in SCHEMA["paths"].items() for method in methods]
POSTS = [path for method, path in ENDPOINTS if method == "POST"]
SHOWN = [(method, path) for method, path in ENDPOINTS if method != "DELETE"]
"""Those that answer with something to read."""
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def concrete(path: str) -> str:
    return path.replace("{name}", "exp").replace("{id}", REGISTERED_ID)


KEPT, _ = registration.read(orjson.dumps(next(iter(GRAPHS.values()))["value"]), JSON, Settings(), None)


def registered(client: Client) -> Client:
    """A client of a server at which the example graph is registered."""
    client.services.store.put(KEPT)
    return client


def operation(method: str, path: str) -> dict[str, Any]:
    described: dict[str, Any] = SCHEMA["paths"][path][method.lower()]
    return described


def example(path: str) -> Any:
    body = operation("POST", path)["requestBody"]["content"]["application/json"]
    return next(iter(body["examples"].values()))["value"]


def answer(client: Client, method: str, path: str, **options: Any) -> Any:
    body = {"json": example(path)} if method == "POST" and "content" not in options else {}
    return registered(client).request(method, concrete(path), **body, **options)


def successes(method: str, path: str) -> dict[str, Any]:
    return {status: reply for status, reply in operation(method, path)["responses"].items() if status < "3"}


def check_problem(reply: Any, status: int, code: str) -> None:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    document = reply.json()
    assert document["status"] == status
    assert document["code"] == code
    assert document["request_id"] == reply.headers["x-request-id"]
    assert document["type"] == f"urn:gradd:problem:{code}"
    assert document["title"]
    assert document["detail"]
    assert set(document) == {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert document["errors"]
    for error in document["errors"]:
        assert error["pointer"].startswith("#")
        assert all(error[member] for member in ("code", "detail", "hint"))


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_described(method: str, path: str) -> None:
    described = operation(method, path)
    assert described["summary"]
    assert described["description"]
    assert described["tags"]
    assert successes(method, path)
    for status, response in described["responses"].items():
        if status >= "4":
            assert response["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert "HTTPValidationError" not in str(described)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_answers(client: Client, method: str, path: str) -> None:
    reply = answer(client, method, path)
    described = successes(method, path)
    assert str(reply.status_code) in described, reply.text
    for header in ("x-request-id", "x-content-type-options", "content-security-policy"):
        assert header in reply.headers
    if (method, path) in SHOWN:
        media_type = reply.headers["content-type"].partition(";")[0]
        assert media_type in described[str(reply.status_code)]["content"]
        assert "content-length" in reply.headers


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_other_methods_are_refused(client: Client, method: str, path: str) -> None:
    allowed = {known for known, other in ENDPOINTS if other == path}
    for wrong in set(METHODS) - allowed:
        reply = client.request(wrong, concrete(path))
        check_problem(reply, 405, "method_not_allowed")
        assert set(reply.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(("method", "path"), [endpoint for endpoint in ENDPOINTS if endpoint[0] == "GET"])
def test_head_is_get_without_a_body(client: Client, method: str, path: str) -> None:
    registered(client)
    head, get = client.request("HEAD", concrete(path)), client.get(concrete(path))
    assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])


@pytest.mark.parametrize(
    "accept", ["image/png", "application/xml, text/html;q=0.9", "application/cbor", "*/*;q=0", "application/*;q=x"]
)
@pytest.mark.parametrize(("method", "path"), SHOWN)
def test_what_is_not_accepted_is_not_sent(client: Client, method: str, path: str, accept: str) -> None:
    check_problem(answer(client, method, path, headers={"Accept": accept}), 406, "not_acceptable")


@pytest.mark.parametrize(
    "accept", ["*/*", "image/png, */*;q=0.1", "application/problem+json", "text/html, application/*, text/*"]
)
@pytest.mark.parametrize(("method", "path"), SHOWN)
def test_what_is_accepted_is_sent(client: Client, method: str, path: str, accept: str) -> None:
    assert answer(client, method, path, headers={"Accept": accept}).status_code in {200, 201}


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/cbor"},
        {"Content-Type": "application/msgpack; charset=latin-1"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
    ],
)
@pytest.mark.parametrize("path", POSTS)
def test_other_bodies_are_refused(client: Client, path: str, headers: dict[str, str]) -> None:
    check_problem(registered(client).post(concrete(path), b"{}", headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "application/json"},
        {"Content-Type": "Application/JSON; charset=UTF-8"},
        {"Content-Type": 'application/json;charset="utf-8"'},
        {"Content-Type": "application/json", "Content-Encoding": "identity"},
    ],
)
@pytest.mark.parametrize("path", POSTS)
def test_bodies_are_json_unless_they_say_otherwise(client: Client, path: str, headers: dict[str, str]) -> None:
    body = b'{"unknown": 1}'
    check_problem(registered(client).post(concrete(path), body, headers=headers), 422, "invalid_request")


@pytest.mark.parametrize("path", POSTS)
def test_empty_bodies_are_refused(client: Client, path: str) -> None:
    check_problem(registered(client).post(concrete(path), b""), 400, "malformed_json")


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_large_bodies_are_refused(method: str, path: str) -> None:
    with client_of(create_app(Settings(max_body_bytes=64))) as small:
        where = concrete(path)
        check_problem(registered(small).request(method, where, content=b" " * 65), 413, "body_too_large")
        if method == "POST":
            check_problem(small.request("POST", where, content=chunks(b" " * 60, b" " * 5)), 413, "body_too_large")
            check_problem(small.request("POST", where, content=b" " * 64), 400, "malformed_json")


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/", "/v1/gradients/", "/v1/ops/", "/docs/x", "/%00", "/é", "/v1/ops/expp"]
)
def test_unknown_paths_are_not_found(client: Client, path: str) -> None:
    check_problem(client.get(path), 404, "not_found")


def test_what_is_not_found_may_have_been_meant_otherwise(client: Client) -> None:
    assert "/v1/gradients" in client.post("/v1/gradient").json()["errors"][0]["hint"]
    assert "'exp'" in client.get("/v1/ops/expp").json()["errors"][0]["hint"]
