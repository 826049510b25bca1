"""From a program to something that runs: the engine's front door.

`compile_gradients` and `compile_forward` check and type a program, differentiate it, plan it and return a `Compiled`,
which holds no values: it can be cached by structure, shapes and dtypes, and run with any values, by several threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engine import dag
from engine.autodiff.checkpoint import recomputed
from engine.autodiff.reverse import backward
from engine.errors import Fault, GraphError, Path, did_you_mean
from engine.execute import numpy as executor
from engine.graph import Tensor, building
from engine.op import as_tensor, constant, leaf
from engine.ops.movement import expanded
from engine.plan import Plan, Source, plan
from engine.program import Leaf, Limits, Program
from engine.trace import Trace, trace


@dataclass(frozen=True, slots=True)
class GradientRequest:
    """What to differentiate. None stands for the contract's default.

    `backward` maps roots to the type of their seed (None: ones, for a scalar). `accumulate` maps names to the types of
    the gradients that new ones are added to.
    """

    backward: Mapping[str, Leaf | None] | None = None
    wrt: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    accumulate: Mapping[str, Leaf] = field(default_factory=dict)
    unreached: Literal["null", "zeros", "error"] = "null"
    checkpoint: tuple[str, ...] = ()
    detect_anomaly: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """What a run gives: arrays by name. A gradient is None where no root depends on its tensor."""

    outputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray | None]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan with the names of what goes in and comes out, and the serialized DAG."""

    plan: Plan
    outputs: tuple[str, ...]
    gradients: tuple[str, ...]
    unreached: frozenset[str]
    dag: dict[str, Any]
    warnings: tuple[str, ...] = ()
    detect_anomaly: bool = False

    def run(
        self,
        tensors: Mapping[str, np.ndarray],
        seeds: Mapping[str, np.ndarray] | None = None,
        accumulate: Mapping[str, np.ndarray] | None = None,
        *,
        seed: int = 0,
        deadline: float | None = None,
    ) -> Results:
        """Run the plan on values of the compiled shapes and dtypes.

        `seeds` are the cotangents of the roots that have one, `seed` what random ops draw from, `deadline` a moment of
        `time.monotonic()`. Raises ValueFault where an op refuses a value, DeadlineExceeded.
        """
        given: dict[Source, Any] = {("tensors", name): array for name, array in tensors.items()}
        given.update({("backward", name): array for name, array in (seeds or {}).items()})
        given.update({("accumulate", name): array for name, array in (accumulate or {}).items()})
        given["seed", ""] = np.int64(seed)
        arrays = iter(executor.run(self.plan, given, deadline=deadline, detect_anomaly=self.detect_anomaly))
        outputs = {name: next(arrays) for name in self.outputs}
        gradients = {name: None if name in self.unreached else next(arrays) for name in self.gradients}
        return Results(outputs, gradients)


def compile_forward(program: Program, outputs: tuple[str, ...] | None, limits: Limits) -> Compiled:
    """Compile a program without derivatives. Raises GraphError."""
    traced = trace(program, limits)
    request = _Request(traced)
    names = request.outputs(outputs)
    request.raise_faults()
    return _compiled(traced, limits, outputs=names, roots=())


def compile_gradients(program: Program, request: GradientRequest, limits: Limits) -> Compiled:
    """Compile a program with the gradients that are asked for.

    Raises GraphError; its faults' paths start at the request's root: ("graph", "ops", 3, "inputs", 1), ("wrt", 0).
    """
    traced = trace(program, limits)
    asked = _Request(traced)
    names = asked.outputs(request.outputs)
    roots = asked.roots(request.backward)
    targets = asked.targets(request.wrt)
    asked.accumulated(request.accumulate, targets)
    cuts = asked.known(("checkpoint",), request.checkpoint)
    asked.raise_faults()

    boundary = len(traced.builder.nodes)
    with building(traced.builder):
        seeded = [(traced.names[name], _seed(traced.names[name], name, seed)) for name, seed in roots.items()]
        found = backward(seeded, [traced.names[name] for name in targets])
        gradients = {
            name: _finished(gradient, traced.names[name], name, request)
            for name, gradient in zip(targets, found, strict=True)
        }
    if request.unreached == "error":
        asked.refuse_unreached(targets, gradients)
    wanted = [traced.names[name] for name in names]
    if cuts:
        gradients = recomputed(gradients, boundary, keep=[traced.names[name] for name in cuts] + wanted)
    return _compiled(traced, limits, names, tuple(roots), gradients, detect_anomaly=request.detect_anomaly)


def _compiled(
    traced: Trace,
    limits: Limits,
    outputs: tuple[str, ...],
    roots: tuple[str, ...],
    gradients: Mapping[str, Tensor | None] | None = None,
    *,
    detect_anomaly: bool = False,
) -> Compiled:
    gradients = gradients or {}
    reached = [gradient for gradient in gradients.values() if gradient is not None]
    planned = plan([*(traced.names[name] for name in outputs), *reached])
    if planned.peak_bytes > limits.bytes:
        raise GraphError(
            [
                Fault(
                    ("graph",),
                    "memory_limit",
                    f"the computation holds up to {planned.peak_bytes} bytes at once, over the limit of {limits.bytes}",
                    "Use smaller tensors or checkpoint, or ask the operator of the server for a higher limit.",
                )
            ]
        )
    return Compiled(
        planned,
        outputs,
        tuple(gradients),
        frozenset(name for name, gradient in gradients.items() if gradient is None),
        dag.serialize(traced, roots),
        detect_anomaly=detect_anomaly,
    )


