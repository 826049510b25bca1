"""Sums of products over labelled dimensions: einsum and tensordot.

The parser assigns a label to each dimension of each operand. Dimensions under an ellipsis broadcast from the right, so
their labels are negative numbers counted from the right. Pairs of operands are then contracted by batched matrix
products.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import op
from engine.graph.samples import real, sample
from engine.graph.types import Shape, numel, wrap_dims
from engine.ops.elementwise.arithmetic import mul
from engine.ops.linalg.matmul import factors, product
from engine.ops.reduction.sums import sum, summed
from engine.ops.shape.diagonals import diagonal
from engine.ops.shape.movement import permuted, reshaped, same

Label = str | int
Labels = tuple[Label, ...]


# Contraction


@dataclass(frozen=True, slots=True)
class _Term:
    """An operand and the labels of its dimensions."""

    tensor: Tensor
    labels: Labels

    def size(self, label: Label) -> int:
        return self.tensor.shape[self.labels.index(label)]

    def sizes(self, labels: Labels) -> Shape:
        return tuple(self.size(label) for label in labels)

    def ordered(self, labels: Labels) -> Tensor:
        """The tensor with its dimensions in the order of `labels`, a permutation of its own labels."""
        rank = len(labels)
        return permuted(self.tensor, tuple(self.labels.index(label) - rank for label in labels))

    def without(self, labels: set[Label]) -> _Term:
        """The term summed over the given labels."""
        rank = len(self.labels)
        dims = tuple(axis - rank for axis, label in enumerate(self.labels) if label in labels)
        return _Term(summed(self.tensor, dims), tuple(label for label in self.labels if label not in labels))

    def squeezed(self, labels: set[Label]) -> _Term:
        """The term without the given labels; their dimensions have size 1."""
        kept = tuple(label for label in self.labels if label not in labels)
        return _Term(reshaped(self.tensor, self.sizes(kept)), kept)

    def diagonal(self) -> _Term:
        """The term with each repeated label reduced to one by taking the diagonal."""
        term = self
        while repeated := next((label for label, count in Counter(term.labels).items() if count > 1), None):
            first = term.labels.index(repeated)
            second = term.labels.index(repeated, first + 1)
            rest = (label for axis, label in enumerate(term.labels) if axis not in (first, second))
            term = _Term(diagonal(term.tensor, 0, first, second), (*rest, repeated))
        return term


def contracted(operands: Sequence[Tensor], labels: Sequence[Labels], output: Labels) -> Tensor:
    """The sum of products of the operands over all labels not in `output`, with dimensions in the order of `output`.

    Dimensions of size 1 broadcast to the size of the same label in other operands.
    """
    terms = [_Term(tensor, names).diagonal() for tensor, names in zip(operands, labels, strict=True)]
    sizes: dict[Label, int] = {}
    for term in terms:
        for label in term.labels:
            sizes[label] = term.size(label) if sizes.get(label, 1) == 1 else sizes[label]
    terms = [term.squeezed({label for label in term.labels if term.size(label) != sizes[label]}) for term in terms]
    while len(terms) > 1:
        first, second = _cheapest(terms, output)
        rest = [term for place, term in enumerate(terms) if place not in (first, second)]
        kept = {*output, *(label for term in rest for label in term.labels)}
        terms = [*rest, _pair(terms[first], terms[second], kept)]
    last = terms[0]
    return last.without(set(last.labels) - set(output)).ordered(output)


_MANY = 16
"""More operands are contracted from left to right, because a search over all pairs takes cubic time."""


def _cheapest(terms: Sequence[_Term], output: Labels) -> tuple[int, int]:
    """Return the pair of terms whose contraction leaves the least memory in use. Source: opt_einsum, greedy."""
    if len(terms) == 2 or len(terms) > _MANY:
        return 0, 1
    users = Counter(label for term in terms for label in set(term.labels))

    def growth(pair: tuple[int, int]) -> int:
        a, b = terms[pair[0]], terms[pair[1]]
        sizes = {label: term.size(label) for term in (a, b) for label in term.labels}
        own = Counter((*a.labels, *b.labels))
        kept = [label for label in sizes if label in output or users[label] > own[label]]
        return numel(tuple(sizes[label] for label in kept)) - a.tensor.numel - b.tensor.numel

    return min(combinations(range(len(terms)), 2), key=growth)


def _pair(a: _Term, b: _Term, kept: set[Label]) -> _Term:
    """The contraction of two terms over all labels not in `kept`."""
    a = a.without(set(a.labels) - set(b.labels) - kept)
    b = b.without(set(b.labels) - set(a.labels) - kept)
    batch = tuple(label for label in a.labels if label in b.labels and label in kept)
    inside = tuple(label for label in a.labels if label in b.labels and label not in kept)
    left = tuple(label for label in a.labels if label not in b.labels)
    right = tuple(label for label in b.labels if label not in a.labels)
    shape = (*a.sizes(batch), *a.sizes(left), *b.sizes(right))
    if inside:
        factors(operands=a.tensor, operand=b.tensor)
        rows, inner, columns = numel(a.sizes(left)), numel(a.sizes(inside)), numel(b.sizes(right))
        matrices = (
            reshaped(a.ordered(batch + left + inside), (*a.sizes(batch), rows, inner)),
            reshaped(b.ordered(batch + inside + right), (*a.sizes(batch), inner, columns)),
        )
        return _Term(reshaped(product(*matrices), shape), batch + left + right)
    spread = reshaped(a.ordered(batch + left), (*a.sizes(batch + left), *(1,) * len(right)))
    aligned = reshaped(b.ordered(batch + right), (*a.sizes(batch), *(1,) * len(left), *b.sizes(right)))
    return _Term(mul(spread, aligned), batch + left + right)


# Equations

_SUBSCRIPTS = re.compile(r"([A-Za-z]*)(\.\.\.)?([A-Za-z]*)")


def _fault(detail: str, hint: str) -> OpError:
    return OpError("equation", detail, hint, "equation")


def _labels(subscripts: str, rank: int, place: int) -> Labels:
    """Return the labels of an operand's dimensions."""
    found = _subscripts(subscripts)
    before, dots, after = found.groups()
    covered = rank - len(before) - len(after)
    if covered < 0 or (covered and not dots):
        raise _fault(
            f"operand {place} has {rank} dimensions, and its subscripts {subscripts!r} name {rank - covered}",
            "Name each dimension with a letter, or let ... stand for the others.",
        )
    return (*before, *range(-covered, 0), *after)


