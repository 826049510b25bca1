"""The sum of tanh as a Tesseract, with its gradient written by hand in NumPy."""

from typing import Any

import numpy as np
from pydantic import BaseModel
from tesseract_core.runtime import Array, Differentiable, Float64


class InputSchema(BaseModel):
    """The argument of the function."""

    x: Differentiable[Array[(None,), Float64]]


class OutputSchema(BaseModel):
    """The value of the function."""

    y: Differentiable[Float64]


def apply(inputs: InputSchema) -> OutputSchema:
    """Return the function's value."""
    return OutputSchema(y=np.tanh(inputs.x).sum())


def vector_jacobian_product(
    inputs: InputSchema,
    vjp_inputs: set[str],  # noqa: ARG001  # there is a single input
    vjp_outputs: set[str],  # noqa: ARG001
    cotangent_vector: dict[str, Any],
) -> dict[str, Any]:
    """Return the gradient times the cotangent."""
    bent = np.tanh(inputs.x)
    return {"x": (1 - bent * bent) * cotangent_vector["y"]}


def abstract_eval(abstract_inputs: Any) -> dict[str, Any]:  # noqa: ARG001
    """Return the type of the value."""
    return {"y": {"shape": [], "dtype": "float64"}}
