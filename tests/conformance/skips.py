"""Why a sample is not run: the tables of reasons. A reason stands in the report beside the number of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.conformance.samples import Op, Sample

RANDOM = "the result is random: test_random.py holds its properties"
REFUSED = "PyTorch itself refuses it"

DRAWS = frozenset(
    {
        "alpha_dropout", "bernoulli", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout",
        "feature_dropout", "fractional_max_pool2d", "fractional_max_pool3d", "gumbel_softmax", "multinomial",
        "multi_head_attention_forward", "normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
        "randperm", "rrelu", "scaled_dot_product_attention",
    }
)  # fmt: skip
"""Ops that may draw random numbers; whether a sample does is measured."""

BY_OP: dict[str, str] = {
    "unfold": "as a method it is another function than nn.functional.unfold, whose meaning the name has",
    "empty": "its values are not defined",
    "empty_like": "its values are not defined",
    "empty_permuted": "its values are not defined",
    "empty_strided": "its values are not defined",
    "new_empty": "its values are not defined",
    "new_empty_strided": "its values are not defined",
    "T": "an attribute of a tensor, no function",
    "H": "an attribute of a tensor, no function",
    "mT": "an attribute of a tensor, no function",
    "mH": "an attribute of a tensor, no function",
    "__getitem__": "Python's indexing has no name",
    "normal [in_place]": "in-place ops are not offered",
    "linalg.pinv [singular]": "its samples are factors that it multiplies first",
    "linalg.lstsq [grad_oriented]": "its function leaves out two of the results",
}
"""By entry of PyTorch's list, or by entry and variant."""

NAN_UNSETTLED = frozenset({"celu", "elu", "hardshrink", "hardswish", "hardtanh", "relu6", "selu", "softshrink"})
"""Ops whose gradient at NaN differs in PyTorch between elements that its vector loop takes and those left over."""

BY_KEYWORD: dict[str, str] = {
    "out": "there are no output arguments",
    "memory_format": "there are no memory formats",
    "inplace": "in-place ops are not offered",
}
"""By a keyword argument that is not None and not false."""


def _sparse(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is not torch.strided


def _elsewhere(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type != "cpu"


def _quantized(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_quantized


def _small_float(value: Any) -> bool:
    named = value.dtype if isinstance(value, torch.Tensor) else value
    return named in (torch.bfloat16, torch.chalf)


BY_ARGUMENT: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (_sparse, "tensors are dense"),
    (_elsewhere, "tensors have no device"),
    (_quantized, "tensors are not quantized"),
    (_small_float, "the dtype is none of the contract's"),
)
"""By a property of any argument, also inside a list."""


def _has_nan(sample: Sample) -> bool:
    return any(value.isnan().any() for value in sample.args if isinstance(value, torch.Tensor))


def _completes_a_basis(sample: Sample) -> bool:
    rows, columns = sample.args[0].shape[-2:]
    return rows != columns and (sample.kwargs.get("full_matrices", False) or not sample.kwargs.get("some", True))


BY_SAMPLE: tuple[tuple[frozenset[str], Callable[[Sample], bool], str], ...] = (
    (NAN_UNSETTLED, _has_nan, "PyTorch's gradient at NaN depends on the element's place in memory"),
    (frozenset({"linalg.svd", "svd"}), _completes_a_basis, "the vectors that complete a basis are not determined"),
)
"""By op and a property of the sample."""


def reason_for(op: Op, sample: Sample) -> str | None:
    """Return why a sample is not run, or None."""
    for key in (op.entry, f"{op.entry} [{op.variant}]"):
        if key in BY_OP:
            return BY_OP[key]
    for keyword, reason in BY_KEYWORD.items():
        value = sample.kwargs.get(keyword)
        if value is not None and value is not False:
            return reason
    for entries, holds, reason in BY_SAMPLE:
        if op.entry in entries and holds(sample):
            return reason
    flat = torch.utils._pytree.tree_leaves((sample.args, sample.kwargs))
    return next((reason for holds, reason in BY_ARGUMENT for value in flat if holds(value)), None)