def _seed(root: Tensor, name: str, given: Leaf | None) -> Tensor:
    """Return the cotangent that the walk starts with at a root."""
    if given is None:
        return expanded(constant(1, root.dtype), root.shape)
    return as_tensor(leaf(("backward", name), given.dtype, given.shape), root.dtype)


def _finished(gradient: Tensor | None, target: Tensor, name: str, request: GradientRequest) -> Tensor | None:
    """Return a gradient with what it is added to, or what stands for an absent one."""
    before = request.accumulate.get(name)
    if before is not None:
        known = as_tensor(leaf(("accumulate", name), before.dtype, before.shape), target.dtype)
        return known if gradient is None else known + gradient
    if gradient is None and request.unreached == "zeros":
        return expanded(constant(0, target.dtype), target.shape)
    return gradient


class _Request:
    """The names in a request, looked up in a trace; what is wrong with them is raised together."""

    def __init__(self, traced: Trace) -> None:
        self.traced = traced
        self.faults: list[Fault] = []

    def raise_faults(self) -> None:
        """Raise GraphError if anything was wrong."""
        if self.faults:
            raise GraphError(self.faults)

    def known(self, path: Path, names: Iterable[str], keys: bool = False) -> list[str]:
        """Return the names that exist, each once; report the others under `path`."""
        found: dict[str, None] = {}
        for position, name in enumerate(names):
            if name in self.traced.names:
                found[name] = None
            else:
                hint = did_you_mean(name, self.traced.names) or "Name a tensor or an op's output."
                self._fault((*path, name if keys else position), "unknown_tensor", f"there is no tensor {name!r}", hint)
        return list(found)

    def outputs(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the outputs to compute: every one that no op consumes unless they are named."""
        return tuple(self.traced.unconsumed() if names is None else self.known(("outputs",), names))

    def roots(self, given: Mapping[str, Leaf | None] | None) -> dict[str, Leaf | None]:
        """Return the roots and the types of their seeds."""
        if given is None:
            return self._default_root()
        roots = {name: given[name] for name in self.known(("backward",), given, keys=True)}
        if not given:
            self._fault(("backward",), "no_root", "backward names no root", "Name an output, or leave backward out.")
        for name, seed in roots.items():
            self._check_root(name, seed, ("backward", name))
        return roots

    def _default_root(self) -> dict[str, Leaf | None]:
        names = self.traced.unconsumed()
        scalars = [name for name in names if self.traced.names[name].numel == 1]
        if len(names) != 1 or len(scalars) != 1:
            listed = ", ".join(f"{name} {list(self.traced.names[name].shape)}" for name in names) or "none"
            self._fault(
                ("backward",),
                "no_root",
                f"backward is left out, and there is no single scalar output that no op consumes (there is: {listed})",
                "Name the root: its name if it is a scalar, or an object that gives its name a seed of its shape.",
            )
            return {}
        self._check_root(names[0], None, ("backward",))
        return {names[0]: None}

    def _check_root(self, name: str, seed: Leaf | None, path: Path) -> None:
        root = self.traced.names[name]
        if not root.requires_grad:
            self._fault(
                path,
                "root_requires_no_grad",
                f"{name!r} does not require grad: nothing that it depends on does, or it was not recorded",
                "Give a tensor that it depends on requires_grad true, and leave out no_grad and detach on the way.",
            )
        if seed is None and root.numel != 1:
            self._fault(
                path,
                "seed_missing",
                f"{name!r} has shape {list(root.shape)}, so it needs a seed",
                f"Let backward be an object that gives {name!r} a seed of that shape, or sum the output first.",
            )
        if seed is not None and seed.shape != root.shape:
            self._fault(
                path,
                "shape_mismatch",
                f"the seed of {name!r} has shape {list(seed.shape)}, and the root {list(root.shape)}",
                "Give the seed its root's shape.",
            )

    def targets(self, names: Sequence[str] | None) -> list[str]:
        """Return the names to differentiate by: every leaf that requires grad unless they are named."""
        if names is None:
            return [name for name, given in self.traced.program.tensors.items() if given.requires_grad]
        known = self.known(("wrt",), names)
        for name in known:
            if not self.traced.names[name].requires_grad:
                self._fault(
                    ("wrt", list(names).index(name)),
                    "requires_no_grad",
                    f"{name!r} does not require grad",
                    "Give the tensor (or one that it depends on) requires_grad true, or leave it out of wrt.",
                )
        return known

    def accumulated(self, given: Mapping[str, Leaf], targets: Sequence[str]) -> None:
        """Check that what gradients are added to fits them."""
        for name in self.known(("accumulate",), given, keys=True):
            target = self.traced.names[name]
            if name not in targets:
                self._fault(
                    ("accumulate", name),
                    "not_in_wrt",
                    f"no gradient of {name!r} is asked for",
                    "Add it to wrt, or leave it out.",
                )
            elif given[name].shape != target.shape:
                self._fault(
                    ("accumulate", name),
                    "shape_mismatch",
                    f"the gradient to add to has shape {list(given[name].shape)}, and {name!r} {list(target.shape)}",
                    "A gradient has the shape of what it is the gradient of.",
                )

    def refuse_unreached(self, targets: Sequence[str], gradients: Mapping[str, Tensor | None]) -> None:
        """Raise GraphError for the targets that no root depends on."""
        for position, name in enumerate(targets):
            if gradients[name] is None:
                self._fault(
                    ("wrt", position),
                    "unreached",
                    f"no root depends on {name!r}",
                    'Leave it out of wrt, or let unreached be "null" or "zeros".',
                )
        self.raise_faults()

    def _fault(self, path: Path, code: str, detail: str, hint: str) -> None:
        self.faults.append(Fault(path, code, detail, hint))
