"""The typed graph: tensors without values, the nodes that compute them, and the builder that makes nodes.

Nodes are hash-consed: the same primitive on the same tensors with the same parameters is one node. Common
subexpressions are merged while the graph is built, also between a computation and its derivatives. The builder keeps
nodes in creation order, which is a topological order. Each pass over the graph is a loop in this order. Ops, the tracer
and autodiff build graphs with this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.errors import DeadlineExceeded, OpError
from engine.graph.relation import Relation
from engine.graph.signs import Sign, Singular
from engine.graph.types import DType, Number, Shape, float64

if TYPE_CHECKING:
    from engine.graph.limits import Limits

OPERATORS: dict[str, Callable[..., Tensor]] = {}
"""The ops that implement Python's operators, by op name. `engine.graph.op` adds each op when it is registered."""


class Tensor:
    """One result of a node: a dtype, a shape and its number of elements, without values.

    Python's arithmetic and comparison operators call the ops of the same names. `==` compares identity. The elementwise
    comparison is the op `eq`.
    """

    __slots__ = ("dtype", "node", "numel", "position", "requires_grad", "shape")

    def __init__(self, node: Node, position: int, dtype: DType, shape: Shape, numel: int, requires_grad: bool) -> None:
        self.node, self.position = node, position
        self.dtype, self.shape, self.numel, self.requires_grad = dtype, shape, numel, requires_grad

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<{self.node.primitive.name} {self.dtype}{list(self.shape)}>"

    def __add__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["add"](self, other)

    def __radd__(self, other: Number) -> Tensor:
        return OPERATORS["add"](other, self)

    def __sub__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["sub"](self, other)

    def __rsub__(self, other: Number) -> Tensor:
        return OPERATORS["sub"](other, self)

    def __mul__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["mul"](self, other)

    def __rmul__(self, other: Number) -> Tensor:
        return OPERATORS["mul"](other, self)

    def __truediv__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["div"](self, other)

    def __rtruediv__(self, other: Number) -> Tensor:
        return OPERATORS["div"](other, self)

    def __pow__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["pow"](self, other)

    def __matmul__(self, other: Tensor) -> Tensor:
        return OPERATORS["matmul"](self, other)

    def __neg__(self) -> Tensor:
        return OPERATORS["neg"](self)

    def __abs__(self) -> Tensor:
        return OPERATORS["abs"](self)

    def __lt__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["lt"](self, other)

    def __le__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["le"](self, other)

    def __gt__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["gt"](self, other)

    def __ge__(self, other: Tensor | Number) -> Tensor:
        return OPERATORS["ge"](self, other)


