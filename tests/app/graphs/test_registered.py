"""The id of a graph is the hash of what it says: the same however it is written, another where a result may differ."""

import base64
import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from app.errors import NotFound, StoreUnavailable
from app.graphs import registration
from app.graphs.registered import Registered, RegisteredGraphs, restored
from app.graphs.store.store import Store, StoredGraph
from app.graphs.store.tables import GRAPHS as TABLE
from app.routes.examples.registered import GRAPHS, REGISTERED_ID
from app.settings import Settings
from app.wire.codec import JSON, MSGPACK, Codec
from tests.app.bodies import op, request, tensor, wanted

SETTINGS = Settings()


def kept(body: Any, codec: Codec = JSON) -> StoredGraph:
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    return registration.read(text, codec, SETTINGS, None)[0]


def graph_id(body: Any) -> str:
    return kept(body).id


def packed(values: Any, dtype: str, **members: Any) -> dict[str, Any]:
    array = np.array(values, dtype)
    data = base64.b64encode(array.tobytes()).decode()
    return {"data": data, "dtype": dtype, "shape": list(array.shape), **members}


SUM = op("sum", ["x"], "s")


def summed(x: Any, **members: Any) -> dict[str, Any]:
    return request({"x": x}, SUM, **members)


OPS = b'"ops":[{"op":"sum","inputs":["x"],"output":"s"}]'
PLAIN = summed([[1, 2], [3, 0.5]])
SAME: dict[str, Any] = {
    "numbers as fractions": summed([[1.0, 2.0], [3.0, 0.5]]),
    "numbers with exponents": b'{"graph":{"tensors":{"x":[[1e0,20E-1],[3,5e-1]]},' + OPS + b"}}",
    "values under data": summed({"data": [[1, 2], [3, 0.5]]}),
    "flat values": summed({"data": [1, 2, 3, 0.5], "shape": [2, 2]}),
    "a shape that says nothing new": summed({"data": [[1, 2], [3, 0.5]], "shape": [2, 2]}),
    "base64": summed(packed([[1, 2], [3, 0.5]], "float64")),
    "the default dtype": summed([[1, 2], [3, 0.5]], dtype="float64"),
    "the tensor's dtype": summed(tensor([[1, 2], [3, 0.5]], dtype="float64")),
    "no gradient": summed(tensor([[1, 2], [3, 0.5]], requires_grad=False)),
    "no attributes": request({"x": [[1, 2], [3, 0.5]]}, op("sum", ["x"], "s", attributes={})),
    "recorded": request({"x": [[1, 2], [3, 0.5]]}, op("sum", ["x"], "s", no_grad=False)),
    "other order of members": b' {"graph" : {' + OPS + b', "tensors":{"x":[[1,2],[3,0.5]]}}}',
    "an escaped name": b'{"graph":{"tensors":{"\\u0078":[[1,2],[3,0.5]]},' + OPS + b"}}",
}
DIFFERENT: dict[str, Any] = {
    "a value": summed([[1, 2], [3, 0.25]]),
    "the last digit of a value": summed([[1, 2], [3, 0.5000000000000001]]),
    "the sign of a zero": summed([[1, 2], [3, -0.0]]),
    "zero": summed([[1, 2], [3, 0]]),
    "the shape": summed([1, 2, 3, 0.5]),
    "the dtype of a tensor": summed(tensor([[1, 2], [3, 0.5]], dtype="float32")),
    "the dtype of the graph": summed(tensor([[1, 2], [3, 0.5]], dtype="float64"), dtype="float32"),
    "requires_grad": summed(wanted([[1, 2], [3, 0.5]])),
    "no values": summed({"shape": [2, 2]}),
    "an open dimension": summed({"shape": [None, 2]}),
    "another open dimension": summed({"shape": [2, None]}),
    "the name of a tensor": request({"y": [[1, 2], [3, 0.5]]}, op("sum", ["y"], "s")),
    "the name of an output": request({"x": [[1, 2], [3, 0.5]]}, op("sum", ["x"], "t")),
    "the op": request({"x": [[1, 2], [3, 0.5]]}, op("mean", ["x"], "s")),
    "an attribute": request({"x": [[1, 2], [3, 0.5]]}, op("sum", ["x"], "s", attributes={"dim": 0})),
    "another value of an attribute": request({"x": [[1, 2], [3, 0.5]]}, op("sum", ["x"], "s", attributes={"dim": 1})),
    "no_grad": request({"x": [[1, 2], [3, 0.5]]}, op("sum", ["x"], "s", no_grad=True)),
    "one more tensor": request({"x": [[1, 2], [3, 0.5]], "y": 1}, SUM),
    "one more op": request({"x": [[1, 2], [3, 0.5]]}, SUM, op("exp", ["s"], "e")),
    "one op more behind": request({"x": [[1, 2], [3, 0.5]]}, op("exp", ["s"], "e"), SUM),
    "an integer argument": request({"x": [[1, 2], [3, 0.5]]}, op("pow", ["x", 2], "s")),
    "a fractional argument": request({"x": [[1, 2], [3, 0.5]]}, op("pow", ["x", 2.0], "s")),
    "an infinite argument": request({"x": [[1, 2], [3, 0.5]]}, op("mul", ["x", {"number": "Infinity"}], "s")),
    "a negative infinite argument": request({"x": [[1, 2], [3, 0.5]]}, op("mul", ["x", {"number": "-Infinity"}], "s")),
    "an argument that is no number": request({"x": [[1, 2], [3, 0.5]]}, op("mul", ["x", {"number": "NaN"}], "s")),
}


