"""Calls at points where a function has no derivative, ties, or is infinite: there PyTorch's choice is the reference.
Each kink is one call with the leaves to differentiate; the seed of every result is ones. `CORRECTIONS` has the
gradients that are right where PyTorch's are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.wire import write_number

INF, NAN = float("inf"), float("nan")
IDENTITY = [[1.0, 0.0], [0.0, 1.0]]


@dataclass(frozen=True)
class Kink:
    """A call: `tensors` by name are leaves that require grad, or, if a value is a dict, tensors of the contract.

    `inputs` are the tensors' names where nothing else is given; `outputs` counts the results, None being one.
    """

    op: str
    tensors: dict[str, Any]
    inputs: list[Any] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int | None = None
    differentiated: tuple[int, ...] = (0,)

    @property
    def names(self) -> list[str]:
        """The results' names."""
        return ["y0"] if self.outputs is None else [f"y{place}" for place in range(self.outputs)]

    def graph(self) -> dict[str, Any]:
        """Return the kink as a graph of the contract."""
        call: dict[str, Any] = {"op": self.op, "inputs": list(self.tensors) if self.inputs is None else self.inputs}
        if self.attributes:
            call["attributes"] = self.attributes
        call["output"] = "y0" if self.outputs is None else self.names
        return {"tensors": {name: _leaf(value) for name, value in self.tensors.items()}, "ops": [call]}


def _leaf(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"data": _written(value), "requires_grad": True}


def _written(value: Any) -> Any:
    return [_written(item) for item in value] if isinstance(value, list) else write_number(float(value))


def _integers(*values: int) -> dict[str, Any]:
    return {"data": list(values), "dtype": "int64"}


def _unary(names: str, *values: float) -> list[Kink]:
    return [Kink(name, {"x": list(values)}) for name in names.split()]


def _norms(*orders: Any) -> list[Kink]:
    return [
        Kink("linalg.vector_norm", {"x": values}, attributes={"ord": {"number": write_number(order)}})
        for order in orders
        for values in ([0.0, 0.0], [0.0, 1.0], [2.0, -2.0, 1.0])
    ]


ELEMENTWISE = [
    *_unary("abs sign sgn relu sinc frac", -1.0, -0.0, 0.0, 1.0),
    *_unary("relu leaky_relu elu celu selu", -2.0, 0.0, 3.0),
    *_unary("relu6", 0.0, 6.0, 3.0, -1.0, 7.0),
    *_unary("hardtanh", -1.0, 1.0, 0.5, -2.0, 2.0),
    *_unary("softshrink hardshrink", -0.5, 0.5, 0.0, 1.0),
    *_unary("hardsigmoid hardswish", -3.0, 3.0, 0.0, 4.0),
    *_unary("softplus", 20.0, 21.0, -30.0, 0.0),
    *_unary("silu mish gelu logsigmoid tanh sigmoid", -800.0, -50.0, 0.0, 50.0, 800.0),
    *_unary("sqrt rsqrt log log2 log10 reciprocal", 0.0, -1.0, INF),
    *_unary("log1p expm1 asinh", -1.0, 0.0, INF, -INF),
    *_unary("asin acos atanh erfinv", 1.0, -1.0, 0.0),
    *_unary("acosh", 1.0, 2.0),
    *_unary("logit", 0.0, 1.0, 0.5),
    *_unary("special.entr", 0.0, -1.0, 0.5),
    *_unary("floor ceil round trunc", -0.5, 0.0, 0.5, 1.0),
    *_unary("nan_to_num abs sign", NAN, INF, -INF, 1.0),
    Kink("clamp", {"x": [0.0, 1.0, 0.5, -1.0, 2.0]}, ["x", 0, 1]),
    Kink("clamp", {"x": [0.0, 1.0, 2.0], "low": [0.0, 0.0, 3.0], "high": [1.0, 1.0, 1.0]}, ["x", "low", "high"]),
    Kink("threshold", {"x": [1.0, 2.0]}, ["x", 1, 0]),
    Kink("logit", {"x": [0.0, 0.1]}, attributes={"eps": 0.1}),
    Kink("leaky_relu", {"x": [0.0, -1.0]}, attributes={"negative_slope": 0.2}),
]

