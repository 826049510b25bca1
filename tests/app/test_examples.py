"""The description is an OpenAPI document whose every reference leads somewhere and whose every example runs."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.main import create_app
from tests.app.client import Client

SCHEMA = create_app().openapi()


def examples() -> Iterator[tuple[str, str, Any]]:
    for path, methods in SCHEMA["paths"].items():
        for method in methods.values():
            for media in method.get("requestBody", {}).get("content", {}).values():
                yield from ((path, name, example["value"]) for name, example in media["examples"].items())


EXAMPLES = list(examples())


@pytest.mark.parametrize(("path", "name", "body"), EXAMPLES, ids=[f"{path}-{name}" for path, name, _ in EXAMPLES])
def test_every_example_runs(client: Client, path: str, name: str, body: Any) -> None:
    reply = client.post(path, body)
    assert reply.status_code == 200, reply.text


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
