"""A call of a registered graph is answered as the request that has the same tensors and brings the graph itself."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest, NotFound, pointer
from app.evaluation.evaluator import Call, Evaluator
from app.graphs.registered import RegisteredGraphs
from app.graphs.registration import read
from app.graphs.store.store import Store
from app.routes.examples.inline import EXAMPLES
from app.settings import Settings
from app.wire.codec import JSON
from tests.app.bodies import op, request, tensor, wanted


class Service:
    """An evaluator with a store: registers graphs and calls them."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.store = Store(self.settings)
        self.evaluator = Evaluator(self.settings, RegisteredGraphs(self.store, self.settings))

    def register(self, graph: dict[str, Any]) -> str:
        kept, _ = read(orjson.dumps({"graph": graph}), JSON, self.settings, None)
        self.store.put(kept)
        return kept.id

    def answer(self, operation: str, body: dict[str, Any], graph_id: str | None = None) -> Any:
        answer = self.evaluator.answer(Call(operation, orjson.dumps(body), graph=graph_id))
        return orjson.loads(answer.body)

    def call(self, graph: dict[str, Any], operation: str, tensors: dict[str, Any], **members: Any) -> Any:
        return self.answer(operation, {"tensors": tensors, **members}, self.register(graph))


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.store.close()


def without_values(value: Any, dtype: str) -> Any:
    """A tensor's type alone."""
    given = value if isinstance(value, dict) else {"data": value}
    if "data" not in given:
        return given
    shape, inner = given.get("shape", []), given["data"]
    while "shape" not in given and isinstance(inner, list):
        shape, inner = [*shape, len(inner)], inner[0]
    return {"dtype": dtype, **{name: given[name] for name in given if name != "data"}, "shape": shape}


def by_name(body: Any) -> Any:
    """A request whose tensors stand in the order of their names, as those of a registered graph do."""
    graph = body["graph"]
    return {**body, "graph": {**graph, "tensors": dict(sorted(graph["tensors"].items()))}}


CALLS = [
    pytest.param(operation, by_name(example["value"]), id=f"{operation}-{name}")
    for operation, examples in EXAMPLES.items()
    for name, example in examples.items()
]


@pytest.mark.parametrize(("operation", "body"), CALLS)
def test_a_call_that_sends_nothing_is_the_request(service: Service, operation: str, body: Any) -> None:
    rest = {name: value for name, value in body.items() if name != "graph"}
    expected = service.answer(operation, body)
    graph_id = service.register(body["graph"])
    assert service.answer(operation, rest, graph_id) == expected
    assert service.answer(operation, {**rest, "tensors": {}}, graph_id) == expected


@pytest.mark.parametrize(("operation", "body"), CALLS)
def test_a_call_that_sends_everything_is_the_request(service: Service, operation: str, body: Any) -> None:
    graph = body["graph"]
    types = {name: without_values(value, graph.get("dtype", "float64")) for name, value in graph["tensors"].items()}
    rest = {name: value for name, value in body.items() if name != "graph"}
    sent = {"tensors": graph["tensors"], **rest}
    expected = service.answer(operation, body)
    for registered in ({**graph, "tensors": types}, graph):
        assert service.answer(operation, sent, service.register(registered)) == expected


OPS = [op("matmul", ["x", "w"], "z"), op("tanh", ["z"], "h"), op("sum", ["h"], "loss")]
W = [[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]]
LAYER = request({"x": {"shape": [None, 3]}, "w": wanted(W)}, *OPS)["graph"]


@pytest.mark.parametrize("rows", [1, 2, 5, 0])
def test_an_open_dimension_has_any_size(service: Service, rows: int) -> None:
    x = {"data": [[0.1 * (i + j) for j in range(3)] for i in range(rows)], "shape": [rows, 3]}
    found = service.call(LAYER, "gradients", {"x": x}, dag=False)
    expected = service.answer("gradients", {**request({"x": x, "w": wanted(W)}, *OPS), "dag": False})
    assert found == expected


