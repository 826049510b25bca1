"""PyTorch's public functions on tensors, by the names that people write: `python -m tests.conformance.torch_names`
writes them to `engine/hints/torch_names.txt`, from which hints tell that PyTorch has a function and gradd does not
offer it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.overrides import get_overridable_functions

FILE = Path(__file__).resolve().parents[2] / "engine" / "hints" / "torch_names.txt"

_PLAIN = (torch, torch.functional, torch.Tensor, torch.nn.functional)
_PREFIXED = {torch.linalg: "linalg.", torch.special: "special.", torch.fft: "fft."}


def names() -> list[str]:
    """Return the names, sorted."""
    overridable = get_overridable_functions()
    plain = {function.__name__ for holder in _PLAIN for function in overridable.get(holder, ())}
    plain |= set(dir(torch._C._VariableFunctions))
    found = [name for name in plain if any(hasattr(holder, name) for holder in _PLAIN)]
    found += [
        f"{prefix}{name}" for holder, prefix in _PREFIXED.items() for name in dir(holder) if _called(holder, name)
    ]
    return sorted(name for name in found if _public(name))


def _called(holder: Any, name: str) -> bool:
    return callable(getattr(holder, name)) and not isinstance(getattr(holder, name), type)


def _public(name: str) -> bool:
    last = name.rpartition(".")[2]
    return name.islower() and not last.startswith("_") and not last.endswith(("_", "_copy"))


if __name__ == "__main__":
    FILE.write_text("\n".join([*names(), ""]), encoding="utf-8")
