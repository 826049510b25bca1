"""The Jacobian: one column for each direction of an input, or one row for each direction of an output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar, Literal

from engine.autodiff.sparsity.mode import passes
from engine.compile.compiled import Compiled
from engine.compile.derivation import Derivation, TooSlow
from engine.compile.derivatives.blocks import add_columns, add_rows, check_blocks
from engine.compile.estimate import STEP_S, estimate
from engine.compile.request import Names, Request, Start
from engine.errors import GraphError

Mode = Literal["forward", "reverse"]
Made = tuple[Derivation, Compiled]


@dataclass(frozen=True, slots=True, kw_only=True)
class JacobianRequest(Request):
    """The Jacobian of `outputs` with respect to `wrt`. "auto" selects the cheaper of forward and reverse mode."""

    outputs: Names | None = None
    wrt: Names | None = None
    mode: Literal["auto", "reverse", "forward"] = "auto"

    by: ClassVar[str | None] = "wrt"
    functional: ClassVar[bool] = True
    searches: ClassVar[bool] = True

    def derive(self, derivation: Derivation) -> Compiled:
        """Compile the Jacobian in the mode that the request names."""
        lookup = derivation.lookup
        names = lookup.outputs(self.outputs)
        targets = lookup.targets(self.wrt)
        lookup.floating(names, "outputs")
        check_blocks(derivation, names, targets)
        with derivation.deriving():
            outputs, inputs = list(map(lookup.tensor, names)), list(map(lookup.tensor, targets))
            derivation.values({("outputs", name): tensor for name, tensor in zip(names, outputs, strict=True)})
            assert self.mode != "auto"
            plan = passes(outputs, inputs, self.mode)
            if self.mode == "forward":
                derivation.schedule_early()
                for target, wrt in zip(targets, inputs, strict=True):
                    places = [("jacobian", name, target) for name in names]
                    add_columns(derivation, outputs, wrt, places, plan)
            else:
                for name, output in zip(names, outputs, strict=True):
                    add_rows(derivation, output, inputs, [("jacobian", name, target) for target in targets], plan)
        return derivation.compiled(("outputs", "jacobian"))

    def derived(self, start: Start) -> tuple[Derivation, Compiled]:
        """Return the compiled Jacobian: in the named mode, or in the cheaper of the modes within the limits.

        The cheaper mode has the lower predicted time. The number of directions decides only if the times differ by less
        than a step. It does not predict the time: under vmap a direction of an input shared by all samples costs less
        than a direction of an input of each sample, and a pass of one input runs only the nodes that depend on it. The
        mode with fewer passes is compiled first. The compilation of the other mode stops when its predicted time is
        longer: one pass for each of a thousand outputs takes as long to plan as to run.
        """
        first = start()
        if self.mode != "auto":
            return first, self.derive(first)
        fault: GraphError | None = None
        best: Made | None = None
        for begun, mode in zip((first, None), _by_passes(first, self), strict=True):
            derivation = begun or start(_most_s(best))
            try:
                made = derivation, replace(self, mode=mode).derive(derivation)
            except GraphError as error:
                fault = fault or error
            except TooSlow:
                derivation.release()
            else:
                best = made if best is None else _better(best, made)
        if best is None:
            assert fault is not None
            raise fault
        return best


def _most_s(best: Made | None) -> float:
    """Return the bound on the predicted seconds of the other mode."""
    return estimate(best[1]).seconds + STEP_S if best is not None and _fits(best) else inf


def _fits(made: Made) -> bool:
    """Whether a run is within the memory limit."""
    return made[1].peak_bytes <= made[0].limits.bytes


def _by_passes(derivation: Derivation, request: JacobianRequest) -> tuple[Mode, Mode]:
    """Return the modes, fewer passes first. Reverse mode has a pass for each output, forward mode for each input."""
    traced = derivation.traced
    outputs = traced.unconsumed() if request.outputs is None else request.outputs
    leaves = (name for name, given in traced.program.tensors.items() if given.requires_grad)
    inputs = list(leaves) if request.wrt is None else request.wrt
    return ("reverse", "forward") if len(outputs) <= len(inputs) else ("forward", "reverse")


def _better(one: Made, other: Made) -> Made:
    """Return the one within the memory limit, or with less time, or with fewer directions. Release the other."""
    fits = list(map(_fits, (one, other)))
    seconds = [estimate(made[1]).seconds for made in (one, other)]
    if fits[0] != fits[1]:
        second = fits[1]
    elif abs(seconds[1] - seconds[0]) < STEP_S:
        second = other[1].directions < one[1].directions
    else:
        second = seconds[1] < seconds[0]
    kept, left = (other, one) if second else (one, other)
    left[0].release()
    return kept
