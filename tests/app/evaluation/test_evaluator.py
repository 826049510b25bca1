"""What a request gets: contract, sections 1 to 3, on small graphs whose answers are known by heart."""

import math
from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest, TimedOut
from app.evaluation.evaluator import Call, Evaluator
from app.routes.examples.inline import TUTORIAL
from app.settings import Settings
from tests.app.bodies import echo, op, request, sum_of_exp, tensor, wanted


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(Settings())


def gradients(evaluator: Evaluator, body: dict[str, Any]) -> Any:
    return orjson.loads(evaluator.answer(Call("gradients", orjson.dumps(body))).body)


def faults(evaluator: Evaluator, body: dict[str, Any], operation: str = "gradients") -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refused:
        evaluator.answer(Call(operation, orjson.dumps(body)))
    return [("/".join(map(str, fault.path)), fault.code) for fault in refused.value.faults]


def values(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor if tensor is None else tensor["data"] for name, tensor in tensors.items()}


def test_the_tutorial_gives_its_gradients(evaluator: Evaluator) -> None:
    reply = gradients(evaluator, TUTORIAL)
    z = [sum(row[column] for row in TUTORIAL["graph"]["tensors"]["w"]["data"]) for column in range(3)]
    expected = [1 / (1 + math.exp(-(value + bias))) / 3 for value, bias in zip(z, [0.5, 0.1, 0.2], strict=True)]
    assert values(reply["gradients"])["b"] == pytest.approx(expected, rel=1e-12)
    assert values(reply["gradients"])["w"] == [pytest.approx(expected, rel=1e-12)] * 5
    assert reply["gradients"]["w"]["shape"] == [5, 3]
    assert list(reply["outputs"]) == ["loss"]
    assert [node["name"] for node in reply["dag"]["nodes"]] == ["x", "y", "w", "b", "xw", "z", "loss"]
    assert reply["warnings"] == []


def test_reply_has_no_dag_unless_wanted(evaluator: Evaluator) -> None:
    assert "dag" not in gradients(evaluator, sum_of_exp(dag=False))
    assert "dag" in gradients(evaluator, sum_of_exp(dag=True))
    body = orjson.dumps(sum_of_exp())
    assert "dag" not in orjson.loads(evaluator.answer(Call("forward", body)).body)
    assert "dag" in orjson.loads(evaluator.answer(Call("forward", orjson.dumps(sum_of_exp(dag=True)))).body)


@pytest.mark.parametrize(
    ("backward", "expected"),
    [
        (None, [2.0, 4.0]),
        ("s", [2.0, 4.0]),
        (["s"], [2.0, 4.0]),
        (["s", "t"], [12.0, 24.0]),
        ({"s": None}, [2.0, 4.0]),
        ({"s": 3}, [6.0, 12.0]),
        ({"s": {"data": 3}, "t": 0.1}, [7.0, 14.0]),
        ({"q": [1, 10]}, [2.0, 40.0]),
    ],
)
def test_roots_and_seeds(evaluator: Evaluator, backward: Any, expected: list[float]) -> None:
    ops = [op("mul", ["x", "x"], "q"), op("sum", ["q"], "s"), op("mul", ["q", 5], "r"), op("sum", ["r"], "t")]
    chosen = ops[:2] if backward is None else ops
    body = request({"x": wanted([1, 2])}, *chosen, **({} if backward is None else {"backward": backward}))
    assert values(gradients(evaluator, body)["gradients"]) == {"x": pytest.approx(expected)}


def test_wrt_and_outputs_name_leaves_and_results(evaluator: Evaluator) -> None:
    reply = gradients(evaluator, sum_of_exp([0.0], wrt=["e", "x"], outputs=["x", "e"]))
    assert values(reply["gradients"]) == {"e": [1.0], "x": [1.0]}
    assert values(reply["outputs"]) == {"x": [0.0], "e": [1.0]}