def test_what_is_sent_stands_for_what_is_registered_in_its_call_alone(service: Service) -> None:
    graph_id = service.register(LAYER)
    x, other = [[1, 0, 0]], [[0, 0], [0, 0], [0, 1]]
    before = service.answer("forward", {"tensors": {"x": x}, "outputs": ["z"]}, graph_id)
    assert before["outputs"]["z"]["data"] == [[0.1, 0.2]]
    changed = service.answer("forward", {"tensors": {"x": x, "w": other}, "outputs": ["z"]}, graph_id)
    assert changed["outputs"]["z"]["data"] == [[0.0, 0.0]]
    assert service.answer("forward", {"tensors": {"x": x}, "outputs": ["z"]}, graph_id) == before


def test_a_plan_is_made_once_for_each_shape() -> None:
    service = Service()
    graph_id = service.register(LAYER)
    for rows in (1, 2, 1, 2, 2):
        for value in (0.5, 1.5):
            service.answer("gradients", {"tensors": {"x": [[value] * 3] * rows}}, graph_id)
    assert (len(service.evaluator._structures), len(service.evaluator._plans)) == (1, 2)


def test_two_graphs_are_not_mistaken_for_each_other(service: Service) -> None:
    expected = {"exp": [1.0, 1.0], "square": [0.0, 0.0], "neg": [-0.0, -0.0]}
    for _ in range(2):
        for name, data in expected.items():
            graph = request({"x": wanted([1, 2])}, op(name, ["x"], "y"))["graph"]
            assert service.call(graph, "forward", {"x": [0, 0]})["outputs"]["y"]["data"] == data


@pytest.mark.parametrize(
    ("registered", "sent", "dtype", "data"),
    [
        ({"shape": [2]}, [1, 2], "float64", [1.0, 2.0]),
        ({"shape": [2], "dtype": "float32"}, [1, 0.1], "float32", [1.0, 0.1]),
        ({"shape": [2], "dtype": "int64"}, [1, 2**53 + 1], "int64", [1, 2**53 + 1]),
        ({"shape": [2], "dtype": "bool"}, [1, 0], "bool", [True, False]),
        ({"shape": [2], "dtype": "float32"}, [True, False], "float32", [1.0, 0.0]),
        ([True, False], [False, True], "bool", [False, True]),
        ({"shape": [1], "dtype": "int16"}, tensor("AQA=", shape=[1]), "int16", [1]),
        ({"shape": [1], "dtype": "int16"}, tensor([7], dtype="int16", requires_grad=False), "int16", [7]),
        ({"shape": [None, 2]}, tensor([1, 2, 3, 4], shape=[2, 2]), "float64", [[1.0, 2.0], [3.0, 4.0]]),
    ],
)
def test_a_tensor_has_the_dtype_it_is_registered_with(
    service: Service, registered: Any, sent: Any, dtype: str, data: Any
) -> None:
    graph = request({"x": registered})["graph"]
    found = service.call(graph, "forward", {"x": sent}, outputs=["x"])["outputs"]["x"]
    assert (found["dtype"], found["data"]) == (dtype, data)


def test_gradients_are_those_of_what_is_registered_as_wanted(service: Service) -> None:
    found = service.call(LAYER, "gradients", {"x": [[1, 2, 3]], "w": {"data": W, "requires_grad": True}})
    assert list(found["gradients"]) == ["w"]


SAMPLE = request({"x": {"shape": [3]}, "w": wanted([0.5, -1, 2])}, op("dot", ["x", "w"], "y"))["graph"]
"""A graph as one sample sees it."""


def test_a_mapped_tensor_has_its_axis_besides(service: Service) -> None:
    rows = [[1, 0, 0], [0, 1, 0], [1, 1, 1], [2, 0, 0]]
    expected = service.answer(
        "gradients", {"graph": {**SAMPLE, "tensors": {**SAMPLE["tensors"], "x": rows}}, "vmap": {"x": 0}, "dag": False}
    )
    assert service.call(SAMPLE, "gradients", {"x": rows}, vmap={"x": 0}, dag=False) == expected
    columns = [list(column) for column in zip(*rows, strict=True)]
    for axis in (1, -1):
        assert service.call(SAMPLE, "gradients", {"x": columns}, vmap={"x": axis}, dag=False) == expected


def test_a_registered_value_can_be_mapped_over_as_it_is(service: Service) -> None:
    graph = request({"x": [[1, 2], [3, 4]], "a": wanted([1, 1])}, op("mul", ["x", "a"], "y"), op("sum", ["y"], "s"))[
        "graph"
    ]
    found = service.call(graph, "gradients", {}, vmap={"x": 0}, dag=False)
    assert found["gradients"]["a"]["data"] == [[1.0, 2.0], [3.0, 4.0]]