def _subscripts(text: str) -> re.Match[str]:
    found = _SUBSCRIPTS.fullmatch(text)
    if found is None:
        raise _fault(
            f"{text!r} are no subscripts of an operand or of the output",
            "Subscripts are letters and at most one ellipsis (...), with commas between operands, as in 'ij,jk->ik'.",
        )
    return found


def _output(text: str | None, labels: Sequence[Labels]) -> Labels:
    """Return the output's labels: as written, or by default the ellipsis and the letters that occur once, sorted."""
    covered = sorted({label for names in labels for label in names if isinstance(label, int)})
    letters = Counter(label for names in labels for label in names if isinstance(label, str))
    if text is None:
        return (*covered, *sorted(letter for letter, count in letters.items() if count == 1))
    before, dots, after = _subscripts(text).groups()
    for letter, count in Counter(before + after).items():
        if count > 1 or letter not in letters:
            raise _fault(
                f"the output's subscript {letter!r} "
                + ("stands more than once" if count > 1 else "is that of no operand's dimension"),
                "The output names each of its dimensions once, with a letter of an operand.",
            )
    return (*before, *(covered if dots else ()), *after)


def _check_sizes(operands: Sequence[Tensor], labels: Sequence[Labels]) -> None:
    """Check that a label's sizes are equal, or 1 in another operand."""
    sizes: dict[Label, int] = {}
    for place, (tensor, names) in enumerate(zip(operands, labels, strict=True)):
        own: dict[Label, int] = {}
        for label, size in zip(names, tensor.shape, strict=True):
            known = own.setdefault(label, size)
            other = sizes.get(label, 1)
            if known != size or (size != other and 1 not in (size, other)):
                name = f"subscript {label!r}" if isinstance(label, str) else f"the ellipsis at dimension {label}"
                expected = known if known != size else other
                raise OpError(
                    "shape_mismatch",
                    f"{name} has size {size} in operand {place}, and elsewhere size {expected}",
                    "Dimensions with the same subscript must have the same size; between operands, 1 broadcasts.",
                    "operands",
                )
        sizes |= {label: size for label, size in own.items() if sizes.get(label, 1) == 1}