def test_accumulate_adds_to_earlier_gradients(evaluator: Evaluator) -> None:
    reply = gradients(evaluator, sum_of_exp([0.0, 0.0], accumulate={"x": [10, 20]}))
    assert values(reply["gradients"]) == {"x": [11.0, 21.0]}


@pytest.mark.parametrize(("unreached", "expected"), [("null", None), ("zeros", [0.0, 0.0])])
def test_unreached(evaluator: Evaluator, unreached: str, expected: Any) -> None:
    body = sum_of_exp([0.0], unreached=unreached)
    body["graph"]["tensors"]["other"] = wanted([1, 2])
    assert values(gradients(evaluator, body)["gradients"])["other"] == expected


def test_unreached_can_be_an_error(evaluator: Evaluator) -> None:
    body = sum_of_exp([0.0], unreached="error", wrt=["x", "other"])
    body["graph"]["tensors"]["other"] = wanted([1, 2])
    assert [path for path, _ in faults(evaluator, body)] == ["wrt/1"]


def test_checkpoint_changes_nothing_about_the_answer(evaluator: Evaluator) -> None:
    plain = gradients(evaluator, sum_of_exp(dag=False))
    assert gradients(evaluator, sum_of_exp(dag=False, checkpoint=["e"])) == plain


def test_detect_anomaly_names_the_op(evaluator: Evaluator) -> None:
    body = request({"x": wanted([0.0])}, op("log", ["x"], "l"), op("sum", ["l"], "s"))
    assert values(gradients(evaluator, body)["outputs"]) == {"s": "-Infinity"}
    assert [path for path, _ in faults(evaluator, {**body, "detect_anomaly": True})] == ["graph/ops/0"]


def test_a_plan_is_shared_by_requests_that_differ_in_values_alone(evaluator: Evaluator) -> None:
    fresh = Evaluator(Settings())
    for value in (1.0, 2.0, 3.5):
        gradients(fresh, sum_of_exp([value], seed=int(value), encoding="json"))
    assert len(fresh._plans) == len(fresh._structures) == 1
    gradients(fresh, sum_of_exp([1.0, 2.0]))
    assert (len(fresh._plans), len(fresh._structures)) == (2, 1)
    gradients(fresh, sum_of_exp([1.0], wrt=["e"]))
    assert (len(fresh._plans), len(fresh._structures)) == (3, 2)


def test_null_seed_and_number_seed_are_not_mistaken_for_each_other() -> None:
    fresh = Evaluator(Settings())
    for seed, expected in ((None, 1.0), (2, 2.0), (None, 1.0), (0, 0.0)):
        assert values(gradients(fresh, sum_of_exp([0.0], backward={"s": seed}))["gradients"]) == {"x": [expected]}


def test_all_faults_come_in_one_answer(evaluator: Evaluator) -> None:
    body = request(
        {"x": [[1, 2], [3]], "y": tensor([1], dtype="float31"), "z": [1, "x"]},
        op("exp", ["x"], "x"),
        {"op": "exp", "inputs": "x", "output": "e"},
        unreached="never",
        wart=[],
        seed=-1,
    )
    assert set(faults(evaluator, body)) == {
        ("graph/tensors/x/1", "ragged_data"),
        ("graph/tensors/y/dtype", "unknown_dtype"),
        ("graph/tensors/z/1", "not_a_number"),
        ("graph/ops/0/output", "duplicate_name"),
        ("graph/ops/1/inputs", "wrong_type"),
        ("unreached", "unknown_choice"),
        ("wart", "unknown_member"),
        ("seed", "out_of_range"),
    }


def test_a_structure_read_before_hides_no_faults(evaluator: Evaluator) -> None:
    assert gradients(evaluator, sum_of_exp())
    found = {path for path, _ in faults(evaluator, sum_of_exp([1, "x"], seed=-1, encoding="hex"))}
    assert found == {"graph/tensors/x/data/1", "seed", "encoding"}