@pytest.mark.parametrize("name", SAME)
def test_what_means_the_same_has_the_same_id(name: str) -> None:
    assert kept(SAME[name]) == kept(PLAIN)


def test_what_means_something_else_has_another_id() -> None:
    ids = {name: graph_id(body) for name, body in {"plain": PLAIN, **DIFFERENT}.items()}
    assert len(set(ids.values())) == len(ids)


def test_two_spellings_of_an_argument_are_one() -> None:
    plain, written = 0.5, {"number": 0.5}
    assert graph_id(request({"x": 1}, op("mul", ["x", plain], "y"))) == graph_id(
        request({"x": 1}, op("mul", ["x", written], "y"))
    )
    assert graph_id(request({}, op("zeros", [[2]], "y"))) == graph_id(
        request({}, op("zeros", [[2]], "y", attributes={}, no_grad=False))
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_bytes_and_numbers_of_every_dtype_are_the_same(dtype: str) -> None:
    values = [[1, 0, 1], [0, 1, 1]]
    assert graph_id(request({"x": tensor(values, dtype=dtype)})) == graph_id(request({"x": packed(values, dtype)}))


def test_all_that_is_not_a_number_is_the_same() -> None:
    odd = np.array([0x7FF8000000000123, 0xFFF8000000000000], np.uint64).view(np.float64)
    assert graph_id(request({"x": packed(odd, "float64")})) == graph_id(request({"x": ["NaN", "NaN"]}))


GOLDEN = {
    "layer": REGISTERED_ID,
    "batch": "sha256-f4bd60f184524910a244acf55f8a8a8dfdd9b454ba39d4a4ee65c70a089eea7e",
    "tutorial": "sha256-cc63eff306ae142c2ec2c69cb78fed890718bf84efaa6d45e03c37a577205264",
}
"""Ids that every release and every platform gives."""


@pytest.mark.parametrize("name", GRAPHS)
def test_ids_stay_what_they_are(name: str) -> None:
    assert graph_id(GRAPHS[name]["value"]) == GOLDEN[name]


def test_the_normal_form_stays_what_it_is() -> None:
    body = request(
        {"é": wanted([1, "NaN"]), "x": {"shape": [None, 2], "dtype": "int64"}},
        op("mul", {"other": "é", "input": 1e16}, "y"),
        op("split", ["é", 1], ["v", None], attributes={"dim": -1}, no_grad=True),
    )
    found = kept(body)
    digest = hashlib.sha256(found.data).hexdigest()
    assert found.data.hex() == "000000000000f03f000000000000f87f"
    assert found.text.decode() == (
        '{"dtype":"float64","ops":['
        '{"attributes":{},"inputs":{"input":1e+16,"other":"\\u00e9"},"no_grad":false,"op":"mul","output":"y"},'
        '{"attributes":{"dim":-1},"inputs":["\\u00e9",1],"no_grad":true,"op":"split","output":["v",null]}'
        '],"tensors":{"x":{"dtype":"int64","requires_grad":false,"shape":[null,2]},'
        f'"\\u00e9":{{"data":"{digest}","dtype":"float64","requires_grad":true,"shape":[2]}}}}}}'
    )
    assert found.id == f"sha256-{hashlib.sha256(found.text).hexdigest()}"


def test_ids_do_not_depend_on_the_process() -> None:
    script = (
        "import orjson, sys; from app.graphs import registration; from app.settings import Settings; "
        "from app.wire.codec import JSON; "
        "print(registration.read(sys.stdin.buffer.read(), JSON, Settings(), None)[0].id)"
    )
    body = orjson.dumps(GRAPHS["tutorial"]["value"])
    for seed in "0", "1":
        done = subprocess.run(
            [sys.executable, "-c", script], input=body, env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True, check=True,
        )  # fmt: skip
        assert done.stdout.decode().strip() == GOLDEN["tutorial"]


NAMES = st.text(min_size=1, max_size=6)
DTYPES = st.sampled_from(["float64", "float32", "float16"])
NUMBERS = st.floats(width=16)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same graph, written in two ways."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    default = draw(DTYPES)
    one, other = {}, {}
    for name in names:
        dtype, grad = draw(DTYPES), draw(st.booleans())
        values = draw(st.lists(NUMBERS, min_size=1, max_size=6))
        words = [
            value if np.isfinite(value) else {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
            for value in values
        ]
        one[name] = {"data": words, "dtype": dtype, "requires_grad": grad}
        other[name] = packed(values, dtype, **({"requires_grad": True} if grad else {}))
        if dtype == default:
            other[name] = {member: value for member, value in other[name].items() if member != "dtype"}
    order = draw(st.permutations(names))
    return (
        request({name: one[name] for name in names}, dtype=default),
        request({name: other[name] for name in order}, **({} if default == "float64" else {"dtype": default})),
    )


@given(spelled())
def test_however_a_graph_is_written_its_id_is_one(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    one, other = both
    assert kept(one) == kept(other)


@given(spelled())
def test_what_is_shown_of_a_graph_registers_as_the_same(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first = kept(both[0])
    members = {"graph": restored(first).shown()["graph"]}
    for codec, encoding in ((JSON, "json"), (JSON, "base64"), (MSGPACK, "json")):
        assert kept(codec.write(members, encoding), codec) == first


def test_what_is_kept_of_values_cannot_be_written_to() -> None:
    array = restored(kept(PLAIN)).arrays["x"]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def stored(*bodies: Any, **settings: Any) -> tuple[Store, RegisteredGraphs, list[str]]:
    store = Store(Settings(**settings))
    ids = []
    for body in bodies:
        graph = kept(body)
        store.put(graph)
        ids.append(graph.id)
    return store, RegisteredGraphs(store, Settings(**settings)), ids


def test_a_graph_is_read_once_and_kept_ready() -> None:
    store, graphs, (one,) = stored(PLAIN)
    first = graphs.get(one)
    assert isinstance(first, Registered)
    store.delete(one)
    assert graphs.get(one) is first


def test_what_is_kept_ready_is_bounded_in_bytes() -> None:
    large = summed([[0] * 1000])
    store, graphs, (one, two) = stored(PLAIN, large, cached_graph_bytes=5000)
    assert graphs.get(two) is not graphs.get(two)
    assert graphs.get(one) is graphs.get(one)
    store.delete(two)
    with pytest.raises(NotFound):
        graphs.get(two)


def test_an_unknown_id_is_not_found() -> None:
    with pytest.raises(NotFound) as refused:
        stored()[1].get("sha256-0")
    assert "/v1/graphs" in refused.value.faults[0].hint


@pytest.mark.parametrize("column", ["text", "data"])
def test_what_does_not_match_its_id_is_refused(column: str) -> None:
    store, graphs, (one,) = stored(PLAIN)
    changed = kept(PLAIN).text.replace(b'"sum"', b'"amax"') if column == "text" else b"\0" * 32
    with store._database.writing() as connection:
        connection.execute(update(TABLE).values({column: changed}))
    with pytest.raises(StoreUnavailable, match="damaged"):
        graphs.get(one)
