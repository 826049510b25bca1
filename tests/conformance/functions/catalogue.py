"""Ten functions of the kinds that people differentiate: optimisation, statistics, vision, dynamics, finance.

Each takes a backend and its arguments by name, and gives a scalar or a vector. Sources are in the docstrings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Function:
    """A function with the point at which it is differentiated; `scalar` ones have a Hessian."""

    name: str
    call: Callable[..., Any]
    arguments: Arrays
    scalar: bool


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def rosenbrock(f: Any, x: Any) -> Any:
    """Rosenbrock 1960, chained over all dimensions."""
    n = 50
    ahead, behind = f.part(x, 1, n - 1), f.part(x, 0, n - 1)
    return f.sum((ahead - behind * behind) ** 2 * 100.0 + (behind - 1.0) ** 2)


def two_layer_network(f: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Mean squared error of a network with one hidden layer of hyperbolic tangents."""
    rng = _rng(1)
    x, y = f.constant(rng.standard_normal((20, 4))), f.constant(rng.standard_normal((20, 2)))
    hidden = f.tanh(_right(f, x, w1) + b1)
    error = hidden @ w2 + b2 - y
    return f.sum(error * error) / 40.0


def _right(f: Any, constant: Any, x: Any) -> Any:
    """constant @ x, where the constant may be an array that has no operators with a recorded tensor."""
    return f.graph.call("matmul", constant, x) if isinstance(constant, np.ndarray) else constant @ x


def logistic_regression(f: Any, w: Any, b: Any) -> Any:
    """Penalised logistic loss on the breast cancer data of scikit-learn (Wolberg et al. 1995), standardised."""
    x, y = breast_cancer()
    logits = _right(f, f.constant(x), w) + b
    losses = f.softplus(logits) - logits * f.constant(y)
    return f.sum(losses) / float(len(y)) + f.sum(w * w) * 0.005


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """Return the 569 standardised samples of 30 features, and their classes."""
    data = load_breast_cancer()
    return (data.data - data.data.mean(0)) / data.data.std(0), data.target.astype(np.float64)


def gaussian_mixture(f: Any, means: Any, log_scales: Any, logits: Any) -> Any:
    """Negative log-likelihood of a mixture of three spherical Gaussians in the plane."""
    points = f.constant(_rng(2).standard_normal((60, 1, 2)))
    difference = (means - points) * -1.0
    squared = f.sum(difference * difference, -1)
    log_weights = logits - f.logsumexp(logits, -1)
    log_density = squared * f.exp(log_scales * -2.0) * -0.5 - log_scales * 2.0 - np.log(2 * np.pi).item()
    return f.sum(f.logsumexp(log_density + log_weights, -1)) * -1.0


def bundle_adjustment(f: Any, camera: Any, points: Any) -> Any:
    """Reprojection residuals of six points in one camera: rotation vector, translation, focal length, distortion.

    Source: Triggs et al. 2000, section 2; the camera of "Bundle Adjustment in the Large", Agarwal et al. 2010.
    """
    rotation, translation = f.part(camera, 0, 3), f.part(camera, 3, 3)
    angle = f.sqrt(f.sum(rotation * rotation))
    axis = rotation / angle
    x, y, z = (f.item(axis, index) for index in range(3))
    zero = x * 0.0
    rows = [zero, z * -1.0, y, z, zero, x * -1.0, y * -1.0, x, zero]
    cross = f.reshape(f.stack(rows), (3, 3))
    turned = points + f.sin(angle) * (points @ f.transpose(cross))
    turned = turned + (1.0 - f.cos(angle)) * (points @ f.transpose(cross @ cross)) + translation
    flat = f.part(turned, 0, 2) / f.part(turned, 2, 1) * -1.0
    radius = f.sum(flat * flat, -1)
    focal, k1, k2 = (f.item(camera, index) for index in (6, 7, 8))
    scale = focal * (1.0 + k1 * radius + k2 * radius * radius)
    seen = f.constant(_rng(3).standard_normal((6, 2)))
    return f.reshape(flat * f.reshape(scale, (6, 1)) - seen, (12,))


def runge_kutta(f: Any, state: Any, rates: Any) -> Any:
    """The state of predator and prey (Lotka 1925, Volterra 1926) after 100 classical Runge-Kutta steps."""

    def slope(s: Any) -> Any:
        prey, predator = f.item(s, 0), f.item(s, 1)
        a, b, c, d = (f.item(rates, index) for index in range(4))
        return f.stack([a * prey - b * prey * predator, c * prey * predator - d * predator])

    h = 0.02
    for _ in range(100):
        k1 = slope(state)
        k2 = slope(state + k1 * (h / 2))
        k3 = slope(state + k2 * (h / 2))
        k4 = slope(state + k3 * h)
        state = state + (k1 + k2 * 2.0 + k3 * 2.0 + k4) * (h / 6)
    return state