def test_what_does_not_run_may_have_a_shape_in_place_of_values(service: Service) -> None:
    for tensors in ({"x": {"shape": [7, 3]}}, {"x": [[1, 2, 3]] * 7}):
        found = service.call(LAYER, "explain", tensors)
        assert next(node["shape"] for node in found["dag"]["nodes"] if node["name"] == "z") == [7, 2]
    assert service.call(SAMPLE, "explain", {})["dag"]


def faults(service: Service, graph: dict[str, Any], operation: str, body: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refused:
        service.answer(operation, body, service.register(graph))
    assert all(fault.detail and fault.hint for fault in refused.value.faults)
    return [(pointer(fault.path), fault.code) for fault in refused.value.faults]


ROW = {"x": [[1, 2, 3]]}
FROZEN = tensor(W, requires_grad=False)


@pytest.mark.parametrize(
    ("place", "code", "body"),
    [
        ("#/tensors/x", "missing_value", {}),
        ("#/tensors/x", "missing_value", {"tensors": {}}),
        ("#/tensors/x", "missing_value", {"tensors": {"w": W}}),
        ("#/tensors", "wrong_type", {"tensors": [1]}),
        ("#/tensors", "wrong_type", {"tensors": None}),
        ("#/graph", "unknown_member", {"tensors": ROW, "graph": LAYER}),
        ("#/tensor", "unknown_member", {"tensors": ROW, "tensor": {}}),
        ("#/tensors/xx", "unknown_tensor", {"tensors": {**ROW, "xx": 1}}),
        ("#/tensors/z", "unknown_tensor", {"tensors": {**ROW, "z": 1}}),
        ("#/tensors/w", "null_value", {"tensors": {**ROW, "w": None}}),
        ("#/tensors/x/data", "missing_member", {"tensors": {"x": {"shape": [2, 3]}}}),
        ("#/tensors/x/shape/0", "invalid_size", {"tensors": {"x": {"shape": [None, 3], "data": []}}}),
        ("#/tensors/x/size", "unknown_member", {"tensors": {"x": {"size": [1, 3], "data": [1, 2, 3]}}}),
        ("#/tensors/x/1", "ragged_data", {"tensors": {"x": [[1, 2, 3], [1, 2]]}}),
        ("#/tensors/x/data/0/1", "not_a_number", {"tensors": {"x": {"data": [[1, "2", 3]]}}}),
        ("#/tensors/x/0/1", "not_a_number", {"tensors": {"x": [[1, "2", 3]]}}),
        ("#/tensors/x/dtype", "dtype_mismatch", {"tensors": {"x": tensor([[1, 2, 3]], dtype="float32")}}),
        ("#/tensors/x/requires_grad", "requires_grad_mismatch", {"tensors": {"x": wanted([[1, 2, 3]])}}),
        ("#/tensors/w/requires_grad", "requires_grad_mismatch", {"tensors": {**ROW, "w": FROZEN}}),
        ("#/tensors/w/requires_grad", "wrong_type", {"tensors": {**ROW, "w": tensor(W, requires_grad=1)}}),
        ("#/tensors/x", "shape_mismatch", {"tensors": {"x": [1, 2, 3]}}),
        ("#/tensors/x", "shape_mismatch", {"tensors": {"x": [[1, 2]]}}),
        ("#/tensors/x", "shape_mismatch", {"tensors": {"x": 1}}),
        ("#/tensors/x/data", "shape_mismatch", {"tensors": {"x": tensor([[1, 2, 3, 4]])}}),
        ("#/tensors/x/shape", "shape_mismatch", {"tensors": {"x": tensor([1, 2, 3], shape=[3, 1])}}),
        ("#/tensors/w", "shape_mismatch", {"tensors": {**ROW, "w": [[1, 2]] * 4}}),
        ("#/tensors/x", "shape_mismatch", {"tensors": {"x": [[[1, 2, 3, 4]]]}, "vmap": {"x": 0}}),
        ("#/vmap/x", "dim_out_of_range", {"tensors": ROW, "vmap": {"x": 2}}),
        ("#/vmap/v", "unknown_tensor", {"tensors": ROW, "vmap": {"v": 0}}),
        ("#/wrt/0", "unknown_tensor", {"tensors": ROW, "wrt": ["v"]}),
        ("#/backward", "seed_missing", {"tensors": ROW, "backward": "z"}),
        ("#/backward/h", "shape_mismatch", {"tensors": ROW, "backward": {"h": [1, 2, 3]}}),
        ("#/seed", "out_of_range", {"tensors": ROW, "seed": -1}),
        ("#", "wrong_type", []),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_in_what_was_sent(service: Service, place: str, code: str, body: Any) -> None:
    assert faults(service, LAYER, "gradients", body) == [(place, code)]
    assert service.call(LAYER, "gradients", ROW)


def test_all_faults_of_a_call_come_in_one_answer(service: Service) -> None:
    body = {
        "tensors": {"v": 1, "x": [[1, "x", 3]], "w": tensor(W, dtype="float32")},
        "seed": -1, "wart": [], "accumulate": {"w": [[1], [2, 3]]},
    }  # fmt: skip
    assert set(faults(service, LAYER, "gradients", body)) == {
        ("#/tensors/v", "unknown_tensor"),
        ("#/tensors/x/0/1", "not_a_number"),
        ("#/tensors/w/dtype", "dtype_mismatch"),
        ("#/seed", "out_of_range"),
        ("#/wart", "unknown_member"),
        ("#/accumulate/w/1", "ragged_data"),
    }


def test_values_that_do_not_fit_each_other_are_at_fault_together(service: Service) -> None:
    graph = request({"x": {"shape": [None]}, "y": {"shape": [None]}}, op("dot", ["x", "y"], "s"))["graph"]
    with pytest.raises(InvalidRequest) as refused:
        service.call(graph, "forward", {"x": [1, 2], "y": [1, 2, 3]})
    fault = refused.value.faults[0]
    assert pointer(fault.path) == "#/tensors"
    assert fault.detail.startswith("at /graph/ops/0")
    assert "dot" in fault.detail


def test_a_value_that_an_op_refuses_is_at_fault_in_its_op(service: Service) -> None:
    graph = request({"a": {"shape": [2, 2]}}, op("linalg.inv", ["a"], "b"))["graph"]
    with pytest.raises(InvalidRequest) as refused:
        service.call(graph, "forward", {"a": [[0, 0], [0, 0]]})
    fault = refused.value.faults[0]
    assert (pointer(fault.path), fault.code) == ("#/tensors", "singular")
    assert fault.detail.startswith("at /graph/ops/0")


def test_a_tensor_over_a_limit_is_named_where_it_was_sent() -> None:
    service = Service(max_elements=4)
    assert faults(service, request({"x": {"shape": [None]}})["graph"], "forward", {"tensors": {"x": [1] * 5}}) == [
        ("#/tensors/x", "elements_limit")
    ]


def test_a_computation_over_a_limit_is_named_by_what_was_sent() -> None:
    service = Service(max_memory_bytes=10_000)
    graph = request({"x": {"shape": [None]}}, op("exp", ["x"], "y"), op("outer", ["y", "y"], "z"))["graph"]
    assert service.call(graph, "forward", {"x": [1] * 5})
    assert faults(service, graph, "forward", {"tensors": {"x": [1] * 50}}) == [("#/tensors", "memory_limit")]


def test_a_deleted_graph_is_not_called_again_once_it_is_forgotten() -> None:
    service = Service(cached_graph_bytes=0)
    graph_id = service.register(LAYER)
    assert service.answer("forward", {"tensors": ROW}, graph_id)
    service.store.delete(graph_id)
    with pytest.raises(NotFound):
        service.answer("forward", {"tensors": ROW}, graph_id)


def test_registered_values_survive_every_call(service: Service) -> None:
    graph_id = service.register(LAYER)
    before = {name: array.copy() for name, array in service.evaluator._graphs.get(graph_id).arrays.items()}
    for operation, members in (("gradients", {}), ("hessian", {}), ("jvp", {"tangents": {"w": W}}), ("check", {})):
        service.answer(operation, {"tensors": ROW, **members}, graph_id)
    after = service.evaluator._graphs.get(graph_id).arrays
    assert all((after[name] == array).all() for name, array in before.items())
