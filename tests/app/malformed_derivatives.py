"""Requests for derivatives that are wrong, each in one way, for each call: what is sent and what is answered about it.

Every table has the faults of a call's own members, and those of the members that every call takes.
"""

from __future__ import annotations

from typing import Any

import orjson

from tests.app.bodies import op, request, tensor, wanted
from tests.app.malformed import Case

TENSORS = {"x": wanted([1, 2]), "c": [3, 4], "k": tensor([0, 1], dtype="int64"), "m": [[1, 2], [3, 4], [5, 6]]}
OPS = [op("exp", ["x"], "e"), op("mul", ["e", "c"], "product"), op("sum", ["product"], "s")]
TOP = op("argmax", ["x"], "top")
KEPT = op("sum", ["x"], "kept", no_grad=True)
OWN: dict[str, dict[str, Any]] = {
    "forward": {},
    "jvp": {"tangents": {"x": [1, 0]}},
    "vjp": {"vectors": {"s": 1}},
    "jacobian": {},
    "hessian": {},
    "hvp": {"vectors": {"x": [1, 0]}},
    "check": {},
    "explain": {},
}
"""What each call needs besides a graph."""


def right(call: str, *more: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A request that is right, with more ops and other members; None leaves a member out."""
    own = {name: value for name, value in {**OWN[call], **members}.items() if value is not None}
    return request(TENSORS, *OPS, *more, **own)


def case(call: str, name: str, code: str, pointer: str, *more: dict[str, Any], **members: Any) -> Case:
    return Case(name, orjson.dumps(right(call, *more, **members)), 422, code, pointer)


def without_targets(call: str, pointer: str) -> Case:
    body = {**right(call), "graph": {"tensors": {"x": [1, 2]}, "ops": OPS[:1]}}
    return Case("nothing requires grad", orjson.dumps(body), 422, "no_target", pointer)


def common(call: str) -> list[Case]:
    """The faults of the members that every call takes."""
    return [
        case(call, "unknown member", "unknown_member", "#/jacobians", jacobians=True),
        case(call, "vmap as a list", "wrong_type", "#/vmap", vmap=["x"]),
        case(call, "vmap of an unknown name", "unknown_tensor", "#/vmap/w", vmap={"w": 0}),
        case(call, "vmap of a result", "unknown_tensor", "#/vmap/e", vmap={"e": 0}),
        case(call, "vmap of an axis that is not there", "dim_out_of_range", "#/vmap/c", vmap={"c": 1}),
        case(call, "vmap of a negative axis that is not there", "dim_out_of_range", "#/vmap/c", vmap={"c": -2}),
        case(call, "vmap of sizes that differ", "shape_mismatch", "#/vmap", vmap={"c": 0, "m": 0}),
        case(call, "fractional axis", "out_of_range", "#/vmap/c", vmap={"c": 0.5}),
        case(call, "true as an axis", "wrong_type", "#/vmap/c", vmap={"c": True}),
        case(call, "unknown randomness", "unknown_choice", "#/randomness", randomness="error"),
        case(call, "unknown checkpoint", "unknown_tensor", "#/checkpoint/1", checkpoint=["e", "h"]),
        case(call, "detect_anomaly as a number", "wrong_type", "#/detect_anomaly", detect_anomaly=1),
        case(call, "unknown encoding", "unknown_choice", "#/encoding", encoding="hex"),
        case(call, "negative seed", "out_of_range", "#/seed", seed=-1),
        case(call, "no time at all", "out_of_range", "#/timeout_ms", timeout_ms=0),
        case(call, "an op that is wrong", "unknown_op", "#/graph/ops/3/op", op("expp", ["x"], "y")),
    ]


def vectors(call: str, member: str) -> list[Case]:
    """The faults of a member that has a tensor for each of several names."""

    def given(name: str, code: str, below: str, value: Any) -> Case:
        return case(call, f"{member}: {name}", code, f"#/{member}{below}", **{member: value})

    return [
        given("missing", "missing_member", "", None),
        given("empty", "no_target", "", {}),
        given("a list", "wrong_type", "", [1, 0]),
        given("a name", "wrong_type", "", "x"),
        given("null for a tensor", "null_value", "/x", {"x": None}),
        given("unknown name", "unknown_tensor", "/w", {"w": [1, 0]}),
        given("another shape", "shape_mismatch", "/x", {"x": [1, 0, 0]}),
        given("a number for a vector", "shape_mismatch", "/x", {"x": 1}),
        given("for integers", "dtype", "/k", {"k": [1, 0]}),
        given("ragged", "ragged_data", "/x/1", {"x": [1, [0]]}),
        given("a string among numbers", "not_a_number", "/x/0", {"x": ["one", 0]}),
        given("requires grad", "not_differentiable", "/x/requires_grad", {"x": wanted([1, 0])}),
        given("base64 of too few bytes", "shape_mismatch", "/x/data", {"x": tensor("AAAA", shape=[2])}),
        case(
            call,
            f"{member}: another size than is mapped",
            "shape_mismatch",
            "#/vmap",
            vmap={"x": 0},
            **{member: {"x": [1, 0, 0]}},
        ),
        case(call, f"{member}: no axis to map", "dim_out_of_range", "#/vmap/x", vmap={"x": 0}, **{member: {"x": 1}}),
    ]


def outputs(call: str) -> list[Case]:
    """The faults of a list of outputs that are differentiated."""
    return [
        case(call, "outputs as a name", "wrong_type", "#/outputs", outputs="s"),
        case(call, "unknown output", "unknown_tensor", "#/outputs/1", outputs=["s", "loss"]),
        case(call, "output twice", "duplicate_name", "#/outputs/1", outputs=["s", "s"]),
        case(call, "integer output", "dtype", "#/outputs/1", TOP, outputs=["s", "top"]),
        case(call, "integers among the outputs that no op consumes", "dtype", "#/outputs", TOP),
    ]


def targets(call: str) -> list[Case]:
    """The faults of a list of names to differentiate by."""
    return [
        without_targets(call, "#/wrt"),
        case(call, "wrt as a name", "wrong_type", "#/wrt", wrt="x"),
        case(call, "unknown wrt", "unknown_tensor", "#/wrt/1", wrt=["x", "w"]),
        case(call, "wrt twice the same", "duplicate_name", "#/wrt/1", wrt=["x", "x"]),
        case(call, "integer wrt", "dtype", "#/wrt/0", wrt=["k"]),
        case(call, "wrt that was not recorded", "requires_no_grad", "#/wrt/0", KEPT, wrt=["kept"], **_named(call)),
    ]


def scalar(call: str) -> list[Case]:
    """The faults of the one output that has second derivatives."""
    return [
        case(call, "output as a list", "wrong_type", "#/output", output=["s"]),
        case(call, "empty name", "invalid_name", "#/output", output=""),
        case(call, "unknown output", "unknown_tensor", "#/output", output="loss"),
        case(call, "output that is no scalar", "not_scalar", "#/output", output="e"),
        case(call, "integer output", "root_requires_no_grad", "#/output", TOP, output="top"),
        case(call, "output that was not recorded", "root_requires_no_grad", "#/output", KEPT, output="kept"),
        case(call, "several outputs that no op consumes", "no_root", "#/output", KEPT),
        case(call, "misspelt member", "unknown_member", "#/outputs", outputs=["s"]),
    ]


def roots(call: str) -> list[Case]:
    """The faults of the members of a request for gradients."""
    several = {"op": "split", "inputs": ["x", 1], "output": ["first", "second"]}
    return [
        case(call, "unknown root", "unknown_tensor", "#/backward", backward="loss"),
        case(call, "unknown root in a list", "unknown_tensor", "#/backward/1", backward=["s", "loss"]),
        case(call, "no root in the list", "empty_list", "#/backward", backward=[]),
        case(call, "root that was not recorded", "root_requires_no_grad", "#/backward", KEPT, backward="kept"),
        case(call, "a root without its seed", "seed_missing", "#/backward", backward="e"),
        case(call, "several outputs that no op consumes", "no_root", "#/backward", several),
        case(call, "seed of another shape", "shape_mismatch", "#/backward/e", backward={"e": [1, 2, 3]}),
        case(call, "seed of letters", "not_a_number", "#/backward/e/1", backward={"e": [1, "one"]}),
        case(call, "wrt as a name", "wrong_type", "#/wrt", wrt="x"),
        case(call, "unknown wrt", "unknown_tensor", "#/wrt/1", wrt=["x", "w"]),
        case(call, "wrt twice the same", "duplicate_name", "#/wrt/1", wrt=["x", "x"]),
        case(call, "wrt without requires_grad", "requires_no_grad", "#/wrt/0", wrt=["c"]),
        case(call, "integer wrt", "dtype", "#/wrt/0", wrt=["k"]),
        case(call, "unknown output", "unknown_tensor", "#/outputs/0", outputs=["loss"]),
        case(call, "accumulate for what is not asked for", "not_in_wrt", "#/accumulate/c", accumulate={"c": [1, 1]}),
        case(call, "accumulate of another shape", "shape_mismatch", "#/accumulate/x", accumulate={"x": [1]}),
        case(
            call,
            "unreached that is an error",
            "unreached",
            "#/wrt/1",
            op("exp", ["x"], "aside"),
            backward="s",
            wrt=["x", "aside"],
            unreached="error",
        ),
        case(call, "unknown unreached", "unknown_choice", "#/unreached", unreached="none"),
    ]


def tolerances() -> list[Case]:
    """The faults of the members of a check that are numbers."""

    def given(name: str, code: str, member: str, value: Any) -> Case:
        return case("check", f"{member}: {name}", code, f"#/{member}", **{member: value})

    return [
        *[
            given(name, "wrong_type", member, value)
            for member in ("eps", "rtol", "atol")
            for name, value in (("a string", "1e-6"), ("Infinity", "Infinity"), ("a list", [1e-6]), ("true", True))
        ],
        *[given("negative", "out_of_range", member, -1e-6) for member in ("eps", "rtol", "atol")],
        given("zero", "out_of_range", "eps", 0),
        given("minus zero", "out_of_range", "eps", -0.0),
    ]


def types() -> list[Case]:
    """The faults of a tensor that has a type and no values."""

    def given(name: str, code: str, below: str, value: Any) -> Case:
        body = {**right("explain"), "graph": {"tensors": {**TENSORS, "t": value}, "ops": OPS}}
        return Case(name, orjson.dumps(body), 422, code, f"#/graph/tensors/t{below}")

    return [
        given("neither values nor a shape", "missing_member", "/shape", {"dtype": "float32"}),
        given("null for values", "null_value", "/data", {"data": None, "shape": [2]}),
        given("a dimension of any size", "invalid_size", "/shape/0", {"shape": [None]}),
        given("a negative size", "invalid_size", "/shape/1", {"shape": [2, -1]}),
        given("an unknown dtype", "unknown_dtype", "/dtype", {"shape": [2], "dtype": "real"}),
        given(
            "integers that require grad",
            "not_differentiable",
            "/requires_grad",
            {"shape": [2], "dtype": "int64", "requires_grad": True},
        ),
        given("more elements than any tensor has", "elements_limit", "", {"shape": [2**40, 2**40]}),
        given("more dimensions than any tensor has", "rank_limit", "", {"shape": [1] * 33}),
    ]


def _named(call: str) -> dict[str, Any]:
    return {"output": "s"} if call == "hessian" else {}


LARGE = request({"x": wanted([0] * 20_000)}, op("exp", ["x"], "e"), op("sum", ["e"], "s"))

TABLES: dict[str, list[Case]] = {
    "forward": [
        *common("forward"),
        case("forward", "unknown output", "unknown_tensor", "#/outputs/0", outputs=["loss"]),
    ],
    "jvp": [*common("jvp"), *vectors("jvp", "tangents"), *outputs("jvp")],
    "vjp": [
        *common("vjp"),
        *targets("vjp")[1:],
        case("vjp", "no vectors", "missing_member", "#/vectors", vectors=None),
        *[
            case("vjp", f"cotangent: {name}", code, f"#/vectors{below}", vectors=value)
            for name, code, below, value in (
                ("a list", "wrong_type", "", [1]),
                ("null", "null_value", "/s", {"s": None}),
                ("of an unknown output", "unknown_tensor", "/loss", {"loss": 1}),
                ("of another shape", "shape_mismatch", "/e", {"e": [1, 2, 3]}),
                ("of letters", "not_a_number", "/e/1", {"e": [1, "one"]}),
                ("that requires grad", "not_differentiable", "/s/requires_grad", {"s": wanted(1)}),
            )
        ],
    ],
    "jacobian": [
        *common("jacobian"),
        *outputs("jacobian"),
        *targets("jacobian"),
        case("jacobian", "unknown mode", "unknown_choice", "#/mode", mode="backward"),
        case("jacobian", "mode as a number", "wrong_type", "#/mode", mode=1),
        Case("too many elements", orjson.dumps({**LARGE, "outputs": ["e"]}), 422, "elements_limit", "#/graph"),
    ],
    "hessian": [
        *common("hessian"),
        *targets("hessian")[1:],
        *scalar("hessian"),
        Case("too many elements", orjson.dumps(LARGE), 422, "elements_limit", "#/graph"),
    ],
    "hvp": [*common("hvp"), *vectors("hvp", "vectors"), *scalar("hvp")],
    "check": [*common("check"), *roots("check"), *tolerances()],
    "explain": [
        *common("explain"),
        *types(),
        case("explain", "unknown root", "unknown_tensor", "#/backward", backward="loss"),
        case("explain", "seed of another shape", "shape_mismatch", "#/backward/e", backward={"e": {"shape": [3]}}),
        case("explain", "seed without a shape", "missing_member", "#/backward/e/shape", backward={"e": {}}),
        case(
            "explain",
            "seed that requires grad",
            "not_differentiable",
            "#/backward/s/requires_grad",
            backward={"s": {"shape": [], "requires_grad": True}},
        ),
        case("explain", "integer wrt", "dtype", "#/wrt/0", wrt=["k"]),
        case("explain", "unknown unreached", "unknown_choice", "#/unreached", unreached="none"),
    ],
}

CASES = [(call, case) for call, table in TABLES.items() for case in table]
