"""Requests that are wrong, each in one way: what is sent, and what is answered about it.

A case is a name, a body (bytes as they are, or members that replace those of a request that is right), the status, the
code of the fault and the pointer to the member at fault. All are sent to POST /v1/gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from tests.app.bodies import op, request, tensor, wanted


class Case(NamedTuple):
    name: str
    body: bytes
    status: int
    code: str
    pointer: str


OPS = [op("exp", ["x"], "e"), op("sum", ["e"], "s")]
RIGHT = request({"x": wanted([1, 2])}, *OPS)


def text(name: str, body: bytes | str, code: str, pointer: str = "#", status: int = 400) -> Case:
    """A body as it is."""
    return Case(name, body.encode() if isinstance(body, str) else body, status, code, pointer)


def option(name: str, code: str, pointer: str, **members: Any) -> Case:
    """A request that is right, with other members."""
    return Case(name, orjson.dumps({**RIGHT, **members}), 422, code, pointer)


def leaf(name: str, value: Any, code: str, below: str = "") -> Case:
    """A graph with one more tensor, `t`."""
    body = request({"x": wanted([1, 2]), "t": value}, *OPS)
    return Case(name, orjson.dumps(body), 422, code, f"#/graph/tensors/t{below}")


def call(name: str, value: Any, code: str, below: str = "") -> Case:
    """A graph with one more op."""
    return Case(
        name,
        orjson.dumps(request({"x": wanted([1, 2])}, *OPS, value, backward="s")),
        422,
        code,
        f"#/graph/ops/2{below}",
    )


def spliced(name: str, values: str, code: str, pointer: str, status: int = 422) -> Case:
    """A request whose tensor `t` is JSON text that no encoder would write."""
    body = f'{{"graph": {{"tensors": {{"t": {values}}}, "ops": []}}, "outputs": ["t"]}}'
    return Case(name, body.encode(), status, code, pointer)


BODIES = [
    text("empty body", b"", "malformed_json"),
    text("white space", b" \n ", "malformed_json"),
    text("not JSON", b"gradients, please", "malformed_json"),
    text("cut off", b'{"graph": {', "malformed_json"),
    text("trailing comma", b'{"graph": {},}', "malformed_json"),
    text("trailing text", b'{"graph": {}} {}', "malformed_json"),
    text("single quotes", b"{'graph': {}}", "malformed_json"),
    text("comment", b'{"graph": {}} // mine', "malformed_json"),
    text("key without quotes", b"{graph: {}}", "malformed_json"),
    text("NaN", b'{"graph": NaN}', "malformed_json"),
    text("Infinity", b'{"graph": {"tensors": {"x": [Infinity]}}}', "malformed_json"),
    text("-Infinity", b'{"graph": {"tensors": {"x": [-Infinity]}}}', "malformed_json"),
    text("leading zero", b'{"seed": 01}', "malformed_json"),
    text("leading plus", b'{"seed": +1}', "malformed_json"),
    text("bare decimal point", b'{"seed": 1.}', "malformed_json"),
    text("hexadecimal", b'{"seed": 0x10}', "malformed_json"),
    text("True", b'{"dag": True}', "malformed_json"),
    text("None", b'{"wrt": None}', "malformed_json"),
    text("invalid UTF-8", b'{"graph": "\xff"}', "malformed_json"),
    text("UTF-16", '{"graph": {}}'.encode("utf-16"), "malformed_json"),
    text("byte order mark", b"\xef\xbb\xbf{}", "malformed_json"),
    text("lone surrogate", b'{"graph": "\\ud800"}', "malformed_json"),
    text("encoded surrogate", b'{"graph": "\xed\xa0\x80"}', "malformed_json"),
    text("control character in a string", b'{"gra\nph": 1}', "malformed_json"),
    text("unknown escape", b'{"graph": "\\x41"}', "malformed_json"),
    text("NUL", b'{"graph": {}}\0', "malformed_json"),
    text("nested too deep to read", b"[" * 2000 + b"]" * 2000, "nested_too_deep"),
    text("nested too deep to keep", b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "nested_too_deep"),
    text("key twice", b'{"seed": 1, "seed": 1}', "duplicate_key", "#/seed"),
    text("key twice, once escaped", b'{"seed": 1, "s\\u0065ed": 1}', "duplicate_key", "#/seed"),
    text("key twice, beside an escaped colon", b'{"a": "\\u003a", "b": 1, "b": 2}', "duplicate_key", "#/b"),
    text("tensor twice", b'{"graph": {"tensors": {"x": 1, "x": 2}}}', "duplicate_key", "#/graph/tensors/x"),
    text(
        "data twice",
        b'{"graph": {"tensors": {"x": {"data": [1], "data": [2]}}}}',
        "duplicate_key",
        "#/graph/tensors/x/data",
    ),
    text(
        "key twice in an op", b'{"graph": {"ops": [{}, {"op": "a", "op": "b"}]}}', "duplicate_key", "#/graph/ops/1/op"
    ),
    text(
        "key twice in an attribute",
        b'{"graph": {"ops": [{"attributes": {"dim": 0, "dim": 1}}]}}',
        "duplicate_key",
        "#/graph/ops/0/attributes/dim",
    ),
    text(
        "key twice in a tensor's values",
        b'{"graph": {"tensors": {"x": [{"a": 1, "a": 2}]}}}',
        "duplicate_key",
        "#/graph/tensors/x/0/a",
    ),
    text("empty key twice", b'{"": 1, "": 2}', "duplicate_key", "#/"),
    text("key with a slash twice", b'{"a/b~": 1, "a/b~": 2}', "duplicate_key", "#/a~1b~0"),
    text("a list", b"[]", "wrong_type", status=422),
    text("a string", b'"graph"', "wrong_type", status=422),
    text("a number", b"1", "wrong_type", status=422),
    text("null", b"null", "wrong_type", status=422),
    text("no graph", b"{}", "missing_member", "#/graph", status=422),
]

VALUES = [
    spliced("overflowing number", "[1, 1e400]", "number_out_of_range", "#/graph/tensors/t/1"),
    spliced("overflowing negative number", '{"data": [[-1e999]]}', "number_out_of_range", "#/graph/tensors/t/data/0/0"),
    spliced("overflowing integer", f"[1{'0' * 400}]", "number_out_of_range", "#/graph/tensors/t/0"),
    spliced(
        "int64 overflow",
        '{"data": [9223372036854775808], "dtype": "int64"}',
        "value_not_representable",
        "#/graph/tensors/t/data/0",
    ),
    spliced(
        "int64 underflow",
        '{"data": [-9223372036854775809], "dtype": "int64"}',
        "value_not_representable",
        "#/graph/tensors/t/data/0",
    ),
    spliced(
        "beyond 64 bits",
        '{"data": [0, 36893488147419103233], "dtype": "int64"}',
        "value_not_representable",
        "#/graph/tensors/t/data/1",
    ),
    leaf("null tensor", None, "null_value"),
    leaf("null data", tensor(None), "null_value", "/data"),
    leaf("null among numbers", [1, None], "null_value", "/1"),
    leaf("null deep among numbers", [[1, 2], [3, None]], "null_value", "/1/1"),
    leaf("object among numbers", [1, {}], "not_a_number", "/1"),
    leaf("string", "1", "not_a_number"),
    leaf("string among numbers", [1, "2"], "not_a_number", "/1"),
    leaf("nan in lower case", ["nan"], "not_a_number", "/0"),
    leaf("+Infinity", ["+Infinity"], "not_a_number", "/0"),
    leaf("true among numbers", [0.5, True], "bool_among_numbers", "/1"),
    leaf("true among integers", tensor([1, True], dtype="int8"), "bool_among_numbers", "/data/1"),
    leaf("number among bools", tensor([True, 1], dtype="bool"), "bool_among_numbers", "/data/0"),
    leaf("2 in a bool tensor", tensor([0, 2], dtype="bool"), "value_not_representable", "/data/1"),
    leaf("fraction in an integer tensor", tensor([1, 1.5], dtype="int32"), "value_not_representable", "/data/1"),
    leaf("large float in an integer tensor", tensor([1e17], dtype="int64"), "value_not_representable", "/data/0"),
    leaf("NaN in an integer tensor", tensor(["NaN"], dtype="int32"), "not_a_number", "/data/0"),
    leaf("NaN in a bool tensor", tensor(["NaN"], dtype="bool"), "not_a_number", "/data/0"),
    leaf("uint8 overflow", tensor([[255], [256]], dtype="uint8"), "value_not_representable", "/data/1/0"),
    leaf("uint8 underflow", tensor([-1], dtype="uint8"), "value_not_representable", "/data/0"),
    leaf("int8 overflow", tensor([128], dtype="int8"), "value_not_representable", "/data/0"),
    leaf("int16 overflow", tensor([40000], dtype="int16"), "value_not_representable", "/data/0"),
    leaf("int32 overflow", tensor([2**31], dtype="int32"), "value_not_representable", "/data/0"),
    leaf("float16 overflow", tensor([1, 65520], dtype="float16"), "value_not_representable", "/data/1"),
    leaf("float32 overflow", tensor([1e39], dtype="float32"), "value_not_representable", "/data/0"),
    leaf("ragged rows", [[1, 2], [3]], "ragged_data", "/1"),
    leaf("ragged deep", [[[1], [2]], [[3], [4, 5]]], "ragged_data", "/1/1"),
    leaf("number beside a list", [[1], 2], "ragged_data", "/1"),
    leaf("list beside a number", [1, [2]], "ragged_data", "/1"),
    leaf("empty list beside a full one", [[], [1]], "ragged_data", "/1"),
    leaf("nested beyond any rank", eval("[" * 70 + "1" + "]" * 70), "too_many_dimensions"),
    leaf("too few values", tensor([1, 2, 3], shape=[2, 2]), "shape_mismatch", "/data"),
    leaf("too many values", tensor([1, 2, 3], shape=[2]), "shape_mismatch", "/data"),
    leaf("other shape than the nesting", tensor([[1, 2]], shape=[2, 1]), "shape_mismatch", "/data"),
    leaf("a shape without values", tensor([], shape=[1]), "shape_mismatch", "/data"),
    leaf("an enormous shape", tensor([], shape=[2**40, 2**40]), "shape_mismatch", "/data"),
    leaf("a number and a shape", tensor(1, shape=[2]), "shape_mismatch", "/data"),
    leaf("a shape beyond any rank", tensor([1], shape=[1] * 65), "too_many_dimensions", "/data"),
    leaf("an empty one beyond any rank", tensor([], shape=[0] * 65), "too_many_dimensions", "/data"),
    leaf("an empty one beyond any size", tensor([], shape=[0, 2**62]), "invalid_size", "/data"),
    leaf("empty base64 beyond any size", tensor("", shape=[0, 2**31, 2**31]), "invalid_size", "/data"),
    leaf("a product of many digits", tensor([1], shape=[10**18] * 60), "shape_mismatch", "/data"),
    leaf("negative size", tensor([1], shape=[-1]), "invalid_size", "/shape/0"),
    leaf("fractional size", tensor([1], shape=[1.5]), "invalid_size", "/shape/0"),
    leaf("null size", tensor([1], shape=[1, None]), "invalid_size", "/shape/1"),
    leaf("true as a size", tensor([1], shape=[True]), "invalid_size", "/shape/0"),
    leaf("shape as a number", tensor([1], shape=1), "wrong_type", "/shape"),
    leaf("unknown dtype", tensor([1], dtype="float128"), "unknown_dtype", "/dtype"),
    leaf("torch's name of a dtype", tensor([1], dtype="torch.float32"), "unknown_dtype", "/dtype"),
    leaf("complex64", tensor([[1, 0]], dtype="complex64"), "dtype_not_offered", "/dtype"),
    leaf("complex128", tensor([[1, 0]], dtype="complex128"), "dtype_not_offered", "/dtype"),
    leaf("dtype as a number", tensor([1], dtype=32), "wrong_type", "/dtype"),
    leaf("requires_grad as a string", tensor([1], requires_grad="yes"), "wrong_type", "/requires_grad"),
    leaf("requires_grad as a number", tensor([1], requires_grad=1), "wrong_type", "/requires_grad"),
    leaf("unknown member", tensor([1], requiresGrad=True), "unknown_member", "/requiresGrad"),
    leaf("no data", {"shape": [1]}, "missing_member", "/data"),
    leaf("base64 without a shape", tensor("AAAA", dtype="uint8"), "not_a_number", "/data"),
    leaf("base64 of another alphabet", tensor("AA-_", dtype="uint8", shape=[3]), "malformed_base64", "/data"),
    leaf("base64 without its padding", tensor("AAAAAAAA8D8", shape=[1]), "malformed_base64", "/data"),
    leaf("base64 with white space", tensor("AA AA", dtype="uint8", shape=[3]), "malformed_base64", "/data"),
    leaf("base64 beyond ASCII", tensor("AAAé", dtype="uint8", shape=[3]), "malformed_base64", "/data"),
    leaf("base64 of too few bytes", tensor("AAAA", shape=[1]), "shape_mismatch", "/data"),
    leaf("base64 of too many bytes", tensor("AAAA", dtype="uint8", shape=[2]), "shape_mismatch", "/data"),
    leaf("base64 that is no bool", tensor("Ag==", dtype="bool", shape=[1]), "value_not_representable", "/data"),
]

GRAPHS = [
    option("graph as a list", "wrong_type", "#/graph", graph=[]),
    option("graph as null", "wrong_type", "#/graph", graph=None),
    option("no tensors", "missing_member", "#/graph/tensors", graph={"ops": []}),
    option("tensors as a list", "wrong_type", "#/graph/tensors", graph={"tensors": []}),
    option("ops as an object", "wrong_type", "#/graph/ops", graph={"tensors": {}, "ops": {}}),
    option("unknown member of a graph", "unknown_member", "#/graph/nodes", graph={**RIGHT["graph"], "nodes": []}),
    option("unknown dtype of a graph", "unknown_dtype", "#/graph/dtype", graph={**RIGHT["graph"], "dtype": "real"}),
    option(
        "integer dtype of a graph", "dtype_not_offered", "#/graph/dtype", graph={**RIGHT["graph"], "dtype": "int64"}
    ),
    option("empty name of a tensor", "invalid_name", "#/graph/tensors/", graph={"tensors": {"": 1}}),
    option("long name of a tensor", "invalid_name", f"#/graph/tensors/{'n' * 129}", graph={"tensors": {"n" * 129: 1}}),
    option(
        "pointer with escapes", "null_value", "#/graph/tensors/a~1b~0c%20%C3%A9", graph={"tensors": {"a/b~c é": None}}
    ),
    call("op as a string", "exp", "wrong_type"),
    call("op as null", None, "wrong_type"),
    call("no op", {"inputs": ["x"], "output": "y"}, "missing_member", "/op"),
    call("no output", {"op": "exp", "inputs": ["x"]}, "missing_member", "/output"),
    call("op's name as a number", op(1, ["x"], "y"), "wrong_type", "/op"),
    call("unknown op", op("expp", ["x"], "y"), "unknown_op", "/op"),
    call("inputs as a string", op("exp", "x", "y"), "wrong_type", "/inputs"),
    call("inputs as null", op("exp", None, "y"), "wrong_type", "/inputs"),
    call("object as an input", op("exp", [{"data": [1]}], "y"), "wrong_type", "/inputs/0"),
    call("unknown special number", op("mul", ["x", {"number": "inf"}], "y"), "not_a_number", "/inputs/1/number"),
    call("complex number", op("mul", ["x", {"number": [0, 1]}], "y"), "dtype_not_offered", "/inputs/1/number"),
    call("null as a special number", op("mul", ["x", {"number": None}], "y"), "not_a_number", "/inputs/1/number"),
    call("special number with more members", op("mul", ["x", {"number": 1, "n": 1}], "y"), "wrong_type", "/inputs/1"),
    call("integer beyond int64", op("mul", ["x", 2**63], "y"), "integer_too_wide", "/inputs/1"),
    call("attributes as a list", op("sum", ["x"], "y", attributes=[]), "wrong_type", "/attributes"),
    call("object as an attribute", op("sum", ["x"], "y", attributes={"dim": {}}), "wrong_type", "/attributes/dim"),
    call(
        "attribute nested too deep",
        op("sum", ["x"], "y", attributes={"dim": [[[[[[[[[1]]]]]]]]]}),
        "nested_too_deep",
        "/attributes/dim" + "/0" * 8,
    ),
    call("unknown attribute", op("sum", ["x"], "y", attributes={"dims": 0}), "unknown_parameter", "/attributes/dims"),
    call("unknown member of an op", op("exp", ["x"], "y", name="first"), "unknown_member", "/name"),
    call("no_grad as a string", op("exp", ["x"], "y", no_grad="true"), "wrong_type", "/no_grad"),
    call("output as a number", op("exp", ["x"], 1), "wrong_type", "/output"),
    call("output as an empty string", op("exp", ["x"], ""), "invalid_name", "/output"),
    call("long output", op("exp", ["x"], "y" * 129), "invalid_name", "/output"),
    call("output as an empty list", op("exp", ["x"], []), "empty_list", "/output"),
    call("output of nulls", op("exp", ["x"], [None]), "empty_list", "/output"),
    call("number among outputs", op("exp", ["x"], ["y", 1]), "wrong_type", "/output/1"),
    call("output named as a tensor", op("exp", ["x"], "x"), "duplicate_name", "/output"),
    call("output named as another", op("exp", ["x"], "e"), "duplicate_name", "/output"),
    call("output named twice", op("exp", ["x"], ["y", "y"]), "duplicate_name", "/output/1"),
    call("unknown input", op("exp", ["xx"], "y"), "unknown_tensor", "/inputs/0"),
    call("too many arguments", op("exp", ["x", "x"], "y"), "too_many_arguments", "/inputs/1"),
    call("missing argument", op("exp", [], "y"), "missing_argument"),
    call("a cycle of one", op("exp", ["y"], "y"), "cycle", ""),
    Case(
        "wide integer in an attribute",
        b'{"graph": {"tensors": {"x": 1}, "ops": [{"op": "sum", "inputs": ["x"], "output": "y",'
        b' "attributes": {"dim": 36893488147419103232}}]}}',
        422,
        "integer_too_wide",
        "#/graph/ops/0/attributes/dim",
    ),
]

OPTIONS = [
    option("unknown member of the request", "unknown_member", "#/gradients", gradients=["x"]),
    option("misspelt member", "unknown_member", "#/output", output="s"),
    option("vmap as a list", "wrong_type", "#/vmap", vmap=["x"]),
    option("vmap without an axis", "wrong_type", "#/vmap/x", vmap={"x": None}),
    option("fractional axis", "out_of_range", "#/vmap/x", vmap={"x": 0.5}),
    option("vmap of an axis that is not there", "dim_out_of_range", "#/vmap/x", vmap={"x": 1}),
    option("vmap of an unknown name", "unknown_tensor", "#/vmap/w", vmap={"w": 0}),
    option("vmap of a root without a seed", "unknown_tensor", "#/vmap/s", vmap={"s": 0}, backward={"s": None}),
    option("randomness misspelt", "unknown_choice", "#/randomness", randomness="differ"),
    option("backward as a number", "wrong_type", "#/backward", backward=1),
    option("backward as null", "wrong_type", "#/backward", backward=None),
    option("empty backward", "empty_list", "#/backward", backward=[]),
    option("backward without roots", "empty_list", "#/backward", backward={}),
    option("backward twice the same", "duplicate_name", "#/backward/1", backward=["s", "s"]),
    option("number among roots", "wrong_type", "#/backward/0", backward=[1]),
    option("unknown root", "unknown_tensor", "#/backward", backward="loss"),
    option("unknown root in a list", "unknown_tensor", "#/backward/1", backward=["s", "loss"]),
    option("root that is no scalar", "seed_missing", "#/backward", backward="e"),
    option("seed of another shape", "shape_mismatch", "#/backward/e", backward={"e": [1, 2, 3]}),
    option("seed that requires grad", "not_differentiable", "#/backward/s/requires_grad", backward={"s": wanted(1)}),
    option("ragged seed", "ragged_data", "#/backward/e/1", backward={"e": [1, [2]]}),
    option("wrt as a string", "wrong_type", "#/wrt", wrt="x"),
    option("number among wrt", "wrong_type", "#/wrt/1", wrt=["x", 0]),
    option("wrt twice the same", "duplicate_name", "#/wrt/1", wrt=["x", "x"]),
    option("unknown wrt", "unknown_tensor", "#/wrt/0", wrt=["w"]),
    option("outputs as an object", "wrong_type", "#/outputs", outputs={"e": 1}),
    option("unknown output", "unknown_tensor", "#/outputs/0", outputs=["out"]),
    option("accumulate as a list", "wrong_type", "#/accumulate", accumulate=[1, 2]),
    option("null to accumulate", "null_value", "#/accumulate/x", accumulate={"x": None}),
    option("accumulate of another shape", "shape_mismatch", "#/accumulate/x", accumulate={"x": [1]}),
    option("accumulate for another name", "unknown_tensor", "#/accumulate/w", accumulate={"w": [1]}),
    option("unreached misspelt", "unknown_choice", "#/unreached", unreached="zero"),
    option("unreached as null", "wrong_type", "#/unreached", unreached=None),
    option("dag as a string", "wrong_type", "#/dag", dag="no"),
    option("dag as a number", "wrong_type", "#/dag", dag=0),
    option("unknown encoding", "unknown_choice", "#/encoding", encoding="hex"),
    option("checkpoint as a flag", "wrong_type", "#/checkpoint", checkpoint=True),
    option("unknown checkpoint", "unknown_tensor", "#/checkpoint/0", checkpoint=["h"]),
    option("detect_anomaly as a number", "wrong_type", "#/detect_anomaly", detect_anomaly=1),
    option("negative seed", "out_of_range", "#/seed", seed=-1),
    option("fractional seed", "out_of_range", "#/seed", seed=0.5),
    option("seed as a string", "wrong_type", "#/seed", seed="0"),
    option("seed beyond 63 bits", "out_of_range", "#/seed", seed=2**63),
    option("no time at all", "out_of_range", "#/timeout_ms", timeout_ms=0),
    option("time as a string", "wrong_type", "#/timeout_ms", timeout_ms="1s"),
    option("true as a time", "wrong_type", "#/timeout_ms", timeout_ms=True),
]

CASES = [*BODIES, *VALUES, *GRAPHS, *OPTIONS]
