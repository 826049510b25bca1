"""From a program and a request to something that runs: the engine's front door.

`compile` checks and types the program, adds the derivatives that the request asks for, maps them where vmap says so,
and plans the result. What it returns holds no values: it can be cached by structure, shapes and dtypes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Literal

from engine.autodiff.forward import pushforward, zeros
from engine.autodiff.passes import Passes, passes
from engine.autodiff.reverse import Edge, backward
from engine.compiled import Block, Compiled, Place
from engine.derivation import Dearer, Derivation
from engine.errors import GraphError
from engine.estimate import STEP_S, estimate
from engine.graph import Tensor
from engine.operands import constant
from engine.ops.movement import expanded
from engine.program import Leaf, Limits, Program
from engine.requests import (
    ForwardRequest,
    GradientRequest,
    HessianRequest,
    JacobianRequest,
    ProductRequest,
    Request,
    TangentRequest,
)

Mode = Literal["forward", "reverse"]


def compile(program: Program, request: Request, limits: Limits, deadline: float | None = None) -> Compiled:
    """Return the compiled request.

    Raises GraphError with all faults found; their paths start at the request's root: ("graph", "ops", 3, "inputs", 1),
    ("wrt", 0). Raises DeadlineExceeded after `deadline`, a moment of `time.monotonic()`.
    """
    derivation, made = derived(program, request, limits, deadline)
    derivation.check_memory(made.peak_bytes)
    settled = made.settled()
    derivation.let_go()
    return settled


def derived(
    program: Program, request: Request, limits: Limits, deadline: float | None = None
) -> tuple[Derivation, Compiled]:
    """Return the compiled request, however much memory it takes, and the derivation that made it."""
    if isinstance(request, JacobianRequest) and request.mode == "auto":
        return _cheaper(program, request, limits, deadline)
    derivation = Derivation(program, request, limits, deadline)
    return derivation, _DERIVATIVES[type(request)](derivation, request)


def _cheaper(
    program: Program, request: JacobianRequest, limits: Limits, deadline: float | None
) -> tuple[Derivation, Compiled]:
    """Return the Jacobian in the mode that is predicted to take less time, of those within the limits.

    The number of passes decides only between times that differ by less than a step. It does not tell the time: under
    vmap a pass for an input that all samples share costs less than one for an input of each sample, and a pass of one
    input runs only the nodes that depend on it. The mode with fewer sweeps is compiled first, and the other as far as
    it is predicted to take no longer: a sweep for each of a thousand outputs takes as long to plan as to run.
    """
    first = Derivation(program, request, limits, deadline)
    fault: GraphError | None = None
    best: tuple[Derivation, Compiled] | None = None
    for derivation, mode in zip((first, None), _by_sweeps(first, request), strict=True):
        most_s = inf
        if best is not None and best[1].peak_bytes <= limits.bytes:
            most_s = estimate(best[1]).seconds + STEP_S
        tried = derivation or Derivation(program, request, limits, deadline, most_s)
        try:
            made = tried, _jacobian(tried, replace(request, mode=mode))
        except GraphError as error:
            fault = fault or error
        except Dearer:
            tried.let_go()
        else:
            best = made if best is None else _better(best, made, limits)
    if best is None:
        assert fault is not None
        raise fault
    return best


def _by_sweeps(derivation: Derivation, request: JacobianRequest) -> tuple[Mode, Mode]:
    """Return the modes, that with fewer sweeps first: reverse mode has one for each output, forward for each input."""
    traced = derivation.traced
    outputs = traced.unconsumed() if request.outputs is None else request.outputs
    leaves = (name for name, given in traced.program.tensors.items() if given.requires_grad)
    inputs = list(leaves) if request.wrt is None else request.wrt
    return ("reverse", "forward") if len(outputs) <= len(inputs) else ("forward", "reverse")


def _better(
    one: tuple[Derivation, Compiled], other: tuple[Derivation, Compiled], limits: Limits
) -> tuple[Derivation, Compiled]:
    """Return the one within the memory limit, else that of less time, or of fewer passes; take the other apart."""
    over = [made[1].peak_bytes > limits.bytes for made in (one, other)]
    seconds = [estimate(made[1]).seconds for made in (one, other)]
    if over[0] != over[1]:
        second = over[0]
    elif abs(seconds[1] - seconds[0]) < STEP_S:
        second = other[1].passes < one[1].passes
    else:
        second = seconds[1] < seconds[0]
    kept, left = (other, one) if second else (one, other)
    left[0].let_go()
    return kept


def _forward(derivation: Derivation, request: ForwardRequest) -> Compiled:
    names = derivation.lookup.outputs(request.outputs)
    with derivation.deriving():
        derivation.values({("outputs", name): derivation.lookup.tensor(name) for name in names})
    return derivation.compiled(("outputs",))


def _gradients(derivation: Derivation, request: GradientRequest) -> Compiled:
    lookup = derivation.lookup
    names = lookup.outputs(request.outputs)
    roots = lookup.roots(typed_roots(derivation, request.backward))
    targets = lookup.targets(request.wrt) if request.wrt is not None or roots else []
    derivation.check_accumulated(request.accumulate, targets)
    with derivation.deriving():
        seeded = [(lookup.tensor(name), seed_of(derivation, name, given)) for name, given in roots.items()]
        edges: list[Edge] | None = [] if request.detect_anomaly else None
        found = dict(zip(targets, backward(seeded, list(map(lookup.tensor, targets)), edges), strict=True))
        results: dict[Place, Tensor] = {("outputs", name): lookup.tensor(name) for name in names}
        for position, (name, gradient) in enumerate(found.items()):
            if gradient is not None:
                results["gradients", name] = gradient
            elif request.unreached == "zeros" or name in request.accumulate:
                results["gradients", name] = zeros(lookup.tensor(name))
            elif request.unreached == "error":
                lookup.fault(*unreached(name, position))
            else:
                derivation.empty.append(("gradients", name))
        lookup.raise_faults()
        derivation.values(results, request.accumulate, edges or ())
    return derivation.compiled(("outputs", "gradients"), roots=tuple(roots))


def typed_roots(derivation: Derivation, roots: Mapping[str, Leaf | None] | None) -> dict[str, Leaf | None] | None:
    """Return the roots with the types of their seeds as one index of vmap's axis sees them."""
    if roots is None:
        return None
    seeds = derivation.typed({name: seed for name, seed in roots.items() if seed is not None})
    return {name: seeds.get(name) for name in roots}


