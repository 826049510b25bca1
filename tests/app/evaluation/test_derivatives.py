"""What each derivative's call returns: contract, section 5, held against closed forms, one another, and loops."""

import base64
import math
import time
from typing import Any

import numpy as np
import orjson
import pytest

from app.errors import TimedOut
from app.evaluation.evaluator import Call, Evaluator
from app.evaluation.operations import example_graphs as graphs
from app.routes.examples.inline import EXAMPLES
from app.settings import Settings
from engine.errors import DeadlineExceeded
from tests.app.bodies import op, request, sum_of_exp, wanted

CALLS = ("gradients", "forward", "jvp", "vjp", "jacobian", "hessian", "hvp")


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(Settings())


def ask(evaluator: Evaluator, call: str, body: dict[str, Any]) -> Any:
    return orjson.loads(evaluator.answer(Call(call, orjson.dumps(body))).body)


def arrays(reply: Any) -> Any:
    """Arrays in place of a reply's tensors, however deep they stand and however they are encoded."""
    if not isinstance(reply, dict) or set(reply) != {"dtype", "shape", "data"}:
        return {name: arrays(value) for name, value in reply.items()} if isinstance(reply, dict) else reply
    if isinstance(reply["data"], str):
        return np.frombuffer(base64.b64decode(reply["data"]), reply["dtype"]).reshape(reply["shape"])
    return np.array(reply["data"], reply["dtype"]).reshape(reply["shape"])


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "groups"),
    [
        ("gradients", {"outputs", "gradients", "warnings"}),
        ("forward", {"outputs"}),
        ("jvp", {"outputs", "tangents"}),
        ("vjp", {"outputs", "vjp"}),
        ("jacobian", {"outputs", "jacobian"}),
        ("hessian", {"outputs", "gradients", "hessian"}),
        ("hvp", {"outputs", "gradients", "hvp"}),
    ],
)
@pytest.mark.parametrize("dag", [None, True, False])
def test_the_members_of_a_reply(evaluator: Evaluator, call: str, groups: set[str], dag: bool | None) -> None:
    given: dict[str, Any] = {
        "jvp": {"tangents": {"x": [1, 1, 1]}},
        "vjp": {"vectors": {"s": 1}},
        "hvp": {"vectors": {"x": [1, 1, 1]}},
    }
    own = given.get(call, {})
    body = sum_of_exp(**own, **({} if dag is None else {"dag": dag}))
    has_dag = call == "gradients" if dag is None else dag
    assert set(ask(evaluator, call, body)) == groups | ({"dag"} if has_dag else set())


def test_vjp_is_the_sum_of_cotangents_times_the_jacobian(evaluator: Evaluator) -> None:
    cotangents: dict[str, Any] = {"z": [0.5, -1, 2], "h": [1, 3, -2]}
    graph = {"graph": graphs.TANH_LAYER, "wrt": ["x", "w"]}
    found = arrays(ask(evaluator, "vjp", {**graph, "vectors": cotangents}))["vjp"]
    matrices = arrays(ask(evaluator, "jacobian", {**graph, "outputs": ["z", "h"]}))["jacobian"]
    for name in ("x", "w"):
        close(found[name], sum(np.tensordot(cotangents[output], matrices[output][name], 1) for output in cotangents))


def test_tangents_are_the_jacobian_times_the_direction(evaluator: Evaluator) -> None:
    members = {"outputs": ["z", "h"]}
    direction = {"x": [0.3, -2], "w": [[1, 2], [3, 4], [5, 6]]}
    tangents = arrays(ask(evaluator, "jvp", {"graph": graphs.TANH_LAYER, "tangents": direction, **members}))
    matrices = arrays(ask(evaluator, "jacobian", {"graph": graphs.TANH_LAYER, "wrt": ["x", "w"], **members}))
    for name in members["outputs"]:
        by_input = matrices["jacobian"][name]
        along_x = by_input["x"] @ np.array(direction["x"])
        along_w = np.tensordot(by_input["w"], np.array(direction["w"]), axes=2)
        close(tangents["tangents"][name], along_x + along_w)
    close(tangents["outputs"]["h"], matrices["outputs"]["h"])


def test_an_output_that_does_not_move_has_a_tangent_of_zeros(evaluator: Evaluator) -> None:
    body = request({"x": [1, 2], "y": [[3, 4]]}, op("exp", ["x"], "e"), op("exp", ["y"], "f"), tangents={"x": [1, 1]})
    tangents = arrays(ask(evaluator, "jvp", body))["tangents"]
    close(tangents["e"], np.exp([1, 2]))
    assert tangents["f"].tolist() == [[0, 0]]


@pytest.mark.parametrize("mode", ["auto", "reverse", "forward"])
def test_the_jacobian_of_a_layer(evaluator: Evaluator, mode: str) -> None:
    reply = arrays(ask(evaluator, "jacobian", {"graph": graphs.TANH_LAYER, "wrt": ["x", "b"], "mode": mode}))
    slope = np.diag(1 - reply["outputs"]["h"] ** 2)
    weight = np.array(graphs.TANH_LAYER["tensors"]["w"]["data"])
    close(reply["jacobian"]["h"]["x"], slope @ weight)
    close(reply["jacobian"]["h"]["b"], slope)


