"""The column `vmap`: what the server answers for three samples at once is what it answers for each of them alone. The
first of the three is the case itself, the others are neighbours of it: floating elements are moved towards zero, each
by a share of its own, integers and bools stand in the opposite order where the op takes that.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from tests.conformance.cases import Case
from tests.conformance.compare import difference
from tests.conformance.derivative_requests import directions, products_request, written
from tests.conformance.exchange import Excepted, Exchange, Tensors, Unanswered, Verdict
from tests.conformance.reference import SEED
from tests.conformance.wire import write_tensor

ALONE = Excepted("there is no tensor to map over")
NO_NEIGHBOURS = Excepted("the op refuses the neighbours of the sample")

BROUGHT = ("backward", "vectors")
"""Members that bring tensors beside the graph's."""

COUNT = 3
FARTHEST = 0.2
"""By how much of itself an element is moved at most."""

Move = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def _element_by_element(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    share = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
    return (tensor.double() * (1 - FARTHEST * share)).to(tensor.dtype)


def _as_a_whole(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return _element_by_element(torch.ones((), dtype=tensor.dtype), generator) * tensor


def _opposite(tensor: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return tensor.flatten().flip(0).reshape(tensor.shape)


def _as_it_is(tensor: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return tensor


NEIGHBOURS: tuple[tuple[Move, Move], ...] = (
    (_element_by_element, _opposite),
    (_element_by_element, _as_it_is),
    (_as_a_whole, _as_it_is),
)
"""How floating tensors are moved and how others are: the first pair that the op takes. Positive definite matrices stay
such only as a whole, and not every order of indices is one that their op takes."""


Stacks = dict[tuple[str, str], torch.Tensor]
"""By a member of the request that holds tensors, and a name in it."""


@dataclass(frozen=True)
class Mapping:
    """What is mapped over, stacked along an axis for each name; without axes, what one sample has in their place."""

    stacks: Stacks
    axes: dict[str, int]

    def index(self, place: int) -> Mapping:
        """Return one of the samples."""
        return Mapping({key: stack.select(self.axes[key[1]], place) for key, stack in self.stacks.items()}, {})

    def into(self, request: dict[str, Any], case: Case) -> dict[str, Any]:
        """Return a request of the case with these tensors in it."""
        recorded = {name for name, leaf in zip(case.names, case.reference.leaves, strict=True) if leaf.requires_grad}
        held = {"tensors": request["graph"]["tensors"]} | {m: request[m] for m in BROUGHT if m in request}
        used = {(member, name): tensor for (member, name), tensor in self.stacks.items() if member in held}
        for (member, name), tensor in used.items():
            marked = member == "tensors" and name in recorded
            held[member] = held[member] | {name: write_tensor(tensor, "base64", case.default, marked)}
        graph = request["graph"] | {"tensors": held.pop("tensors")}
        axes = {name: self.axes[name] for _, name in used if name in self.axes}
        return request | {"graph": graph, "encoding": "base64", "dag": False} | held | ({"vmap": axes} if axes else {})


def vmap(exchange: Exchange[Case]) -> Verdict:
    """Values, gradients and products with second derivatives, mapped over, are those of a loop."""
    case = exchange.case
    named = {name: leaf for name, leaf in zip(case.names, case.reference.leaves, strict=True) if name}
    if not named:
        return ALONE
    requests = {case.path: _compact(case)}
    if "backward" in case.request:
        requests["/v1/hvp"] = products_request(case)
    for floating, other in NEIGHBOURS:
        mapping = _mapping(case, named, floating, other)
        try:
            alone = {path: _alone(exchange, path, request, mapping) for path, request in requests.items()}
        except Unanswered:
            continue
        return [
            f"{path} mapped over {sorted(mapping.axes)}: {problem}"
            for path, request in requests.items()
            for problem in _differences(exchange.ask(path, mapping.into(request, case)), alone[path])
        ]
    return NO_NEIGHBOURS


def _compact(case: Case) -> dict[str, Any]:
    """Return the case's request with its seeds in the form that is read the fastest."""
    return case.request | ({"backward": written(_seeds(case), case.default)} if "backward" in case.request else {})


def _seeds(case: Case) -> dict[str, torch.Tensor]:
    return {case.outputs[place]: seed for place, seed in case.reference.seeds.items()}


def _mapping(case: Case, named: dict[str, torch.Tensor], floating: Move, other: Move) -> Mapping:
    """Return the case and its neighbours: of half the cases every tensor is mapped, of the others one, by turns."""
    turn = zlib.crc32(case.label.encode())
    every = bool(turn % 2)
    names = list(named) if every else [list(named)[turn // 2 % len(named)]]
    generator = torch.Generator().manual_seed(SEED + turn)
    chosen = {("tensors", name): named[name].detach() for name in names}
    chosen |= {("vectors", name): direction for name, direction in directions(case).items() if name in names}
    chosen |= {("backward", name): seed for name, seed in _seeds(case).items() if every}
    axes = {name: place % (tensor.ndim + 1) for place, ((_, name), tensor) in enumerate(chosen.items())}
    stacks = {key: _stack(tensor, floating, other, axes[key[1]], generator) for key, tensor in chosen.items()}
    return Mapping(stacks, axes)


def _stack(tensor: torch.Tensor, floating: Move, other: Move, axis: int, generator: torch.Generator) -> torch.Tensor:
    move = floating if tensor.dtype.is_floating_point else other
    return torch.stack([tensor, *(move(tensor, generator) for _ in range(COUNT - 1))], axis)


def _alone(exchange: Exchange[Case], path: str, request: dict[str, Any], mapping: Mapping) -> list[Tensors]:
    """Return the reply to each sample. Raises Unanswered where the op refuses one."""
    return [exchange.ask(path, mapping.index(place).into(request, exchange.case)) for place in range(COUNT)]


def _differences(together: Tensors, alone: list[Tensors]) -> Iterator[str]:
    for section in ("outputs", "gradients", "hvp"):
        for name in alone[0].body.get(section, {}):
            wanted = [reply.get(section, name) for reply in alone]
            problem = difference(together.get(section, name), _stacked(wanted))
            if problem:
                yield f"{section} {name}: {problem}"


def _stacked(tensors: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Return results of single samples as vmap gives them; None where there are none."""
    found = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(found) if len(found) == len(tensors) else None
