"""Whatever is wrong with a request is answered by a problem document that leads to the member at fault."""

import pytest

from tests.app.client import Client
from tests.app.malformed import CASES, RIGHT, Case
from tests.app.malformed_derivatives import CASES as DERIVATIVE_CASES
from tests.app.malformed_derivatives import TABLES, right


def test_the_table_is_long_and_its_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize("call", TABLES)
def test_each_call_s_table_is_long_and_its_names_differ(call: str) -> None:
    assert len({case.name for case in TABLES[call]}) == len(TABLES[call]) >= 12


def check(client: Client, path: str, case: Case) -> None:
    reply = client.post(path, case.body)
    assert reply.status_code == case.status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    errors = reply.json()["errors"]
    assert [(error["pointer"], error["code"]) for error in errors] == [(case.pointer, case.code)]
    assert errors[0]["detail"]
    assert errors[0]["hint"]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_malformed(client: Client, case: Case) -> None:
    check(client, "/v1/gradients", case)
    assert client.post("/v1/gradients", RIGHT).status_code == 200


@pytest.mark.parametrize(("call", "case"), DERIVATIVE_CASES, ids=[f"{call}-{c.name}" for call, c in DERIVATIVE_CASES])
def test_malformed_derivatives(client: Client, call: str, case: Case) -> None:
    check(client, f"/v1/{call}", case)
    assert client.post(f"/v1/{call}", right(call)).status_code == 200