def unreached(name: str, position: int) -> tuple[tuple[str | int, ...], str, str, str]:
    """Return the fault of the name at a position of `wrt` that no root depends on."""
    hint = 'Leave it out of wrt, or let unreached be "null" or "zeros".'
    return ("wrt", position), "unreached", f"no root depends on {name!r}", hint


def _tangents(derivation: Derivation, request: TangentRequest) -> Compiled:
    lookup = derivation.lookup
    names = lookup.outputs(request.outputs)
    given = derivation.typed(request.tangents)
    moved = lookup.like(given, "tangents")
    lookup.floating(names, "outputs")
    with derivation.deriving():
        directions = {lookup.tensor(name): derivation.brought("tangents", name, given[name]) for name in moved}
        outputs = list(map(lookup.tensor, names))
        results: dict[Place, Tensor] = {("outputs", name): lookup.tensor(name) for name in names}
        derivation.tangents_follow()
        for name, tangent in zip(names, pushforward(outputs, directions), strict=True):
            results["tangents", name] = zeros(lookup.tensor(name)) if tangent is None else tangent
        derivation.values(results)
    return derivation.compiled(("outputs", "tangents"))


def _jacobian(derivation: Derivation, request: JacobianRequest) -> Compiled:
    lookup = derivation.lookup
    names = lookup.outputs(request.outputs)
    targets = lookup.targets(request.wrt)
    lookup.floating(names, "outputs")
    derivation.check_blocks(names, targets)
    with derivation.deriving():
        outputs, inputs = list(map(lookup.tensor, names)), list(map(lookup.tensor, targets))
        derivation.values({("outputs", name): tensor for name, tensor in zip(names, outputs, strict=True)})
        assert request.mode != "auto"
        plan = passes(outputs, inputs, request.mode)
        if request.mode == "forward":
            derivation.tangents_follow()
            for target, wrt in zip(targets, inputs, strict=True):
                places = [("jacobian", name, target) for name in names]
                _columns(derivation, outputs, wrt, places, plan)
        else:
            for name, output in zip(names, outputs, strict=True):
                _rows(derivation, output, inputs, [("jacobian", name, target) for target in targets], plan)
    return derivation.compiled(("outputs", "jacobian"))


