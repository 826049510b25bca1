"""A client of gradd in one page: NumPy arrays in, NumPy arrays out, over one connection that stays open."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np

Arrays = Mapping[str, np.ndarray]


class Client:
    """Sends graphs to the server at `url`. With `binary`, tensors travel as base64 of their bytes, else as numbers."""

    def __init__(self, url: str, *, binary: bool = False) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)
        self._binary = binary

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def gradients(
        self, ops: list[dict[str, Any]], parameters: Arrays, data: Arrays
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the graph's outputs and the gradients of its scalar output with respect to every parameter."""
        leaves = {name: {**self._tensor(array), "requires_grad": True} for name, array in parameters.items()}
        constants = {name: self._tensor(array) for name, array in data.items()}
        reply = self._post("/v1/gradients", {"graph": {"tensors": {**leaves, **constants}, "ops": ops}, "dag": False})
        return _arrays(reply["outputs"]), _arrays(reply["gradients"])

    def forward(self, ops: list[dict[str, Any]], tensors: Arrays, outputs: list[str]) -> dict[str, np.ndarray]:
        """Return the outputs named; nothing is recorded, so this is the cheaper call when no gradient is wanted."""
        leaves = {name: self._tensor(array) for name, array in tensors.items()}
        reply = self._post("/v1/forward", {"graph": {"tensors": leaves, "ops": ops}, "outputs": outputs})
        return _arrays(reply["outputs"])

    def _post(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        request["encoding"] = "base64" if self._binary else "json"
        reply = self._http.post(path, json=request)
        if reply.is_error:
            # A problem document: it names the members at fault and says how to mend each.
            raise RuntimeError(f"{path} answered {reply.status_code}: {reply.text}")
        answer: dict[str, Any] = reply.json()
        return answer

    def _tensor(self, array: np.ndarray) -> dict[str, Any]:
        """Write an array as a request has it."""
        data = base64.b64encode(_little_endian(array).tobytes()).decode() if self._binary else array.tolist()
        return {"data": data, "dtype": array.dtype.name, "shape": list(array.shape)}


def _arrays(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: _array(tensor) for name, tensor in tensors.items()}


def _array(tensor: Mapping[str, Any]) -> np.ndarray:
    """Read an array as a reply has it."""
    dtype = np.dtype(tensor["dtype"])
    if isinstance(tensor["data"], str):
        values = np.frombuffer(base64.b64decode(tensor["data"]), dtype.newbyteorder("<")).astype(dtype)
    else:
        values = np.array(tensor["data"], dtype)
    return values.reshape(tensor["shape"])


def _little_endian(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"))
