"""Hints for unknown names of ops, dtypes and parameters that PyTorch, NumPy, JAX or Python use.

The hint for a synonym is the name in gradd. The hint for a function of PyTorch without equivalent says that gradd does
not offer it. All other names are compared with the known names, see `engine.hints.suggestions`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cache
from importlib.resources import files

from engine.hints.suggestions import MAX_COMPARED, Suggestions

SIMILAR_OPS = 0.65
"""Minimum similarity of a suggested op: one wrong letter in three. `atan2` and `tanh` have 0.4."""

_PREFIX = re.compile(r"^(?:(?:torch|nn|functional|F|Tensor|np|numpy|jnp|jax|lax|scipy|tf|math|keras)\.)+")
_INDEX = re.compile(r"^\w*\[.*\]$", re.DOTALL)

_SYNONYMS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "@": "matmul", "**": "pow", "==": "eq", "!=": "ne", "<": "lt",
    "<=": "le", ">": "gt", ">=": "ge", "&": "logical_and", "|": "logical_or", "~": "logical_not",
    "absolute": "abs", "bce": "binary_cross_entropy", "bceloss": "binary_cross_entropy",
    "bcewithlogits": "binary_cross_entropy_with_logits", "bcewithlogitsloss": "binary_cross_entropy_with_logits",
    "batchnorm1d": "batch_norm", "batchnorm2d": "batch_norm", "batchnorm3d": "batch_norm", "clip": "clamp",
    "clip_by_value": "clamp", "concat": "cat", "dense": "linear", "divide": "div", "equal": "eq", "expit": "sigmoid",
    "instancenorm1d": "instance_norm", "instancenorm2d": "instance_norm", "instancenorm3d": "instance_norm",
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "mae": "l1_loss", "mse": "mse_loss",
    "multiply": "mul", "negative": "neg", "not_equal": "ne", "power": "pow", "ravel": "flatten", "reduce_max": "amax",
    "reduce_mean": "mean", "reduce_min": "amin", "reduce_sum": "sum", "special.expit": "sigmoid", "subtract": "sub",
    "swish": "silu", "true_divide": "div", "truediv": "div", "invert": "logical_not", "expand_dims": "unsqueeze",
}  # fmt: skip
"""Other names of ops: operators, NumPy's names, and names of layers."""

_SENTENCES = {
    "T": "Use 't' for two dimensions, or 'permute' with the order of the dimensions.",
    "mT": "Use 'transpose' with the dimensions -2 and -1.",
    "slice": "Use 'narrow' for a range of one dimension: its start and its length.",
    "getitem": "Use 'select' for one index of a dimension, 'narrow' for a range, 'index_select' for several.",
}
"""Hints for names that have no single equivalent op."""

_OPTIMIZERS = {"sgd", "adam", "adamw", "adagrad", "adadelta", "adamax", "lbfgs", "nadam", "radam", "rmsprop", "rprop"}

_DTYPES = {
    "bfloat16": ("float32",), "bool_": ("bool",), "boolean": ("bool",), "byte": ("uint8",), "char": ("int8",),
    "double": ("float64",), "f16": ("float16",), "f32": ("float32",), "f64": ("float64",),
    "float": ("float32", "float64"), "half": ("float16",), "i16": ("int16",), "i32": ("int32",), "i64": ("int64",),
    "i8": ("int8",), "int": ("int32", "int64"), "long": ("int64",), "short": ("int16",), "single": ("float32",),
    "u8": ("uint8",),
}  # fmt: skip
"""Other names of dtypes. PyTorch's `float` is float32, Python's and NumPy's is float64."""

_PARAMETERS = {
    "axis": ("dim", "dims"), "axes": ("dims", "dim"), "keepdims": ("keepdim",), "ddof": ("correction",),
    "a": ("input",), "x": ("input",), "y": ("other", "target"), "a_min": ("min",), "a_max": ("max",),
    "rate": ("p",), "prob": ("p",), "negative_slope": ("slope",), "epsilon": ("eps",), "newshape": ("shape",),
}  # fmt: skip
"""Other names of parameters: NumPy's and JAX's."""


def of_op(name: str, known: Collection[str], suggestions: Suggestions) -> str:
    """Return the hint for a name that is not one of the `known` ops."""
    bare = _PREFIX.sub("", name[: 2 * MAX_COMPARED])
    word = bare.strip("_") if bare.startswith("__") else bare
    return (
        _meant([found for found in (bare, word, _SYNONYMS.get(word), _SYNONYMS.get(word.lower())) if found in known])
        or _sentence(word)
        or _in_place(bare, known)
        or _meant(op for op in known if _compact(op) in {_compact(word), _compact(word).removesuffix("loss")})
        or _not_offered(word)
        or suggestions.did_you_mean(word, known, SIMILAR_OPS)
        or "GET /v1/ops lists the ops."
    )


def of_dtype(name: str, offered: Collection[str], suggestions: Suggestions) -> str:
    """Return `Did you mean 'x'?` for an unknown dtype, or an empty string."""
    bare = _PREFIX.sub("", name[: 2 * MAX_COMPARED])
    meant = (bare, *_DTYPES.get(bare.lower(), ()))
    return _meant(dtype for dtype in meant if dtype in offered) or suggestions.did_you_mean(bare, offered)


def of_parameter(name: str, known: Collection[str], suggestions: Suggestions) -> str:
    """Return `Did you mean 'x'?` for a name that is not one of an op's parameters, or an empty string."""
    meant = [other for other in _PARAMETERS.get(name, ()) if other in known]
    return _meant(meant) or suggestions.did_you_mean(name, known)


def _meant(names: Iterable[str | None]) -> str:
    quoted = [f"{name!r}" for name in dict.fromkeys(names)]
    return f"Did you mean {' or '.join(quoted[:3])}?" if quoted else ""


def _sentence(name: str) -> str:
    if name.lower() in _OPTIMIZERS or name.lower().startswith("optim."):
        return "Optimizers are not offered: take the gradients from the reply and change the parameters in the client."
    return _SENTENCES["getitem"] if _INDEX.match(name) else _SENTENCES.get(name, "")


def _in_place(name: str, known: Collection[str]) -> str:
    if not name.endswith("_") or name.startswith("__"):
        return ""
    base = _SYNONYMS.get(name[:-1], name[:-1])
    if base in known:
        return f"In-place ops are not offered: use {base!r}, whose result has a name of its own."
    return "In-place ops are not offered." if base in _pytorch_names() else ""


def _not_offered(name: str) -> str:
    return f"PyTorch has {name!r}; gradd does not offer it yet." if name in _pytorch_names() else ""


def _compact(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


@cache
def _pytorch_names() -> frozenset[str]:
    """Return the public functions of PyTorch 2.13 on tensors."""
    return frozenset(files("engine.hints").joinpath("torch_names.txt").read_text(encoding="utf-8").split())
