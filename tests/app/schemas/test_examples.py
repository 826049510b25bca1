"""The description is an OpenAPI document whose every reference leads somewhere and whose every example runs."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import pytest

from app.main import create_app
from app.routes.examples.registered import REGISTERED_ID
from tests.app.client import Client

SCHEMA = create_app().openapi()


def examples() -> Iterator[tuple[str, str, Any]]:
    for path, methods in SCHEMA["paths"].items():
        for method in methods.values():
            for media in method.get("requestBody", {}).get("content", {}).values():
                yield from ((path, name, example["value"]) for name, example in media.get("examples", {}).items())


EXAMPLES = list(examples())
LAYER = next(body for path, _, body in EXAMPLES if path == "/v1/graphs")


def send(client: Client, path: str, body: Any, **options: Any) -> httpx.Response:
    """Send an example. Those that call a registered graph call the first one of the examples."""
    if "{id}" in path:
        assert client.post("/v1/graphs", LAYER).headers["location"] == f"/v1/graphs/{REGISTERED_ID}"
    return client.post(path.replace("{id}", REGISTERED_ID), body, **options)


@pytest.mark.parametrize(("path", "name", "body"), EXAMPLES, ids=[f"{path}-{name}" for path, name, _ in EXAMPLES])
def test_every_example_runs(client: Client, path: str, name: str, body: Any) -> None:
    reply = send(client, path, body)
    assert reply.status_code in {200, 201}, reply.text


@pytest.mark.parametrize("path", sorted({path for path, _, _ in EXAMPLES}))
def test_what_runs_as_json_runs_as_messagepack(client: Client, path: str) -> None:
    described = SCHEMA["paths"][path]["post"]
    for media in (described["requestBody"]["content"], described["responses"]["200"]["content"]):
        assert list(media) == ["application/json", "application/msgpack"]
    body = next(body for known, _, body in EXAMPLES if known == path)
    headers = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}
    expected = send(client, path, body)
    reply = send(client, path, msgpack.packb(body), headers=headers)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/msgpack")
    assert msgpack.unpackb(reply.content).keys() == expected.json().keys()


@pytest.mark.parametrize(("path", "name", "body"), EXAMPLES, ids=[f"{path}-{name}" for path, name, _ in EXAMPLES])
def test_the_reply_is_what_the_description_says(client: Client, path: str, name: str, body: Any) -> None:
    described = SCHEMA["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(differences(send(client, path, body).json(), described, path)) == []


KINDS: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip


def differences(value: Any, schema: dict[str, Any], at: str) -> Iterator[str]:
    """Where a value is not what a schema says, as far as the description uses JSON Schema for replies."""
    if "$ref" in schema:
        schema = SCHEMA["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        ways = [list(differences(value, way, at)) for way in schema["anyOf"]]
        yield from min(ways, key=len)
        return
    types = schema.get("type", list(KINDS))
    if not any(isinstance(value, KINDS[kind]) for kind in ([types] if isinstance(types, str) else types)):
        yield f"{at}: {value!r} is not {types}"
    elif value not in schema.get("enum", [value]):
        yield f"{at}: {value!r} is none of {schema['enum']}"
    elif isinstance(value, dict):
        yield from members_that_differ(value, schema, at)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from differences(item, schema.get("items", {}), f"{at}/{index}")


def members_that_differ(value: dict[str, Any], schema: dict[str, Any], at: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", not schema.get("properties"))
    yield from (f"{at}: no {name}" for name in schema.get("required", []) if name not in value)
    for name, member in value.items():
        if name in known or isinstance(others, dict):
            yield from differences(member, known.get(name, others), f"{at}/{name}")
        elif not others:
            yield f"{at}: {name} is not described"


def test_the_first_example_is_the_tutorial() -> None:
    assert EXAMPLES[0][:2] == ("/v1/gradients", "tutorial")


def test_every_op_s_example_runs(client: Client) -> None:
    refused = {}
    for op in client.get("/v1/ops").json()["ops"]:
        page = client.get(f"/v1/ops/{op['name']}").json()
        reply = client.post("/v1/forward", page["example"])
        if reply.status_code != 200:
            refused[op["name"]] = reply.text
    assert not refused


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (value["$ref"],) if "$ref" in value else ()
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from references(item)

    known = {f"#/components/schemas/{name}" for name in SCHEMA["components"]["schemas"]}
    assert set(references(SCHEMA)) == known