def test_faults_of_the_graph_come_with_unknown_members(evaluator: Evaluator) -> None:
    body = request({"x": [1]}, op("expp", ["x"], "e"), graf={})
    assert {path for path, _ in faults(evaluator, body, "forward")} == {"graf", "graph/ops/0/op"}


def test_an_answer_lists_a_bounded_number_of_faults(evaluator: Evaluator) -> None:
    body = request({}, *[{"op": 1, "output": str(index)} for index in range(1000)])
    assert len(faults(evaluator, body)) == 100


def test_a_passed_deadline_stops_the_run(evaluator: Evaluator) -> None:
    with pytest.raises(TimedOut):
        evaluator.answer(Call("gradients", orjson.dumps(sum_of_exp())), deadline=0.0)


@pytest.mark.parametrize(
    ("value", "dtype", "data"),
    [
        ([1, 2], "float64", [1.0, 2.0]),
        ([True, False], "bool", [True, False]),
        (True, "bool", True),
        (7, "float64", 7.0),
        ([], "float64", []),
        ([[], []], "float64", [[], []]),
        (tensor([], shape=[0, 3]), "float64", []),
        (tensor([1, 2, 3, 4], shape=[2, 2]), "float64", [[1.0, 2.0], [3.0, 4.0]]),
        (tensor([5], shape=[]), "float64", 5.0),
        (tensor([2**53 + 1], dtype="int64"), "int64", [2**53 + 1]),
        (tensor(-(2**63), dtype="int64"), "int64", -(2**63)),
        (tensor([1.0, 1e3], dtype="int16"), "int16", [1, 1000]),
        (tensor([True], dtype="float32"), "float32", [1.0]),
        (tensor([0, 1], dtype="bool"), "bool", [False, True]),
        (["NaN", "Infinity", -1, "-Infinity"], "float64", ["NaN", "Infinity", -1.0, "-Infinity"]),
        ("NaN", "float64", "NaN"),
        (tensor(["NaN", 0.1], dtype="float32"), "float32", ["NaN", 0.1]),
        (tensor("AAABAA==", dtype="int16", shape=[2]), "int16", [0, 1]),
    ],
)
def test_a_tensor_comes_back_as_it_was_sent(evaluator: Evaluator, value: Any, dtype: str, data: Any) -> None:
    reply = orjson.loads(evaluator.answer(Call("forward", orjson.dumps(echo(value)))).body)
    assert reply["outputs"]["x"]["dtype"] == dtype
    assert reply["outputs"]["x"]["data"] == data
    assert str(reply["outputs"]["x"]["data"]) == str(data)


def test_the_graph_s_dtype_is_that_of_tensors_that_name_none(evaluator: Evaluator) -> None:
    body = echo([1, 0.1])
    body["graph"]["dtype"] = "float32"
    reply = orjson.loads(evaluator.answer(Call("forward", orjson.dumps(body))).body)
    assert reply["outputs"]["x"] == {"dtype": "float32", "shape": [2], "data": [1.0, 0.1]}


def test_minus_zero_keeps_its_sign(evaluator: Evaluator) -> None:
    text = b'{"graph":{"tensors":{"-0":[-0, 0, -0.0], "n":{"data":[-0],"dtype":"int8"}}},"outputs":["-0","n"]}'
    reply = orjson.loads(evaluator.answer(Call("forward", text)).body)
    assert str(values(reply["outputs"])) == "{'-0': [-0.0, 0.0, -0.0], 'n': [0]}"


def test_base64_is_answered_where_it_is_wanted(evaluator: Evaluator) -> None:
    reply = orjson.loads(evaluator.answer(Call("forward", orjson.dumps(echo([1, "NaN"], encoding="base64")))).body)
    assert reply["outputs"]["x"] == {"dtype": "float64", "shape": [2], "data": "AAAAAAAA8D8AAAAAAAD4fw=="}
