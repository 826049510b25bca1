"""Programs of many ops, drawn at random: values and gradients are PyTorch's, tangents and mapped results agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conformance import programs
from tests.conformance.compare import difference
from tests.conformance.interpreter import run
from tests.conformance.server import Gradd
from tests.conformance.wire import read_tensor, write_tensor

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]

SMALL = [pytest.param(seed, False, id=f"small-{seed}") for seed in range(150)]
LARGE = [pytest.param(seed, True, id=f"large-{seed}") for seed in range(25)]


def recorded(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request without the roots that require no grad, which the server refuses."""
    backward = {name: seed for name, seed in request["backward"].items() if _requires_grad(request, name)}
    return {**request, "backward": backward}


def _requires_grad(request: dict[str, Any], wanted: str) -> bool:
    recorded = {name for name, tensor in request["graph"]["tensors"].items() if tensor.get("requires_grad")}
    for op in request["graph"]["ops"]:
        reads = {item for entry in op["inputs"] for item in (entry if isinstance(entry, list) else [entry])}
        if reads & recorded and not op.get("no_grad") and op["op"] not in {"detach", "gt"}:
            recorded.add(op["output"])
    return wanted in recorded


def differences(found: dict[str, Any], expected: dict[str, torch.Tensor | None]) -> dict[str, str | None]:
    return {
        name: text
        for name, tensor in expected.items()
        if (text := difference(None if found[name] is None else read_tensor(found[name], torch.float64), tensor))
    }


@pytest.mark.parametrize(("seed", "large"), SMALL + LARGE)
def test_values_and_gradients(seed: int, large: bool, gradd: Gradd) -> None:
    request = recorded(programs.request(seed, large=large))
    expected = run(request)
    answer = gradd.post("/v1/gradients", {**request, "encoding": "base64"})
    assert answer.status == 200, answer.body
    assert not differences(answer.body["outputs"], expected.outputs)
    assert not differences(answer.body["gradients"], expected.gradients)


@pytest.mark.parametrize("seed", range(0, 150, 5))
def test_recomputing_changes_nothing(seed: int, gradd: Gradd) -> None:
    request = recorded(programs.request(seed))
    middle = [op["output"] for op in request["graph"]["ops"]][8:20:4]
    plain, cut = (gradd.post("/v1/gradients", {**request, **more}) for more in ({}, {"checkpoint": middle}))
    assert plain.status == cut.status == 200, cut.body
    assert cut.body["gradients"] == plain.body["gradients"]


@pytest.mark.parametrize(("seed", "large"), SMALL[::2] + LARGE[::4])
def test_tangents_and_gradients_agree(seed: int, large: bool, gradd: Gradd) -> None:
    """<u, J v> = <Jᵀ u, v>, the sum over all roots u and all leaves v."""
    request = recorded(programs.request(seed, large=large))
    tensors, roots = request["graph"]["tensors"], request["backward"]
    draw = torch.Generator().manual_seed(seed)
    directions = {
        name: torch.rand(tensors[name]["shape"], generator=draw, dtype=torch.float64) for name in request["wrt"]
    }
    written = {name: write_tensor(tensor, "base64", torch.float64) for name, tensor in directions.items()}
    forward = gradd.post("/v1/jvp", {"graph": request["graph"], "outputs": list(roots), "tangents": written})
    backward = gradd.post("/v1/gradients", {**request, "unreached": "zeros"})
    assert forward.status == backward.status == 200, (forward.body, backward.body)
    there = [(read_tensor(forward.body["tangents"][name], torch.float64), seed_of(roots[name])) for name in roots]
    back = [(read_tensor(backward.body["gradients"][name], torch.float64), v) for name, v in directions.items()]
    size = sum(float((a * b).abs().sum()) for a, b in [*there, *back])
    assert abs(inner(there) - inner(back)) <= 1e-10 * size


def seed_of(seed: Any) -> torch.Tensor:
    return read_tensor(seed, torch.float64)


def inner(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    return sum(float((a * b).sum()) for a, b in pairs)


@pytest.mark.parametrize("seed", range(0, 150, 3))
def test_mapping_equals_a_loop(seed: int, gradd: Gradd) -> None:
    request = recorded(programs.request(seed))
    mapped = request["wrt"][0]
    tensors = request["graph"]["tensors"]
    whole = seed_of(tensors[mapped])
    samples = torch.stack([whole, whole.flip(0) if whole.ndim else -whole, whole * 0.5])
    leading = write_tensor(samples, "base64", torch.float64, requires_grad=True)
    many = gradd.post("/v1/gradients", _with(request, mapped, leading) | {"vmap": {mapped: 0}})
    assert many.status == 200, many.body
    for index, sample in enumerate(samples):
        one = gradd.post("/v1/gradients", _with(request, mapped, write_tensor(sample, "flat", torch.float64, True)))
        for group in ("outputs", "gradients"):
            expected = {name: _read(value) for name, value in one.body[group].items()}
            found = {name: _read(value) for name, value in many.body[group].items()}
            assert not [
                text
                for name, tensor in expected.items()
                if (text := difference(None if tensor is None else found[name][index], tensor))
            ]


def _with(request: dict[str, Any], name: str, tensor: Any) -> dict[str, Any]:
    graph = request["graph"]
    return {**request, "graph": {**graph, "tensors": {**graph["tensors"], name: tensor}}}


def _read(value: Any) -> Any:
    return None if value is None else read_tensor(value, torch.float64)
