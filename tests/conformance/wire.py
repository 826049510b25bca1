"""Tensors on the wire: torch tensors to the contract's forms and back. The request builder, the interpreter and the
client of the server all call it, so that a form which is written wrongly shows in the self-test.
"""

from __future__ import annotations

import base64
import math
from typing import Any, Literal

import numpy as np
import torch

Form = Literal["shorthand", "nested", "flat", "base64"]

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "bool", "uint8", "int8", "int16", "int32", "int64",
        "float16", "float32", "float64", "complex64", "complex128",
    )
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def write_number(value: float) -> float | str:
    """Return `value` as JSON can carry it: the three numbers that JSON lacks become their strings."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def read_number(value: Any) -> Any:
    """Return the number that `write_number` wrote."""
    return _SPECIAL[value] if isinstance(value, str) else value


def _map(function: Any, value: Any) -> Any:
    return [_map(function, item) for item in value] if isinstance(value, list) else function(value)


def write_tensor(tensor: torch.Tensor, form: Form, default: torch.dtype, requires_grad: bool = False) -> Any:
    """Return `tensor` in one of the contract's forms, `default` being the graph's dtype.

    A form that cannot hold it gives way to one that can: an empty tensor needs its shape, and the shorthand has no
    room for a dtype or for requires_grad.
    """
    tensor = tensor.detach().resolve_conj().resolve_neg()
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    members: dict[str, Any] = {"dtype": NAMES[tensor.dtype]}
    if requires_grad:
        members["requires_grad"] = True
    if form == "base64":
        data = base64.b64encode(plain.contiguous().numpy().tobytes()).decode("ascii")
        return {"data": data, "shape": list(tensor.shape)} | members
    if form == "flat":
        data = _map(write_number, plain.reshape(-1, *plain.shape[tensor.ndim :]).tolist())
        return {"data": data, "shape": list(tensor.shape)} | members
    if tensor.numel() == 0:  # nested lists cannot say what comes below a dimension of size 0
        return {"data": [], "shape": list(tensor.shape)} | members
    data = _map(write_number, plain.tolist())
    if form == "shorthand" and not requires_grad and tensor.dtype in (default, torch.bool):
        return data
    return {"data": data} | members


def read_tensor(value: Any, default: torch.dtype) -> torch.Tensor:
    """Return the tensor that any of the contract's forms stands for."""
    members = value if isinstance(value, dict) else {"data": value}
    data = members["data"]
    dtype = DTYPES[members["dtype"]] if "dtype" in members else _literal_dtype(data, default)
    parts = torch.view_as_real(torch.empty(0, dtype=dtype)).dtype if dtype.is_complex else dtype
    if isinstance(data, str) and data not in _SPECIAL:
        raw = np.frombuffer(base64.b64decode(data, validate=True), dtype=str(parts).removeprefix("torch."))
        plain = torch.from_numpy(raw.copy())
    else:
        plain = torch.tensor(_map(read_number, data), dtype=parts)
    if "shape" in members:
        plain = plain.reshape([*members["shape"], *((2,) if dtype.is_complex else ())])
    return torch.view_as_complex(plain.contiguous()) if dtype.is_complex else plain


def _literal_dtype(data: Any, default: torch.dtype) -> torch.dtype:
    items = np.array(data, dtype=object).reshape(-1)
    return torch.bool if len(items) and all(isinstance(item, bool) for item in items) else default
