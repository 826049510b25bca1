"""What an explanation says of a request that does not run."""

from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest
from app.evaluation.evaluator import Call, Evaluator
from app.evaluation.operations import example_graphs as graphs
from app.settings import Settings
from tests.app.bodies import op, request, sum_of_exp, wanted


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(Settings())


def explain(evaluator: Evaluator, body: dict[str, Any]) -> Any:
    return orjson.loads(evaluator.answer(Call("explain", orjson.dumps(body))).body)


@pytest.mark.parametrize("dag", [None, True, False])
def test_the_members_of_the_reply(evaluator: Evaluator, dag: bool | None) -> None:
    found = explain(evaluator, sum_of_exp(**({} if dag is None else {"dag": dag})))
    expected = {"plan", "cost", "kept", "passes", "vmap", "limits", "warnings"}
    assert set(found) == expected | (set() if dag is False else {"dag"})


def test_the_dag_is_that_of_the_gradients(evaluator: Evaluator) -> None:
    body = orjson.dumps({"graph": graphs.TUTORIAL})
    gradients = orjson.loads(evaluator.answer(Call("gradients", body)).body)
    assert orjson.loads(evaluator.answer(Call("explain", body)).body)["dag"] == gradients["dag"]


def test_values_change_nothing(evaluator: Evaluator) -> None:
    def body(x: Any, seed: Any, before: Any) -> dict[str, Any]:
        accumulated: dict[str, Any] = {"accumulate": {"x": before}} if before is not None else {}
        return request({"x": x}, op("exp", ["x"], "e"), backward={"e": seed}, **accumulated)

    of_values = explain(evaluator, body(wanted([1, 2]), [3, 4], [5, 6]))
    bare = {"shape": [2]}
    assert explain(evaluator, body({**bare, "requires_grad": True}, bare, bare)) == of_values


def test_a_type_has_the_graph_s_dtype_unless_it_names_one(evaluator: Evaluator) -> None:
    body = request({"x": {"shape": [2]}, "y": {"shape": [2], "dtype": "float64"}}, dtype="float32", backward="s")
    body["graph"]["tensors"]["x"]["requires_grad"] = True
    body["graph"]["ops"] = [op("mul", ["x", "y"], "p"), op("sum", ["p"], "s")]
    nodes = {node["name"]: node["dtype"] for node in explain(evaluator, body)["dag"]["nodes"]}
    assert nodes == {"x": "float32", "y": "float64", "p": "float64", "s": "float64"}


def test_the_multiplications_of_a_matrix_product_are_counted(evaluator: Evaluator) -> None:
    body = request(
        {"a": {"shape": [20, 30], "requires_grad": True}, "b": {"shape": [30, 40]}},
        op("matmul", ["a", "b"], "c"),
        op("sum", ["c"], "s"),
    )
    steps = explain(evaluator, body)["plan"]["sweeps"][0]["steps"]
    products = {step["pass"]: step["flops"] for step in steps if step["primitives"] == ["matmul"]}
    assert products == {"forward": 2 * 20 * 30 * 40, "backward": 2 * 20 * 40 * 30}


def test_what_would_not_fit_is_explained_too() -> None:
    small = Evaluator(Settings(max_memory_bytes=1000))
    limits = explain(small, sum_of_exp([0.0] * 1000))["limits"]
    assert limits["bytes"]["headroom"] < 0 < limits["elements"]["headroom"]
    assert limits["bytes"]["limit"] == 1000


def test_a_checkpoint_keeps_less_and_computes_more(evaluator: Evaluator) -> None:
    chain = [op("sin", [f"t{index}"], f"t{index + 1}") for index in range(16)]
    body = request({"t0": {"shape": [1000], "requires_grad": True}}, *chain, op("sum", ["t16"], "s"))
    plain, cut = (explain(evaluator, {**body, **more}) for more in ({}, {"checkpoint": ["t4", "t8", "t12"]}))
    assert cut["cost"]["total"]["peak_bytes"] < plain["cost"]["total"]["peak_bytes"]
    assert cut["cost"]["total"]["flops"] > plain["cost"]["total"]["flops"]


def test_vmap_says_over_how_many(evaluator: Evaluator) -> None:
    body = {"graph": graphs.BATCH, "vmap": {"x": 0, "y": 0}}
    assert explain(evaluator, body)["vmap"]["size"] == 3
    assert explain(evaluator, {"graph": graphs.TUTORIAL})["vmap"]["size"] is None


def test_other_calls_take_no_types(evaluator: Evaluator) -> None:
    with pytest.raises(InvalidRequest, match="`data` is missing"):
        evaluator.answer(Call("gradients", orjson.dumps({"graph": graphs.CLASSIFIER})))