def gaussian_process(f: Any, log_length: Any, log_amplitude: Any, log_noise: Any) -> Any:
    """Negative log marginal likelihood of a Gaussian process by a Cholesky factor (Rasmussen & Williams 2006, 2.30)."""
    rng = _rng(4)
    x = np.sort(rng.uniform(0, 3, 15))
    y = f.constant(np.sin(2 * x)[:, None] + 0.1 * rng.standard_normal((15, 1)))
    squared = f.constant((x[:, None] - x[None, :]) ** 2)
    kernel = f.exp(f.exp(log_length * -2.0) * squared * -0.5) * f.exp(log_amplitude * 2.0)
    covariance = kernel + f.exp(log_noise * 2.0) * f.constant(np.eye(15))
    factor = f.cholesky(covariance)
    whitened = f.solve(factor, y)
    return f.sum(whitened * whitened) * 0.5 + f.sum(f.log(f.diagonal(factor)))


def attention(f: Any, queries: Any, keys: Any, values: Any) -> Any:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1) of five positions."""
    scores = queries @ f.transpose(keys) / np.sqrt(3.0).item()
    return f.reshape(f.softmax(scores, -1) @ values, (10,))


def kalman_filter(f: Any, log_process: Any, log_measurement: Any, drift: Any) -> Any:
    """Negative log-likelihood of twelve observations of position, with a state of position and speed (Kalman 1960)."""
    observations = np.cumsum(_rng(5).standard_normal(12)) * 0.3
    transition = f.constant(np.array([[1.0, 0.1], [0.0, 1.0]]))
    look = f.constant(np.array([[1.0, 0.0]]))
    process = f.exp(log_process) * f.constant(np.array([[0.05, 0.01], [0.01, 0.1]]))
    noise = f.exp(log_measurement)
    push = f.reshape(f.stack([drift * 0.0, drift]), (2, 1))
    mean = push * 0.0
    covariance = process * 0.0 + f.constant(np.eye(2))
    total = noise * 0.0
    for observed in observations:
        mean = _right(f, transition, mean) + push
        covariance = _left(f, _right(f, transition, covariance), transition) + process
        innovation = f.reshape(_right(f, look, mean), ()) * -1.0 + observed.item()
        spread = f.reshape(_left(f, _right(f, look, covariance), look), ()) + noise
        gain = _left(f, covariance, look) / spread
        mean = mean + gain * innovation
        covariance = covariance - gain @ _right(f, look, covariance)
        total = total + (f.log(spread) + innovation * innovation / spread) * 0.5
    return total


def _left(f: Any, x: Any, constant: Any) -> Any:
    """x @ constant transposed."""
    return x @ (constant.T if isinstance(constant, np.ndarray) else f.transpose(constant))


def black_scholes(f: Any, spot: Any, strike: Any, rate: Any, volatility: Any, time: Any) -> Any:
    """Price of a European call (Black & Scholes 1973)."""
    root = volatility * f.sqrt(time)
    d1 = (f.log(spot / strike) + (rate + volatility * volatility * 0.5) * time) / root
    return spot * f.ndtr(d1) - strike * f.exp(rate * time * -1.0) * f.ndtr(d1 - root)


def _normal(seed: int, **shapes: tuple[int, ...]) -> Arrays:
    rng = _rng(seed)
    return {name: rng.standard_normal(shape) * 0.5 for name, shape in shapes.items()}


FUNCTIONS = {
    function.name: function
    for function in (
        Function("rosenbrock", rosenbrock, _normal(10, x=(50,)), scalar=True),
        Function(
            "two_layer_network", two_layer_network, _normal(11, w1=(4, 5), b1=(5,), w2=(5, 2), b2=(2,)), scalar=True
        ),
        Function("logistic_regression", logistic_regression, _normal(12, w=(30,), b=()), scalar=True),
        Function(
            "gaussian_mixture", gaussian_mixture, _normal(13, means=(3, 2), log_scales=(3,), logits=(3,)), scalar=True
        ),
        Function(
            "bundle_adjustment",
            bundle_adjustment,
            {
                "camera": np.array([0.1, -0.2, 0.3, 0.2, -0.1, -4.0, 1.2, 0.01, -0.02]),
                "points": _rng(14).standard_normal((6, 3)) * 0.5,
            },
            scalar=False,
        ),
        Function(
            "runge_kutta",
            runge_kutta,
            {"state": np.array([1.0, 0.7]), "rates": np.array([1.1, 0.4, 0.3, 0.8])},
            scalar=False,
        ),
        Function(
            "gaussian_process",
            gaussian_process,
            {"log_length": np.array(-0.3), "log_amplitude": np.array(0.1), "log_noise": np.array(-1.5)},
            scalar=True,
        ),
        Function("attention", attention, _normal(15, queries=(5, 3), keys=(5, 3), values=(5, 2)), scalar=False),
        Function(
            "kalman_filter",
            kalman_filter,
            {"log_process": np.array(-0.5), "log_measurement": np.array(-1.0), "drift": np.array(0.1)},
            scalar=True,
        ),
        Function(
            "black_scholes",
            black_scholes,
            {
                "spot": np.array(100.0),
                "strike": np.array(105.0),
                "rate": np.array(0.03),
                "volatility": np.array(0.25),
                "time": np.array(0.75),
            },
            scalar=True,
        ),
    )
}
