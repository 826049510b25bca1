"""Warnings in replies: losses that broadcast, draws that repeat, and results that are not finite."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.app.bodies import op, request, wanted
from tests.app.client import Client

PAIR_LOSSES = [
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss", "soft_margin_loss",
    "hinge_embedding_loss",
]  # fmt: skip


def warnings(client: Client, body: dict[str, Any], operation: str = "gradients") -> list[str]:
    reply = client.post(f"/v1/{operation}", body)
    assert reply.status_code == 200, reply.text
    found: list[str] = reply.json()["warnings"]
    return found


def loss(name: str, target: Any) -> dict[str, Any]:
    return request({"x": wanted([[0.1], [0.2], [0.3]]), "y": target}, op(name, ["x", "y"], "loss"))


@pytest.mark.parametrize("name", PAIR_LOSSES)
@pytest.mark.parametrize("operation", ["gradients", "check", "explain"])
def test_a_loss_whose_tensors_broadcast_is_named(client: Client, name: str, operation: str) -> None:
    (warning,) = warnings(client, loss(name, [0.5, 0.6, 0.7]), operation)
    assert warning.startswith(f"{name} 'loss': input has shape [3, 1] and target [3]: they broadcast")
    assert warnings(client, loss(name, [[0.5], [0.6], [0.7]]), operation) == []


def test_losses_of_samples_do_not_broadcast(client: Client) -> None:
    body = loss("mse_loss", [[0.5], [0.6], [0.7]])
    assert warnings(client, {**body, "vmap": {"x": 0, "y": 0}}) == []


DROPPED = request({"x": wanted([1.0] * 8)}, op("dropout", ["x"], "d"), op("sum", ["d"], "s"))


def test_random_ops_without_a_seed(client: Client) -> None:
    (warning,) = warnings(client, DROPPED)
    assert "`seed`, which is left out" in warning
    assert warnings(client, {**DROPPED, "seed": 0}) == []
    assert warnings(client, request({"x": wanted([1.0])}, op("sum", ["x"], "s"))) == []


def test_the_warning_of_random_ops_follows_the_request_where_the_plan_is_kept(client: Client) -> None:
    for _ in range(2):
        assert len(warnings(client, DROPPED)) == 1
        assert warnings(client, {**DROPPED, "seed": 7}) == []


def test_results_that_are_not_finite_are_named(client: Client) -> None:
    (warning,) = warnings(client, request({"x": wanted([0.0, 1.0])}, op("sqrt", ["x"], "r"), op("sum", ["r"], "s")))
    assert warning.startswith("Not finite, though all tensors that were given are: gradients of 'x'.")
    body = request({"x": wanted([800.0])}, op("exp", ["x"], "e"), op("sum", ["e"], "s"), outputs=["e", "s"])
    assert "outputs of 'e', outputs of 's', gradients of 'x'." in warnings(client, body)[0]


def test_results_of_values_that_are_not_finite_are_not_named(client: Client) -> None:
    assert warnings(client, request({"x": wanted(["Infinity", 1.0])}, op("sum", ["x"], "s"))) == []


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [8, 20_000])
def test_large_values_are_finite(client: Client, dtype: str, size: int) -> None:
    large = {"float16": 6e4, "float32": 3e38, "float64": 1e308}[dtype]
    body = request(
        {"x": wanted([large] * size)}, op("neg", ["x"], "n"), op("amax", ["n"], "m"), outputs=["n"], dtype=dtype
    )
    assert warnings(client, body) == []
    assert math.isfinite(client.post("/v1/gradients", body).json()["outputs"]["n"]["data"][-1])
