"""Entries of PyTorch's list that the contract has no name for. A server that offers one of these names anyway is tested
like any other; the self-test of the request builder leaves them out.
"""

from __future__ import annotations

import re

OUTSIDE: tuple[tuple[str, str], ...] = (
    (r"_.*|torch\._.*|ops\.aten.*|jiterator.*", "private to PyTorch"),
    (r".*_copy|unsafe_.*|alias_copy|native_.*|.*_backward.*", "the same as a public op, for PyTorch's compiler"),
    (r".*[^_]_|cauchy|exponential|geometric|log_normal|uniform", "in place"),
    (r"unique.*|nonzero.*|argwhere|masked_select", "the shape of the result depends on values"),
    (r"grid_sampler_[23]d|slice|ops\..*|.*_lowrank", "no documented function, or one that is random inside"),
)
"""A pattern of the whole name, and the reason."""


def outside(name: str) -> str | None:
    """Return why the contract has no such name, or None."""
    return next((reason for pattern, reason in OUTSIDE if re.fullmatch(pattern, name)), None)