def _columns(derivation: Derivation, outputs: list[Tensor], wrt: Tensor, places: Sequence[Place], plan: Passes) -> None:
    """Add the sweep that finds the derivatives of outputs by one input, a column for each direction of the input."""
    direction = derivation.stand_in(wrt)
    found = pushforward(outputs, {wrt: direction})
    blocks = []
    for place, output, tangent in zip(places, outputs, found, strict=True):
        if tangent is None:
            derivation.zero(place, output.shape + wrt.shape, output.dtype)
        else:
            blocks.append((Block(place, "columns", output.shape, wrt.shape, plan.pattern(output, wrt)), tangent))
    derivation.sweep(direction, blocks, plan.colours(wrt))


def _rows(derivation: Derivation, output: Tensor, inputs: list[Tensor], places: Sequence[Place], plan: Passes) -> None:
    """Add the sweep that finds the derivatives of one output by inputs, a row for each direction of the output."""
    direction = derivation.stand_in(output)
    found = backward([(output, direction)], inputs)
    blocks = []
    for place, wrt, cotangent in zip(places, inputs, found, strict=True):
        if cotangent is None:
            derivation.zero(place, output.shape + wrt.shape, output.dtype)
        else:
            blocks.append((Block(place, "rows", output.shape, wrt.shape, plan.pattern(output, wrt)), cotangent))
    derivation.sweep(direction, blocks, plan.colours(output))


def _hessian(derivation: Derivation, request: HessianRequest) -> Compiled:
    lookup = derivation.lookup
    name = lookup.scalar_output(request.output, "output")
    targets = lookup.targets(request.wrt)
    derivation.check_blocks(targets, targets)
    with derivation.deriving():
        assert name is not None
        inputs = list(map(lookup.tensor, targets))
        gradients = _gradients_of(derivation, name, targets)
        plan = passes(gradients, inputs, "forward")
        derivation.tangents_follow()
        for target, wrt in zip(targets, inputs, strict=True):
            _columns(derivation, gradients, wrt, [("hessian", row, target) for row in targets], plan)
    return derivation.compiled(("outputs", "gradients", "hessian"), roots=(name,))


def _products(derivation: Derivation, request: ProductRequest) -> Compiled:
    lookup = derivation.lookup
    name = lookup.scalar_output(request.output, "output")
    given = derivation.typed(request.vectors)
    targets = lookup.like(given, "vectors")
    with derivation.deriving():
        assert name is not None
        gradients = _gradients_of(derivation, name, targets)
        vectors = {lookup.tensor(target): derivation.brought("vectors", target, given[target]) for target in targets}
        derivation.tangents_follow()
        products: dict[Place, Tensor] = {}
        for target, product in zip(targets, pushforward(gradients, vectors), strict=True):
            products["hvp", target] = zeros(lookup.tensor(target)) if product is None else product
        derivation.values(products)
    return derivation.compiled(("outputs", "gradients", "hvp"), roots=(name,))


def _gradients_of(derivation: Derivation, name: str, targets: list[str]) -> list[Tensor]:
    """Return the gradients of a scalar, zeros where it does not depend on a target; ask for them and its value."""
    root = derivation.lookup.tensor(name)
    tensors = list(map(derivation.lookup.tensor, targets))
    found = backward([(root, ones(root))], tensors)
    gradients = [zeros(wrt) if gradient is None else gradient for wrt, gradient in zip(tensors, found, strict=True)]
    results: dict[Place, Tensor] = {("gradients", target): g for target, g in zip(targets, gradients, strict=True)}
    derivation.values({("outputs", name): root, **results})
    return gradients


def seed_of(derivation: Derivation, name: str, given: Leaf | None) -> Tensor:
    """Return the cotangent that the walk starts with at a root."""
    return ones(derivation.lookup.tensor(name)) if given is None else derivation.brought("backward", name, given)


def ones(tensor: Tensor) -> Tensor:
    """Ones of a tensor's shape and dtype, which take no memory."""
    return expanded(constant(1, tensor.dtype), tensor.shape)


_DERIVATIVES: dict[type, Callable[[Derivation, Any], Compiled]] = {
    ForwardRequest: _forward,
    GradientRequest: _gradients,
    TangentRequest: _tangents,
    JacobianRequest: _jacobian,
    HessianRequest: _hessian,
    ProductRequest: _products,
}
