"""Lookup of the tensor names in a request in its traced program. The faults are collected and raised together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.errors import MOST_FAULTS, Fault, GraphError, Path
from engine.graph.graph import Tensor
from engine.program.program import Leaf
from engine.program.trace import Trace


class Names:
    """Looks up names in a traced program and collects the faults. Call `raise_faults` after the last lookup."""

    def __init__(self, traced: Trace) -> None:
        self.traced = traced
        self.faults: list[Fault] = []

    def raise_faults(self) -> None:
        """Raise GraphError if there are faults."""
        if self.faults:
            raise GraphError(self.faults)

    def tensor(self, name: str) -> Tensor:
        """Return the tensor of a known name. Raises KeyError for an unknown name."""
        return self.traced.names[name]

    def known(self, path: Path, names: Iterable[str], *, keys: bool = False) -> list[str]:
        """Return the known names without duplicates, and report the unknown names.

        The path of a fault is `path` with the position of the name in a list, or with the name as the `keys` of an
        object.
        """
        found: dict[str, None] = {}
        for position, name in enumerate(names):
            if name in self.traced.names:
                found[name] = None
            else:
                self._unknown((*path, name if keys else position), name)
        return list(found)

    def _unknown(self, path: Path, name: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            near = self.traced.suggestions.did_you_mean(name, self.traced.names)
            hint = near or "Name a tensor or an op's output."
            self.fault(path, "unknown_tensor", f"there is no tensor {name!r}", hint)

    def outputs(self, names: Sequence[str] | None) -> list[str]:
        """Return the outputs to compute. None means all outputs that no op consumes."""
        return self.traced.unconsumed() if names is None else self.known(("outputs",), names)

    def roots(self, given: Mapping[str, Leaf | None] | None) -> dict[str, Leaf | None]:
        """Return the roots and the types of their seeds. None means the only output that no op consumes."""
        if given is None:
            name = self.scalar_output(None, "backward")
            return {} if name is None else {name: None}
        if not given:
            self.fault(("backward",), "no_root", "backward names no root", "Name an output, or leave backward out.")
        roots = {name: given[name] for name in self.known(("backward",), given, keys=True)}
        for name, seed in roots.items():
            self._check_root(name, ("backward", name))
            self._check_seed(name, seed, ("backward", name))
        return roots

    def scalar_output(self, name: str | None, member: str) -> str | None:
        """Return the scalar to differentiate. None means the only output that no op consumes."""
        if name is None:
            return self._only_scalar(member)
        if name not in self.traced.names:
            self._unknown((member,), name)
            return None
        self._check_root(name, (member,))
        if self.tensor(name).numel != 1:
            self.fault(
                (member,),
                "not_scalar",
                f"{name!r} has shape {list(self.tensor(name).shape)}, and only a scalar has second derivatives here",
                "Sum it first, or take the mean.",
            )
        return name

    def _only_scalar(self, member: str) -> str | None:
        names = self.traced.unconsumed()
        if len(names) != 1 or self.tensor(names[0]).numel != 1:
            listed = (
                ", ".join(f"{name!r} of shape {list(self.tensor(name).shape)}" for name in names[:_SHOWN]) or "none"
            )
            listed += f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
            self.fault(
                (member,),
                "no_root",
                f"{member} is left out, and the outputs that no op consumes are not one scalar: {listed}",
                "Name a scalar, or sum the output first." + _SEEDS.get(member, ""),
            )
            return None
        self._check_root(names[0], (member,))
        return names[0]

    def _check_root(self, name: str, path: Path) -> None:
        if not self.tensor(name).requires_grad:
            self.fault(
                path,
                "root_requires_no_grad",
                f"{name!r} does not require grad: nothing that it depends on does, or it was not recorded",
                "Give a tensor that it depends on requires_grad true, and leave out no_grad and detach on the way.",
            )

    def _check_seed(self, name: str, seed: Leaf | None, path: Path) -> None:
        root = self.tensor(name)
        if seed is None and root.numel != 1:
            self.fault(
                path,
                "seed_missing",
                f"{name!r} has shape {list(root.shape)}, so it needs a seed",
                f"Let backward be an object that gives {name!r} a seed of that shape, or sum the output first.",
            )
        if seed is not None:
            self.shape_as(name, seed, path, "the seed")

    def targets(self, names: Sequence[str] | None, member: str = "wrt") -> list[str]:
        """Return the tensors to differentiate by. None means all leaves that require grad."""
        if names is None:
            found = [name for name, given in self.traced.program.tensors.items() if given.requires_grad]
            if not found:
                self.fault(
                    (member,),
                    "no_target",
                    "no tensor requires grad",
                    "Give a tensor requires_grad true, or name it here.",
                )
            return found
        known = self.known((member,), names)
        positions = {name: position for position, name in reversed(list(enumerate(names)))}
        for name in known:
            if not self.tensor(name).dtype.is_differentiable:
                self.floating([name], member)
            elif not self.tensor(name).requires_grad:
                self.fault(
                    (member, positions[name]),
                    "requires_no_grad",
                    f"{name!r} does not require grad",
                    f"Give the tensor (or one that it depends on) requires_grad true, or leave it out of {member}.",
                )
        return known

    def floating(self, names: Iterable[str], member: str) -> None:
        """Report each name of a tensor whose dtype is not differentiable."""
        for name in names:
            if not self.tensor(name).dtype.is_differentiable:
                self.fault(
                    (member, name),
                    "dtype",
                    f"{name!r} has dtype {self.tensor(name).dtype}, which has no derivative",
                    "Name floating tensors only.",
                )

    def like(self, given: Mapping[str, Leaf], member: str) -> list[str]:
        """Return the names of the tensors for which the request contains a vector of the same shape."""
        known = self.known((member,), given, keys=True)
        self.floating(known, member)
        for name in known:
            self.shape_as(name, given[name], (member, name), "the vector")
        if not given:
            self.fault((member,), "no_target", f"{member} names no tensor", "Give at least one.")
        return known

    def shape_as(self, name: str, given: Leaf, path: Path, what: str) -> None:
        """Report a tensor in the request, given for `name`, if its shape is not the shape of the tensor `name`."""
        shape = self.tensor(name).shape
        if given.shape != shape:
            self.fault(
                path,
                "shape_mismatch",
                f"{what} of {name!r} has shape {list(given.shape)}, and {name!r} {list(shape)}",
                "Give it the same shape.",
            )

    def fault(self, path: Path, code: str, detail: str, hint: str) -> None:
        """Report a fault."""
        self.faults.append(Fault(path, code, detail, hint))


_SHOWN = 10
"""Maximum number of outputs in the detail of a fault."""

_SEEDS = {"backward": " Or let backward be an object that gives a root a seed of its shape."}
"""Additional hints, by member of the request."""