class Traits:
    """The properties of a primitive. Graph passes read them. `engine.graph.primitive.Primitive` sets them.

    Names: `kind` is elementwise, linear, multilinear or general. `tensors` are the names of the inputs, and `params`
    the names of the parameters.

    Flags of the result: `view` (shares the memory of the first input, unless it `may_copy`), `broadcasts` (repeats the
    input), `sums` (adds elements), `pointwise` (has the elements of the input at the same positions). Flags of a node:
    `several` (several results), `variadic` (any number of inputs), `commutes` (two exchangeable operands), `exact`
    (parameters that compare equal are identical).

    Work: `cost` is the textbook count of operations of a node. `effort` is its time, in operations of loops in cache,
    if the kernel takes longer than `cost` says. `memory` is a bound on the bytes that the kernel allocates in addition
    to the results. `blas` and `lapack` name the library that does the operations.

    Derivatives: `rules` and `joint` are the gradient rules. `trailing` is the number of trailing dimensions that the
    primitive works on, if no parameter gives it. All dimensions before them are batch dimensions. `relation` is the
    sparsity relation of a result and an input, or None if it is unknown. `analytic` means that the kernel computes the
    same function for complex numbers.

    Values: `singular` is the operand at which the slope is not finite. `sign` is the sign of the results. `chooses`
    means that the first operand selects between the two others.

    Layout: `channels_first` means that the primitive prefers the batch as the last dimension. `batch_last` returns the
    parameters of a node after the first of the last `rank` dimensions is moved to the end.
    """

    name: str
    kind: str
    function: Callable[..., Any]
    tensors: tuple[str, ...]
    params: tuple[str, ...]
    differentiable: bool
    view: bool
    may_copy: bool
    broadcasts: bool
    sums: bool
    pointwise: bool
    several: bool
    variadic: bool
    commutes: bool
    exact: bool
    run: Callable[..., Any] | None
    lower: Callable[[Node], Any] | None
    cost: Callable[[Node], int] | None
    effort: Callable[[Node], int] | None
    memory: Callable[[Node], int] | None
    blas: bool
    lapack: bool
    rules: dict[int, Callable[..., Any]]
    joint: Callable[..., Any] | None
    trailing: int | None
    relation: Callable[[Node, int, int], Relation | None] | None
    analytic: bool | None
    singular: Singular | None
    sign: Callable[[Node, list[Sign]], Sign] | None
    chooses: bool
    channels_first: bool
    batch_last: Callable[[Node, int], dict[str, Any]] | None

    def __call__(self, *inputs: Tensor, **params: Any) -> Any:
        """Add a node and return its result, or the tuple of its results."""
        raise NotImplementedError

    def core(self, params: Mapping[str, Any]) -> int | None:
        """Return the number of trailing non-batch dimensions that the parameters give, or None."""
        raise NotImplementedError

    def types(self, inputs: tuple[Tensor, ...], params: Mapping[str, Any]) -> tuple[tuple[DType, Shape], ...]:
        """Return the dtype and shape of each result of a node on these inputs."""
        raise NotImplementedError

    def bind(self, params: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the kernel with its parameters as a function of arrays. Raises NotImplementedError if none."""
        raise NotImplementedError


class Node:
    """A primitive applied to tensors. `index` is its position in the order, `origin` the index of the user's op."""

    __slots__ = ("index", "inputs", "origin", "outputs", "params", "primitive")

    def __init__(
        self, index: int, primitive: Traits, inputs: tuple[Tensor, ...], params: dict[str, Any], origin: int | None
    ) -> None:
        self.index, self.primitive, self.inputs, self.params = index, primitive, inputs, params
        self.origin = origin
        self.outputs: tuple[Tensor, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.index}: {self.primitive.name}>"


class Type(NamedTuple):
    """The type of one result, as returned by a type rule."""

    dtype: DType
    shape: Shape


NO_PARAMS: dict[str, Any] = {}
"""The parameters of nodes without parameters: one shared object."""

_NUMBERS = (bool, int, float, complex)


def _hashable(value: Any) -> Any:
    """Return a key that is different for 1, 1.0 and True, and for 0.0 and -0.0, although these compare equal."""
    if type(value) in _NUMBERS:
        return (type(value), repr(value))
    if type(value) is tuple:
        return tuple(map(_hashable, value))
    return value


class Builder:
    """Makes nodes, checks the limits, and merges equal nodes.

    `default_dtype` is the dtype of floating results of integers and numbers (PyTorch's default dtype). `origin` is the
    index of the user's op that is being built, or None. New nodes store it. `notices` are warnings, each with its op.
    `constants` has the known constants by number and dtype. After `deadline`, a time of `time.monotonic()`, building
    raises DeadlineExceeded.
    """

    __slots__ = (
        "_deadline",
        "_known",
        "_limits",
        "_sizes",
        "_streams",
        "constants",
        "default_dtype",
        "nodes",
        "notices",
        "origin",
    )

    def __init__(self, limits: Limits, default_dtype: DType = float64, deadline: float | None = None) -> None:
        self.nodes: list[Node] = []
        self.default_dtype = default_dtype
        self.origin: int | None = None
        self.notices: list[tuple[int | None, str]] = []
        self.constants: dict[Any, Tensor] = {}
        self._known: dict[Any, Node] = {}
        self._sizes: dict[Shape, int] = {}
        self._limits = limits
        self._deadline = deadline
        self._streams = 0

    def apply(
        self,
        primitive: Traits,
        inputs: tuple[Tensor, ...],
        params: dict[str, Any],
        types: tuple[tuple[DType, Shape], ...],
    ) -> Node:
        """Return the node of `primitive` on `inputs`, new or existing. Raises OpError if a limit is exceeded."""
        if not params:
            key: tuple[Any, ...] = (primitive, inputs)
            if primitive.commutes and id(inputs[0]) > id(inputs[1]):
                key = (primitive, inputs[::-1])
        elif primitive.exact:
            key = (primitive, inputs, *params.values())
        else:
            key = (primitive, inputs, *map(_hashable, params.values()))
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = self._new(primitive, inputs, params, types)
        return node

    def notice(self, text: str) -> None:
        """Add a warning about the op that is being built."""
        self.notices.append((self.origin, text))

    def next_stream(self) -> int:
        """Return a number that no earlier random node has, so that random draws are never merged."""
        self._streams += 1
        return self._streams

    def _new(
        self,
        primitive: Traits,
        inputs: tuple[Tensor, ...],
        params: dict[str, Any],
        types: tuple[tuple[DType, Shape], ...],
    ) -> Node:
        nodes = self.nodes
        index = len(nodes)
        if index >= self._limits.nodes:
            raise OpError(
                "too_many_nodes",
                f"the computation takes more than {self._limits.nodes} primitive operations",
                "Split the graph, or ask the operator of the server for a higher limit.",
            )
        if self._deadline is not None and not index % 256 and time.monotonic() > self._deadline:
            raise DeadlineExceeded("the deadline passed while the graph was built")
        node = Node(index, primitive, inputs, params, self.origin)
        requires = False
        if primitive.differentiable:
            for tensor in inputs:
                if tensor.requires_grad:
                    requires = True
                    break
        sizes = self._sizes
        made: list[Tensor] = []
        for dtype, shape in types:
            count = sizes.get(shape)
            if count is None:
                count = self._counted(shape, stored=not primitive.view or primitive.may_copy)
            made.append(Tensor(node, len(made), dtype, shape, count, requires and dtype.is_differentiable))
        node.outputs = tuple(made)
        nodes.append(node)
        return node

    def release(self, others: Iterable[Node] = ()) -> None:
        """Break the reference cycles of the graph and of `others`, nodes derived from it.

        Nodes and their tensors reference each other. Without this call only the garbage collector frees them. The
        newest nodes are released first: Python keeps some freed tuples for reuse. In this order the kept tuples are in
        the memory of the plans, not spread over the memory of the graph.
        """
        for node in others:
            node.inputs = node.outputs = ()
        self.constants.clear()
        while self._known:
            self._known.popitem()
        while self.nodes:
            node = self.nodes.pop()
            node.inputs = node.outputs = ()

    def _counted(self, shape: Shape, *, stored: bool) -> int:
        """Return the number of elements of a shape. Raises OpError if a limit is exceeded.

        A view allocates no memory, so it may have more elements than the limit for a `stored` tensor.
        """
        if len(shape) > self._limits.rank:
            raise OpError(
                "rank_limit",
                f"a tensor of {len(shape)} dimensions is over the limit of {self._limits.rank}",
                "Merge dimensions with reshape or flatten.",
            )
        count = prod(shape)
        if spanned(shape) <= self._limits.elements:
            self._sizes[shape] = count
        else:
            check_elements(shape, self._limits.elements if stored else MOST_ELEMENTS)
        return count


MOST_ELEMENTS = 2**58
"""Maximum number of elements of an array, views included: NumPy counts bytes in 63 bits."""


def spanned(shape: Shape) -> int:
    """Return the number of elements that the strides of a shape span. Strides of an empty array count too."""
    return prod([size for size in shape if size])


def check_elements(shape: Shape, limit: int) -> None:
    """Raise OpError if a tensor of this shape spans more elements than the limit."""
    count = spanned(shape)
    if count > limit:
        raise OpError(
            "elements_limit",
            f"a tensor of shape {list(shape)} spans {count} elements, over the limit of {limit}",
            "Use smaller tensors, or ask the operator of the server for a higher limit.",
        )


_current: ContextVar[Builder] = ContextVar("builder")


def builder() -> Builder:
    """Return the builder that ops add their nodes to."""
    return _current.get()


@contextmanager
def building(active: Builder) -> Iterator[Builder]:
    """Set `active` as the builder of each op called inside the `with` block."""
    token = _current.set(active)
    try:
        yield active
    finally:
        _current.reset(token)


@contextmanager
def origin(active: Builder, index: int | None) -> Iterator[None]:
    """Set `index` as the origin (the user's op) of nodes made inside the `with` block."""
    before, active.origin = active.origin, index
    try:
        yield
    finally:
        active.origin = before