def _backward_name(given: Mapping[str, Any], out: Tensor) -> str:
    """Return PyTorch's grad_fn name: of permute, if the equation only permutes dimensions, else the op's own."""
    operands = given["operands"]
    permutes = len(operands) == 1 and out.numel == operands[0].numel and out.ndim == operands[0].ndim
    return "PermuteBackward0" if permutes else "EinsumBackward0"


@op(
    grad_fn=_backward_name,
    samples=(
        sample("ij,jk->ik", real(2, 3), real(3, 4)),
        sample("ij->ji", real(2, 3)),
        sample("ii", real(3, 3)),
        sample("ii->i", real(3, 3)),
        sample("iji->j", real(2, 3, 2)),
        sample("i,j", real(2), real(3)),
        sample("ij,ij->", real(2, 3), real(2, 3)),
        sample("bij,bjk->bik", real(2, 2, 3), real(2, 3, 2)),
        sample("...ij,...jk->...ik", real(2, 1, 2, 3), real(3, 3, 2)),
        sample("ij,jk,kl->il", real(2, 3), real(3, 2), real(2, 4)),
        sample("i...,i...->...", real(2, 3), real(2, 1)),
        sample("bi,oij,bj->bo", real(2, 3), real(2, 3, 4), real(2, 4)),
        sample("ij,k->k", real(2, 3), real(2)),
        sample("", real()),
    ),
)
def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sum of products over the subscripts that are not in the output, as in Einstein's convention.

    Letters name the dimensions of each operand, and `...` matches any others. A letter repeated in one operand takes
    the diagonal. Without `->`, the output has the ellipsis and then, sorted, the letters that occur once.
    Source: torch.einsum.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(operands):
        raise _fault(
            f"the equation has subscripts for {len(texts)} operands, and there are {len(operands)}",
            "Put a comma between the subscripts of any two operands.",
        )
    labels = [_labels(text, tensor.ndim, n) for n, (text, tensor) in enumerate(zip(texts, operands, strict=True))]
    output = _output(right if arrow else None, labels)
    _check_sizes(operands, labels)
    made = contracted(operands, labels, output) if len(operands) > 1 else _of_one(operands[0], labels[0], output)
    return same(made) if made is operands[0] else made


def _of_one(operand: Tensor, labels: Labels, output: Labels) -> Tensor:
    """The result for a single operand: diagonals, sums (in int64 for integers) and a transpose."""
    term = _Term(operand, labels).diagonal()
    dropped = tuple(axis for axis, label in enumerate(term.labels) if label not in output)
    kept = tuple(label for label in term.labels if label in output)
    return _Term(sum(term.tensor, dropped) if dropped else term.tensor, kept).ordered(output)


def _contracted_dims(dims: int | tuple[tuple[int, ...], ...], a: Tensor, b: Tensor) -> Iterator[tuple[int, int]]:
    """Yield pairs of dimensions, one of each operand, to sum over."""
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise OpError(
                "dims",
                f"dims {dims} is no number of dimensions that tensors of {a.ndim} and {b.ndim} dimensions share",
                f"Use 0 to {min(a.ndim, b.ndim)}.",
                "dims",
            )
        dims = (tuple(range(a.ndim - dims, a.ndim)), tuple(range(dims)))
    if len(dims) != 2 or len(dims[0]) != len(dims[1]):
        raise OpError("dims", "dims must be two lists of equal length", "Name as many dimensions of a as of b.", "dims")
    wrap_dims(dims[0], a.ndim, "dims")
    wrap_dims(dims[1], b.ndim, "dims")
    for first, second in zip(*dims, strict=True):
        yield first % max(a.ndim, 1), second % max(b.ndim, 1)


@op(
    samples=(
        sample(real(2, 3, 4), real(3, 4, 2)),
        sample(real(2, 3), real(3, 2), 1),
        sample(real(2, 3), real(2), 0),
        sample(real(2, 3, 4), real(4, 2, 3), ((1, 2), (2, 0))),
    )
)
def tensordot(a: Tensor, b: Tensor, dims: int | tuple[tuple[int, ...], ...] = 2) -> Tensor:
    """Sum of products over the last `dims` dimensions of a and the first of b, or over two lists of dimensions.

    Source: torch.tensordot.
    """
    factors(a=a, b=b)
    shared = {second: first for first, second in _contracted_dims(dims, a, b)}
    left = tuple(range(a.ndim))
    right = tuple(shared.get(axis, a.ndim + axis) for axis in range(b.ndim))
    _check_sizes((a, b), (left, right))
    return contracted((a, b), (left, right), tuple(label for label in left + right if label not in shared.values()))
