"""Whatever is wrong with a request is answered by a problem document that leads to the member at fault."""

import pytest

from tests.app.client import Client
from tests.app.malformed import CASES, RIGHT, Case


def test_the_table_is_long_and_its_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_malformed(client: Client, case: Case) -> None:
    reply = client.post("/v1/gradients", case.body)
    assert reply.status_code == case.status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    errors = reply.json()["errors"]
    assert [(error["pointer"], error["code"]) for error in errors] == [(case.pointer, case.code)]
    assert errors[0]["detail"]
    assert errors[0]["hint"]
    assert client.post("/v1/gradients", RIGHT).status_code == 200