PAIRS = [
    *(
        Kink(name, {"a": [1.0, NAN, 1.0, INF, -INF], "b": [1.0, 1.0, NAN, INF, -INF]})
        for name in ("maximum", "minimum", "fmax", "fmin", "logaddexp", "max", "min")
    ),
    Kink("pow", {"a": [0.0, 0.0, 0.0, -2.0, 0.0, 2.0], "b": [0.0, 2.0, -1.0, 2.0, 1.0, 0.0]}),
    *(Kink("pow", {"x": [0.0, 1.0, -1.0]}, ["x", power]) for power in (0, 0.5, 1, 2, -1)),
    Kink("pow", {"y": [0.0, 1.0, 2.0]}, [2, "y"]),
    Kink("pow", {"y": [0.0, 1.0, 2.0]}, [0, "y"]),
    Kink("div", {"a": [0.0, 1.0, -1.0], "b": [0.0, 0.0, INF]}),
    *(Kink("div", {"a": [7.0, -7.0], "b": [2.0, 2.0]}, attributes={"rounding_mode": m}) for m in ("floor", "trunc")),
    *(Kink(name, {"a": [0.0, 0.0, 2.0], "b": [0.0, 1.0, 0.0]}) for name in ("xlogy", "special.xlog1py")),
    *(Kink(name, {"a": [0.0, 3.0, -1.0], "b": [0.0, 4.0, 0.0]}) for name in ("atan2", "hypot")),
    *(Kink(name, {"a": [5.0, -5.0, 6.0], "b": [3.0, 3.0, 3.0]}) for name in ("remainder", "fmod")),
    Kink("copysign", {"a": [0.0, -0.0, 1.0], "b": [-1.0, 2.0, -0.0]}),
    Kink("where", {"m": {"data": [True, False]}, "a": [0.0, 1.0], "b": [2.0, NAN]}),
]

REDUCTIONS = [
    *(
        Kink(name, {"x": [2.0, 2.0, 1.0, 1.0]})
        for name in ("max", "min", "amax", "amin", "median", "nanmedian", "prod")
    ),
    *(
        Kink(name, {"x": [2.0, 2.0, 1.0, 1.0]}, ["x", 0], outputs=2)
        for name in ("max", "min", "median", "nanmedian", "sort", "cummax", "cummin", "mode")
    ),
    *(Kink(name, {"x": [[2.0, 2.0], [1.0, 1.0]]}, ["x"], {"dim": 1}) for name in ("amax", "amin")),
    Kink("aminmax", {"x": [2.0, 2.0, 1.0, 1.0]}, outputs=2, differentiated=(0, 1)),
    *(Kink(name, {"x": [2.0, 2.0, 1.0]}, ["x", 1], outputs=2) for name in ("topk", "kthvalue")),
    *(Kink("prod", {"x": values}, ["x", *dim]) for values in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0]) for dim in ([], [0])),
    *(Kink("cumprod", {"x": values}, ["x", 0]) for values in ([2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0, 2.0])),
    *(Kink(name, {"x": values}) for name in ("std", "var") for values in ([2.0, 2.0], [2.0], [1.0, 2.0])),
    *(Kink(name, {"x": [2.0]}, attributes={"correction": 0}) for name in ("std", "var")),
    *(
        Kink("logsumexp", {"x": values}, ["x", 0])
        for values in ([-INF, -INF], [INF, 0.0], [INF, INF], [-INF, 0.0], [NAN, 0.0])
    ),
    *(
        Kink(name, {"x": values}, ["x", 0])
        for name in ("softmax", "log_softmax", "logcumsumexp")
        for values in ([-INF, -INF], [-INF, 0.0], [INF, 0.0], [1000.0, 0.0])
    ),
    *(Kink(name, {"x": [NAN, NAN, 1.0]}) for name in ("max", "min", "amax", "amin", "nansum", "nanmean", "median")),
    Kink("quantile", {"x": [1.0, 2.0, 3.0]}, ["x", 0.25]),
    *_norms(0, 0.5, 1, 2, 3, INF, -INF),
    Kink("linalg.norm", {"x": [[0.0, 0.0], [0.0, 0.0]]}),
    Kink("norm", {"x": [0.0, 0.0]}),
]

LOSSES = [
    *(Kink("smooth_l1_loss", {"x": [value], "t": [0.0]}) for value in (1.0, -1.0, 0.0)),
    *(Kink("huber_loss", {"x": [value], "t": [0.0]}) for value in (1.0, -1.0, 0.0)),
    Kink("smooth_l1_loss", {"x": [0.0, 1.0], "t": [0.0, 0.0]}, attributes={"beta": 0.0}),
    Kink("l1_loss", {"x": [0.0, 1.0], "t": [0.0, 0.0]}),
    *(
        Kink("binary_cross_entropy", {"p": p, "t": t})
        for p, t in (([0.0, 0.0], [0.0, 1.0]), ([1.0, 1.0], [0.0, 1.0]), ([0.5, 1e-30], [0.5, 1.0]))
    ),
    Kink("binary_cross_entropy_with_logits", {"x": [-800.0, 800.0, 0.0, -800.0], "t": [0.0, 1.0, 0.5, 1.0]}),
    Kink("kl_div", {"x": [-1.0, 0.0], "t": [0.0, 1.0]}, attributes={"reduction": "sum"}),
    Kink("kl_div", {"x": [-1.0, 0.0], "t": [-1.0, 0.0]}, attributes={"reduction": "sum", "log_target": True}),
    Kink("hinge_embedding_loss", {"x": [1.0, 0.0], "t": {"data": [-1.0, 1.0]}}, attributes={"reduction": "sum"}),
    Kink("margin_ranking_loss", {"a": [1.0], "b": [1.0], "t": {"data": [1.0]}}),
    Kink("cosine_similarity", {"a": [[0.0, 0.0]], "b": [[1.0, 0.0]]}),
    Kink("normalize", {"x": [[0.0, 0.0]]}, attributes={"dim": 1}),
    Kink("pairwise_distance", {"a": [[1.0, 1.0]], "b": [[1.0, 1.0]]}),
    Kink("cdist", {"a": [[1.0, 1.0]], "b": [[1.0, 1.0]]}),
    Kink("nll_loss", {"x": [[-1.0, -INF]], "t": _integers(0)}),
    Kink("cross_entropy", {"x": [[0.0, -INF], [1000.0, 0.0]], "t": _integers(0, 1)}),
    Kink("cross_entropy", {"x": [[0.0, 1.0]], "t": _integers(-100)}),
]

