"""`pad`: a border around the last dimensions, of one value or of the tensor's own elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from engine.errors import OpError
from engine.graph import Tensor
from engine.op import op
from engine.ops.creation import fitting
from engine.ops.joining import concatenated
from engine.ops.movement import expanded, same
from engine.ops.rotation import flipped
from engine.ops.slicing import cropped, narrowed, padded
from engine.samples import real, sample
from engine.types import Number

_NAMES = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}


def _grad_fn(given: object, mode: str, count: int) -> str:
    if mode == "constant":
        return "ConstantPadNdBackward0"
    return f"{_NAMES[mode]}{count}DBackward0" if mode in _NAMES else "PadBackward0"


@op(
    grad_fn=lambda given, out: _grad_fn(given, given.get("mode", "constant"), len(given["pad"]) // 2),
    samples=(
        sample(real(2, 3), (1, 2)),
        sample(real(2, 3), (1, -1, 0, 2), value=2.5),
        sample(real(2, 3), (-1, -1)),
        sample(real(2, 4), (3, 1), "reflect"),
        sample(real(1, 3, 4), (-1, 2, 2, 1), "reflect"),
        sample(real(1, 2, 3), (2, 1, 1, 0), "replicate"),
        sample(real(2, 4), (2, -1), "replicate"),
        sample(real(2, 3), (1, 3), "circular"),
        sample(real(2, 2, 3, 2), (1, -1, 2, 1, 0, 1), "circular"),
    ),
)
def pad(
    input: Tensor,
    pad: tuple[int, ...],
    mode: Literal["constant", "reflect", "replicate", "circular"] = "constant",
    value: Number | None = None,
) -> Tensor:
    """A border around the last dimensions. Source: torch.nn.functional.pad.

    `pad` has, from the last dimension backwards, the widths before and after it; negative ones crop. The border is
    `value` (`constant`), the elements mirrored at the edge, which is not repeated (`reflect`), those of the edge
    (`replicate`), or those of the other side (`circular`).
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise OpError(
            "shape",
            f"pad has {len(pad)} widths for a tensor of {input.ndim} dimensions",
            "Give two widths, before and after, for each dimension to pad, the last one first.",
            "pad",
        )
    pairs = tuple(zip(pad[::2], pad[1::2], strict=True))
    if mode == "constant":
        made = _constant(input, pairs, fitting(value or 0, input.dtype, "value"))
    else:
        made = _own(input, pairs, mode, value)
    return same(input) if made is input else made


def _constant(input: Tensor, pairs: tuple[tuple[int, int], ...], value: Number) -> Tensor:
    if not pairs:
        return input
    sizes = input.shape[-len(pairs) :]
    for (before, after), size in zip(pairs[::-1], sizes, strict=True):
        if min(before, 0) + min(after, 0) + size < 0:
            raise OpError(
                "shape",
                f"widths {before} and {after} take more than a dimension of size {size} has",
                "Crop less.",
                "pad",
            )
    cuts = tuple((max(-a, 0), size - max(-b, 0), 1) for (a, b), size in zip(pairs[::-1], sizes, strict=True))
    widths = tuple((max(before, 0), max(after, 0), 0) for before, after in pairs[::-1])
    return padded(cropped(input, cuts), widths, value)


# Borders of the tensor's own elements


def _own(input: Tensor, pairs: tuple[tuple[int, int], ...], mode: str, value: Number | None) -> Tensor:
    if value:
        raise OpError("argument_type", f"mode {mode} takes no value", "Leave value out, or use mode constant.", "value")
    if not 1 <= len(pairs) <= 3 or input.ndim not in (len(pairs) + 1, len(pairs) + 2):
        raise OpError(
            "rank",
            f"mode {mode} with {2 * len(pairs)} widths does not take a tensor of shape {list(input.shape)}",
            "Give 2, 4 or 6 widths, and a tensor with one or two dimensions more than they pad: (channels, ...) or "
            "(batch, channels, ...).",
            "pad",
        )
    for dim, (before, after) in enumerate(pairs, 1):
        if before or after:
            input = _BORDERS[mode](input, -dim, before, after)
    return input


def _refuse(before: int, after: int, size: int, rule: str) -> OpError:
    return OpError("shape", f"widths {before} and {after} do not fit a dimension of size {size}", rule, "pad")


def _block(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    return narrowed(input, dim, start, length)


def _joined(pieces: list[Tensor], dim: int) -> Tensor:
    return concatenated([piece for piece in pieces if piece.shape[dim]] or pieces[:1], dim)


def _uncropped(input: Tensor, dim: int, before: int, after: int) -> Tensor:
    """The part of a padded dimension that negative widths leave."""
    size = input.shape[dim] + min(before, 0) + min(after, 0)
    return _block(input, dim, max(-before, 0), size)


def _reflect(input: Tensor, dim: int, before: int, after: int) -> Tensor:
    size = input.shape[dim]
    if max(before, after) >= size or size + before + after < 0:
        raise _refuse(
            before, after, size, "Each must be less than the size, and they must not crop more than there is."
        )
    left, right = max(before, 0), max(after, 0)
    mirrored = [
        flipped(_block(input, dim, 1, left), (dim,)),
        input,
        flipped(_block(input, dim, size - 1 - right, right), (dim,)),
    ]
    return _uncropped(_joined(mirrored, dim), dim, min(before, 0), min(after, 0))


def _replicate(input: Tensor, dim: int, before: int, after: int) -> Tensor:
    size = input.shape[dim]
    if size + before + after < 0 or not size:
        raise _refuse(before, after, size, "The dimension needs an edge, and not more must be cropped than there is.")
    axis = dim + input.ndim

    def edge(start: int, count: int) -> Tensor:
        return expanded(_block(input, dim, start, 1), (*input.shape[:axis], count, *input.shape[axis + 1 :]))

    whole = _joined([edge(0, max(before, 0)), input, edge(size - 1, max(after, 0))], dim)
    return _uncropped(whole, dim, min(before, 0), min(after, 0))


def _circular(input: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Crop first: the border is of what is left. Source: the code of torch.nn.functional.pad."""
    size = input.shape[dim]
    if max(before, after) > size or size + before + after < 0:
        raise _refuse(before, after, size, "Each is at most the size: the tensor goes around once.")
    kept = _uncropped(input, dim, min(before, 0), min(after, 0))
    left, right, size = max(before, 0), max(after, 0), kept.shape[dim]
    if max(left, right) > size:
        raise _refuse(before, after, size, "Each is at most what the other leaves of the dimension.")
    return _joined([_block(kept, dim, size - left, left), kept, _block(kept, dim, 0, right)], dim)


_BORDERS: dict[str, Callable[[Tensor, int, int, int], Tensor]] = {
    "reflect": _reflect,
    "replicate": _replicate,
    "circular": _circular,
}
