"""Graphs for the examples of the API's description. Each value can be checked by hand."""

from __future__ import annotations

from typing import Any

Graph = dict[str, Any]


def op(name: str, inputs: list[Any], output: str, **members: Any) -> dict[str, Any]:
    """Return a call of an op."""
    return {"op": name, "inputs": inputs, "output": output, **members}


def wanted(data: Any) -> dict[str, Any]:
    """Return a tensor with these values and `requires_grad`."""
    return {"data": data, "requires_grad": True}


def graph(tensors: dict[str, Any], *ops: dict[str, Any]) -> Graph:
    """Return a graph."""
    return {"tensors": tensors, "ops": list(ops)}


WEIGHT = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [1.0, 1.1, 1.2], [1.3, 1.4, 1.5]]
BIAS = [0.5, 0.1, 0.2]
X, Y = [1, 1, 1, 1, 1], [0, 0, 0]
LAYER = (op("matmul", ["x", "w"], "xw"), op("add", ["xw", "b"], "z"))
LOSS = op("binary_cross_entropy_with_logits", ["z", "y"], "loss")

TUTORIAL = graph({"x": X, "y": Y, "w": wanted(WEIGHT), "b": wanted(BIAS)}, *LAYER, LOSS)
"""One linear layer and its loss: PyTorch's introduction to automatic differentiation."""

BATCH = graph(
    {
        "x": [[1, 1, 1, 1, 1], [0.5, 0, -0.5, 0, 0.5], [-1, 0, 1, 0, -1]],
        "y": [[0, 0, 0], [1, 0, 0], [0, 1, 1]],
        "w": wanted(WEIGHT),
        "b": wanted(BIAS),
    },
    *LAYER,
    LOSS,
)
"""The same layer for three samples. The graph computes one sample; vmap maps it."""

TANH_LAYER = graph(
    {"x": wanted([0.5, -1]), "w": wanted([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), "b": [0, 0.1, -0.1]},
    op("linear", ["x", "w", "b"], "z"),
    op("tanh", ["z"], "h"),
)
"""A layer with three outputs."""

NO_GRAD = graph(
    {"x": wanted([1, 2, 3])},
    op("exp", ["x"], "scale", no_grad=True),
    op("mul", ["x", "scale"], "scaled"),
    op("sum", ["scaled"], "total"),
)

CLASSIFIER = graph(
    {
        "x": {"shape": [64, 784]},
        "y": {"shape": [64], "dtype": "int64"},
        "w1": {"shape": [784, 256], "requires_grad": True},
        "w2": {"shape": [256, 10], "requires_grad": True},
    },
    op("matmul", ["x", "w1"], "hidden"),
    op("relu", ["hidden"], "active"),
    op("matmul", ["active", "w2"], "logits"),
    op("cross_entropy", ["logits", "y"], "loss"),
)
"""A network with types in place of values."""

DROPOUT = graph({"x": [[1, 2, 3, 4], [1, 2, 3, 4]]}, op("dropout", ["x"], "y", attributes={"p": 0.5}))


def rosenbrock(*point: float) -> Graph:
    """Return Rosenbrock's function, the sum of 100 (x[i+1] - x[i]²)² + (1 - x[i])², at a point."""
    count = len(point) - 1
    return graph(
        {"x": wanted(list(point))},
        op("narrow", ["x", 0, 0, count], "head"),
        op("narrow", ["x", 0, 1, count], "tail"),
        op("square", ["head"], "parabola"),
        op("sub", ["tail", "parabola"], "off"),
        op("square", ["off"], "valley"),
        op("mul", ["valley", 100], "steep"),
        op("sub", [1, "head"], "rest"),
        op("square", ["rest"], "slope"),
        op("add", ["steep", "slope"], "terms"),
        op("sum", ["terms"], "value"),
    )


def black_scholes(spot: Any = 100) -> Graph:
    """Return the price of a European call option. Source: Black and Scholes 1973, equation 13."""
    return graph(
        {"spot": wanted(spot), "sigma": wanted(0.2), "rate": wanted(0.05), "maturity": wanted(1), "strike": 95},
        op("div", ["spot", "strike"], "moneyness"),
        op("log", ["moneyness"], "log_moneyness"),
        op("square", ["sigma"], "variance"),
        op("mul", ["variance", 0.5], "half_variance"),
        op("add", ["rate", "half_variance"], "drift"),
        op("mul", ["drift", "maturity"], "drifted"),
        op("sqrt", ["maturity"], "root"),
        op("mul", ["sigma", "root"], "deviation"),
        op("add", ["log_moneyness", "drifted"], "distance"),
        op("div", ["distance", "deviation"], "d1"),
        op("sub", ["d1", "deviation"], "d2"),
        *_normal_cdf("d1", "n1"),
        *_normal_cdf("d2", "n2"),
        op("mul", ["rate", "maturity"], "interest"),
        op("neg", ["interest"], "loss_of_value"),
        op("exp", ["loss_of_value"], "discount"),
        op("mul", ["strike", "discount"], "strike_now"),
        op("mul", ["spot", "n1"], "received"),
        op("mul", ["strike_now", "n2"], "paid"),
        op("sub", ["received", "paid"], "price"),
    )


def _normal_cdf(argument: str, output: str) -> list[dict[str, Any]]:
    """Return the normal distribution function, (1 + erf(x / √2)) / 2."""
    return [
        op("mul", [argument, 0.5**0.5], f"{output}_scaled"),
        op("erf", [f"{output}_scaled"], f"{output}_erf"),
        op("add", [f"{output}_erf", 1], f"{output}_twice"),
        op("mul", [f"{output}_twice", 0.5], output),
    ]


LOGISTIC = graph(
    {
        "features": [[1, 0.5], [1, -1], [1, 2], [1, -0.3]],
        "labels": [1, 0, 1, 1],
        "weights": wanted([0.1, -0.2]),
    },
    op("mv", ["features", "weights"], "logits"),
    op("binary_cross_entropy_with_logits", ["logits", "labels"], "loss"),
)
"""Logistic regression with two weights: Newton's method needs its gradient and its Hessian."""