WINDOWS = [
    Kink("max_pool1d", {"x": [[[1.0, 1.0]]]}, ["x", 2]),
    Kink("max_pool2d", {"x": [[[[1.0, 1.0], [1.0, 1.0]]]]}, ["x", 2]),
    Kink("adaptive_max_pool1d", {"x": [[[1.0, 1.0, 0.0]]]}, ["x", 1]),
    *(
        Kink("scatter_reduce", {"x": [x], "i": _integers(0), "s": [1.0]}, ["x", 0, "i", "s"], {"reduce": reduce})
        for reduce, x in (("amax", 1.0), ("amin", 1.0), ("prod", 0.0))
    ),
    Kink("index_put", {"x": [0.0, 0.0], "i": _integers(0, 0), "v": [1.0, 2.0]}, ["x", ["i"], "v"]),
    Kink("renorm", {"x": [[3.0, 4.0]]}, ["x", 2, 0, 1.0]),
]

MATRICES = [
    Kink("linalg.det", {"A": [[1.0, 2.0], [3.0, 4.0]]}),
    Kink("linalg.slogdet", {"A": [[1.0, 2.0], [3.0, 4.0]]}, outputs=2, differentiated=(1,)),
    Kink("linalg.cholesky", {"A": [[4.0, 1.0], [1.0, 3.0]]}),
    Kink("linalg.eigvalsh", {"A": IDENTITY}),
    Kink("linalg.svdvals", {"A": IDENTITY}),
    Kink("linalg.eigh", {"A": [[2.0, 1.0], [1.0, 3.0]]}, outputs=2),
    Kink("linalg.pinv", {"A": [[1.0, 2.0], [3.0, 4.0]]}),
]

KINKS: tuple[Kink, ...] = (*ELEMENTWISE, *PAIRS, *REDUCTIONS, *LOSSES, *WINDOWS, *MATRICES)


@dataclass(frozen=True)
class Correction:
    """A kink, and the gradient of its first leaf that is right where PyTorch's is not."""

    kink: Kink
    gradient: list[Any]


CORRECTIONS: tuple[Correction, ...] = (
    # The derivative of a determinant is the cofactor matrix, which does not care whether the matrix is singular.
    Correction(Kink("linalg.det", {"A": [[1.0, 2.0], [2.0, 4.0]]}), [[4.0, -2.0], [-2.0, 1.0]]),
    Correction(Kink("linalg.det", {"A": [[0.0, 0.0], [0.0, 1.0]]}), [[1.0, 0.0], [0.0, 0.0]]),
)


def _any(_: Kink) -> bool:
    return True


def _of_one_element(kink: Kink) -> bool:
    return len(kink.tensors["x"]) == 1


def _begins_infinite(kink: Kink) -> bool:
    return kink.tensors["x"][0] in (INF, -INF) and bool(kink.tensors["x"][1] == 0)


def _moves_the_exponent(kink: Kink) -> bool:
    return "b" in kink.tensors or (kink.inputs is not None and kink.inputs[0] == 0)


SECOND_APART: tuple[tuple[str, Callable[[Kink], bool], str], ...] = (
    ("softplus", _any, "PyTorch leaves out the threshold itself, whose gradient it takes from below"),
    ("mish", _any, "PyTorch's is NaN where exp overflows; it is 0"),
    (
        "pow",
        _moves_the_exponent,
        "PyTorch's lacks the mixed term at the exponent 0, and is NaN at any zero",
    ),
    ("var", _of_one_element, "the value is NaN, PyTorch's second derivative 0"),
    (
        "logcumsumexp",
        _begins_infinite,
        "the gradient is NaN at the infinite element, and so is here what uses it",
    ),
    (
        "binary_cross_entropy",
        _any,
        "the gradient by the input is clamped, that by the target not: order matters",
    ),
)
"""Kinks whose second derivatives are not PyTorch's, by op, and why."""