def test_blocks_of_outputs_that_do_not_depend_on_an_input_are_zero(evaluator: Evaluator) -> None:
    body = request({"x": wanted([1, 2]), "y": wanted([3])}, op("exp", ["x"], "e"), op("exp", ["y"], "f"))
    jacobian = arrays(ask(evaluator, "jacobian", body))["jacobian"]
    close(jacobian["e"]["x"], np.diag(np.exp([1, 2])))
    close(jacobian["f"]["y"], [[math.exp(3)]])
    assert jacobian["e"]["y"].tolist() == [[0], [0]]
    assert jacobian["f"]["x"].tolist() == [[0, 0]]


def rosenbrock_hessian(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Three diagonals. Source: the derivatives of 100 (x[i+1] - x[i]²)² + (1 - x[i])²."""
    main = np.zeros_like(x)
    main[:-1] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    main[1:] += 200
    return np.diag(main) + np.diag(-400 * x[:-1], 1) + np.diag(-400 * x[:-1], -1)


@pytest.mark.parametrize("count", [2, 5, 50])
def test_rosenbrock_s_hessian_and_its_product_with_a_vector(evaluator: Evaluator, count: int) -> None:
    point, vector = np.linspace(-1.2, 1.5, count), np.cos(np.arange(count))
    graph = graphs.rosenbrock(*point.tolist())
    expected = rosenbrock_hessian(point)
    close(arrays(ask(evaluator, "hessian", {"graph": graph}))["hessian"]["x"]["x"], expected)
    product = arrays(ask(evaluator, "hvp", {"graph": graph, "vectors": {"x": vector.tolist()}}))
    close(product["hvp"]["x"], expected @ vector)
    close(product["gradients"]["x"], arrays(ask(evaluator, "gradients", {"graph": graph}))["gradients"]["x"])


@pytest.mark.parametrize("spot", [80.0, 100.0, 130.0])
def test_the_greeks_of_black_and_scholes(evaluator: Evaluator, spot: float) -> None:
    strike, sigma, rate, maturity = 95, 0.2, 0.05, 1
    root = sigma * math.sqrt(maturity)
    d1 = (math.log(spot / strike) + (rate + sigma**2 / 2) * maturity) / root
    d2 = d1 - root
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    vega = spot * density * math.sqrt(maturity)
    reply = arrays(ask(evaluator, "hessian", {"graph": graphs.black_scholes(spot), "wrt": ["spot", "sigma"]}))
    close(reply["gradients"]["spot"], 0.5 + math.erf(d1 / math.sqrt(2)) / 2)
    close(reply["gradients"]["sigma"], vega)
    close(reply["hessian"]["spot"]["spot"], density / (spot * root))
    close(reply["hessian"]["spot"]["sigma"], -density * d2 / sigma)
    close(reply["hessian"]["sigma"]["spot"], -density * d2 / sigma)
    close(reply["hessian"]["sigma"]["sigma"], vega * d1 * d2 / sigma)


def test_newton_s_method_needs_the_hessian_alone(evaluator: Evaluator) -> None:
    weights = np.zeros(2)
    for _ in range(12):
        graph = {**graphs.LOGISTIC, "tensors": {**graphs.LOGISTIC["tensors"], "weights": wanted(weights.tolist())}}
        graph["tensors"]["labels"] = [1, 0, 0, 1]
        reply = arrays(ask(evaluator, "hessian", {"graph": graph}))
        weights = weights - np.linalg.solve(reply["hessian"]["weights"]["weights"], reply["gradients"]["weights"])
    assert np.abs(reply["gradients"]["weights"]).max() < 1e-12


# vmap

MAPPED: dict[str, dict[str, Any]] = {
    "gradients": {"wrt": ["w", "b", "z"]},
    "forward": {"outputs": ["z", "loss"]},
    "jvp": {"tangents": {"x": [[1, 0, 0, 2, 0], [0, 1, 0, 0, 0], [3, 0, 1, 0, 0]], "b": [1, 2, 3]}},
    "vjp": {"vectors": {"z": [1, 0, -2], "loss": 3}, "wrt": ["b", "w"]},
    "jacobian": {"outputs": ["z", "loss"], "wrt": ["b", "w"]},
    "hessian": {"wrt": ["b"]},
    "hvp": {"vectors": {"b": [1, 0, -1]}},
}
BATCHED = ("x", "y")


def sample(value: Any, index: int) -> Any:
    """One sample's part of the tensors that are mapped."""
    return {name: data[index] if name in BATCHED else data for name, data in value.items()}


def stacked(replies: list[Any]) -> Any:
    if isinstance(replies[0], dict):
        return {name: stacked([reply[name] for reply in replies]) for name in replies[0]}
    return np.stack(replies)


@pytest.mark.parametrize("encoding", ["json", "base64"])
@pytest.mark.parametrize("call", CALLS)
def test_vmap_equals_a_loop(evaluator: Evaluator, call: str, encoding: str) -> None:
    members = {"dag": False, "encoding": encoding}
    given = MAPPED[call]
    loop = []
    for index in range(3):
        graph = {**graphs.BATCH, "tensors": sample(graphs.BATCH["tensors"], index)}
        own = {name: sample(value, index) if isinstance(value, dict) else value for name, value in given.items()}
        loop.append(ask(evaluator, call, {"graph": graph, **own, **members}))
    whole = ask(evaluator, call, {"graph": graphs.BATCH, **given, **members, "vmap": dict.fromkeys(BATCHED, 0)})
    assert whole.pop("warnings", []) == []
    expected = stacked([arrays({name: one[name] for name in whole}) for one in loop])
    for found, wished in zip(leaves(arrays(whole)), leaves(expected), strict=True):
        assert found.shape == wished.shape
        close(found, wished)


def leaves(tree: Any) -> list[Any]:
    return [leaf for _, value in sorted(tree.items()) for leaf in leaves(value)] if isinstance(tree, dict) else [tree]


def test_any_axis_can_be_mapped(evaluator: Evaluator) -> None:
    by_row = [[1, 2, 3], [4, 5, 6]]
    by_column = np.transpose(by_row).tolist()
    body = request({"x": wanted(by_row), "c": [1, 10, 100]}, op("dot", ["x", "c"], "d"), vmap={"x": 0}, dag=False)
    other = {**body, "graph": {**body["graph"], "tensors": {"x": wanted(by_column), "c": [1, 10, 100]}}}
    first = ask(evaluator, "gradients", body)
    assert first["outputs"]["d"]["data"] == [321, 654]
    assert first["gradients"]["x"]["data"] == [[1, 10, 100]] * 2
    for axis in (1, -1):
        assert ask(evaluator, "gradients", {**other, "vmap": {"x": axis}}) == first


@pytest.mark.parametrize(
    ("seed", "vmap", "expected"),
    [([1, 10], {"x": 0}, [[1, 10], [1, 10]]), ([[1, 10], [2, 20]], {"x": 0, "y": 0}, [[1, 10], [2, 20]])],
)
def test_seeds_are_shared_unless_they_are_mapped(
    evaluator: Evaluator, seed: Any, vmap: dict[str, int], expected: Any
) -> None:
    body = request({"x": wanted([[1, 2], [3, 4]])}, op("add", ["x", 0], "y"), backward={"y": seed}, vmap=vmap)
    assert ask(evaluator, "gradients", body)["gradients"]["x"]["data"] == expected


@pytest.mark.parametrize(("randomness", "alike"), [("same", True), ("different", False)])
def test_what_random_ops_draw(evaluator: Evaluator, randomness: str, alike: bool) -> None:
    body = request({"x": [[1] * 64] * 2}, op("dropout", ["x"], "y"), vmap={"x": 0}, randomness=randomness)
    first, second = ask(evaluator, "forward", body)["outputs"]["y"]["data"]
    assert (first == second) is alike


# What every call takes

EXAMPLE_IDS = [(call, name) for call in CALLS for name in EXAMPLES[call]]


@pytest.mark.parametrize(("call", "name"), EXAMPLE_IDS)
def test_base64_says_the_same(evaluator: Evaluator, call: str, name: str) -> None:
    value = {**EXAMPLES[call][name]["value"], "dag": False}
    plain, packed = (ask(evaluator, call, {**value, "encoding": encoding}) for encoding in ("json", "base64"))
    for found, expected in zip(leaves(arrays(packed)), leaves(arrays(plain)), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("call", CALLS)
def test_checkpoints_and_the_search_for_anomalies_change_nothing_about_the_answer(
    evaluator: Evaluator, call: str
) -> None:
    body = {"graph": graphs.BATCH, "vmap": dict.fromkeys(BATCHED, 0), "dag": False, **MAPPED[call]}
    plain = leaves(arrays(ask(evaluator, call, body)))
    for members in ({"checkpoint": ["z"]}, {"detect_anomaly": True}):
        for found, expected in zip(leaves(arrays(ask(evaluator, call, {**body, **members}))), plain, strict=True):
            close(found, expected)


@pytest.mark.parametrize("call", CALLS)
def test_a_passed_deadline_stops_every_call(call: str) -> None:
    fresh = Evaluator(Settings())
    body = orjson.dumps({"graph": graphs.BATCH, "vmap": dict.fromkeys(BATCHED, 0), **MAPPED[call]})
    with pytest.raises(TimedOut):
        fresh.answer(Call(call, body), deadline=0.0)
    assert len(fresh._plans) == 0


def test_a_computation_that_takes_too_long_to_plan_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*given: Any) -> Any:
        seen.append(given[-1])
        raise DeadlineExceeded

    seen: list[float] = []
    deadline = time.monotonic() + 60
    monkeypatch.setattr("app.evaluation.plans.compile_request", slow)
    with pytest.raises(TimedOut):
        Evaluator(Settings()).answer(Call("hessian", orjson.dumps(sum_of_exp())), deadline)
    assert seen == [deadline]
