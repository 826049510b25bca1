"""vmap's axis: the tensors that have it, and the nodes over it.

A program is traced for one index of the axis. `engine.compile.derivation` then builds the tensors over the whole axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from engine.autodiff.vmap import batched
from engine.compile.request import Request
from engine.compile.targets import mapped_axes
from engine.graph.function import ancestors
from engine.graph.graph import Tensor
from engine.graph.promotion import LEAF, leaf, source_of
from engine.graph.types import Shape
from engine.ops.random.seed import split_seed
from engine.ops.shape.movement import permuted
from engine.program.program import Leaf, Program


class Vmap:
    """vmap's axis of a request: its size (None without vmap) and the tensors that have it.

    `mapped` maps a tensor of one index, of shape `shape`, to the tensor of all indices, of shape (size, *shape).
    """

    def __init__(self, program: Program, request: Request) -> None:
        """Raises GraphError if the axes do not fit the tensors."""
        self.size, self._axes = mapped_axes(program, request)
        self.mapped: dict[Tensor, Tensor] = {}
        self._leaves, self._brought = program.tensors, request.brought

    @property
    def lead(self) -> Shape:
        """The leading dimensions of every result: (size,), or ()."""
        return () if self.size is None else (self.size,)

    def sample(self, name: str, given: Leaf) -> Leaf:
        """Return the type of a tensor for one index."""
        if name not in self._axes:
            return given
        axis = self._axes[name] % len(given.shape)
        return replace(given, shape=given.shape[:axis] + given.shape[axis + 1 :])

    def samples(self, given: Mapping[str, Leaf]) -> dict[str, Leaf]:
        """Return the types of seeds, tangents or vectors for one index."""
        return {name: self.sample(name, whole) for name, whole in given.items()}

    def map_leaves(self, tensors: Mapping[str, Tensor]) -> None:
        """Add the leaves of the program that have the axis. `tensors` has the leaves of one index by name."""
        for name, given in self._leaves.items():
            if name in self._axes:
                self._map(("tensors", name), tensors[name], given)

    def brought(self, member: str, name: str, given: Leaf) -> Tensor:
        """Return the leaf of one index for a tensor in a member of the request."""
        tensor = leaf((member, name), given.dtype, given.shape)
        whole = self._brought.get(name)
        if name in self._axes and whole is not None:
            self._map((member, name), tensor, whole)
        return tensor

    def _map(self, source: tuple[str, str], sample: Tensor, whole: Leaf) -> None:
        """Add a leaf that has the axis, with the axis moved to the front."""
        rank, axis = len(whole.shape), self._axes[source[1]]
        order = [axis % rank, *(dim for dim in range(rank) if dim != axis % rank)]
        self.mapped[sample] = permuted(leaf(source, whole.dtype, whole.shape), tuple(dim - rank for dim in order))

    def map_forward(self, forward: Sequence[Tensor], randomness: Literal["different", "same"]) -> None:
        """Add the nodes that compute tensors over the axis. `different` gives each index its own seed."""
        if self.size is None:
            return
        if randomness == "different":
            seeds = [node.outputs[0] for node in ancestors(forward) if node.primitive is LEAF]
            self.mapped |= {seed: split_seed(seed, self.size) for seed in seeds if source_of(seed)[0] == "seed"}
        batched(forward, self.mapped, self.size)

    def applied(self, wanted: list[Tensor]) -> list[Tensor]:
        """Return the tensors batched over vmap's axis; unchanged if the request has no `vmap`."""
        return wanted if self.size is None else batched(wanted, self.mapped, self.size)
