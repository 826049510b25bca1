"""Requests that ops and limits refuse: one for each code that is none of the request's form. Each is for /v1/forward.

With the tables of `malformed` and `malformed_derivatives` these are the codes that docs/endpoints.md lists.
"""

from __future__ import annotations

from typing import Any

from tests.app.bodies import op, request, tensor

Body = dict[str, Any]
SQUARE = [[1, 2], [2, 4]]


def called(name: str, *inputs: Any, output: Any = "y", tensors: Body | None = None, **attributes: Any) -> Body:
    """A graph of one op on the tensors a, b and c, of which `a` is a matrix, `b` a vector, `c` classes."""
    known = {"a": SQUARE, "b": [1, 2], "c": tensor([0, 5], dtype="int64"), **(tensors or {})}
    return request(known, op(name, list(inputs), output, attributes=attributes))


IMAGE = {"a": [[[[1, 2], [3, 4]]]], "b": [[[[1]]]]}
OPS: dict[str, Body] = {
    "argument_length": called("max_pool2d", "a", [1, 1, 1], tensors=IMAGE),
    "argument_type": called("softmax", "a", 0.5),
    "arguments": called(
        "scaled_dot_product_attention", "a", "a", "a", "m", tensors={"m": [[True, True]] * 2}, is_causal=True
    ),
    "bounds": called("hardtanh", "a", 1, -1),
    "dims": called("tensordot", "a", "a", [[0], [0, 1]]),
    "empty_reduction": called("amax", "a", 0, tensors={"a": tensor([], shape=[0, 2])}),
    "equation": called("einsum", ["a"], equation="i1->i"),
    "groups": called("conv2d", "a", "b", groups=2, tensors=IMAGE),
    "ignore_index": called("cross_entropy", "a", "a", ignore_index=1),
    "index_out_of_range": called("cross_entropy", "a", "c"),
    "inplace": called("relu", "a", True),
    "not_converged": called("linalg.svdvals", "a", tensors={"a": [["NaN", 1], [1, 1]]}),
    "not_positive_definite": called("linalg.cholesky", "a", tensors={"a": [[-1, 0], [0, 1]]}),
    "num_classes": called("one_hot", "c", -1),
    "output_count": called("split", "b", 1),
    "overflow": called("full", [2], 300, dtype="int8"),
    "padding": called("max_pool2d", "a", 1, padding=1, tensors=IMAGE),
    "range": called("dropout", "a", 2),
    "rank": called("tril", "b"),
    "reduce": called("scatter", "a", 0, "i", "a", tensors={"i": tensor([[0, 1]], dtype="int64")}, reduce="multiply"),
    "repeated_argument": called("softmax", "a", 0, dim=1),
    "repeated_dim": called("sum", "a", [0, 0]),
    "shape": called("repeat", "a", [-1, 1]),
    "singular": called("linalg.inv", "a"),
    "tensor_in_attributes": called("mul", "a", other="b"),
    "too_many_results": called(
        "split", "b", 1, output=["y"], tensors={"b": tensor("A" * 4 * 40_000, dtype="int8", shape=[120_000])}
    ),
    "value_out_of_range": called("binary_cross_entropy", "b", "b"),
}
"""What ops refuse."""

EXP = called("exp", "b")
LIMITS: dict[str, tuple[Body, dict[str, int]]] = {
    "too_many_tensors": (EXP, {"max_tensors": 2}),
    "too_many_ops": ({"graph": {**EXP["graph"], "ops": [op("exp", ["b"], f"y{n}") for n in range(2)]}}, {"max_ops": 1}),
    "too_many_nodes": (called("softplus", "b"), {"max_nodes": 3}),
    "memory_limit": (EXP, {"max_memory_bytes": 16}),
    "reply_limit": (EXP, {"max_reply_bytes": 100}),
    "not_finite": ({**called("log", "b", tensors={"b": [0, 1]}), "detect_anomaly": True}, {}),
}
"""What the server's limits refuse, and the search for anomalies: a request, and settings that are not the usual."""
