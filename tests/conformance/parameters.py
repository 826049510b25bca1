"""The parameters of PyTorch's functions as its documentation names them. The request builder needs a parameter's name
where an argument cannot stand by position: a string, a dtype, and everything beside a tensor given by keyword.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

_ROOTS = (torch.nn.functional, torch, torch.Tensor)


@dataclass(frozen=True)
class Function:
    """What a public name stands for. A method takes the tensor that it belongs to as its first argument."""

    call: Callable[..., Any]
    is_method: bool


@functools.cache
def function(name: str) -> Function:
    """Return the function of that public name; `nn.functional` comes first. Raises LookupError if there is none."""
    for root in _ROOTS:
        found: Any = root
        for part in name.split("."):
            found = getattr(found, part, None)
        if callable(found):
            return Function(found, root is torch.Tensor)
    raise LookupError(f"PyTorch has no function {name!r}")


def parameters(name: str, args: Sequence[Any], keywords: Collection[str]) -> tuple[str, ...]:
    """Return the names of the positional parameters of the first documented signature that fits such a call.

    Raises LookupError where none fits.
    """
    for candidate in _signatures(name):
        free = [parameter for parameter in candidate.names if parameter not in keywords]
        fits = len(args) <= len(free) or candidate.variadic
        if fits and set(keywords) <= candidate.all and not any(map(_misplaced, free, args)):
            return candidate.names
    raise LookupError(f"{name}: no documented signature takes {len(args)} arguments and {sorted(keywords)}")


def _misplaced(parameter: str, value: Any) -> bool:
    """Whether it is another signature's argument: `max(input, other)` is not `max(input, dim)`."""
    return parameter == "dim" and isinstance(value, torch.Tensor)


@dataclass(frozen=True)
class _Signature:
    names: tuple[str, ...]
    all: frozenset[str]
    variadic: bool


@functools.cache
def _signatures(name: str) -> tuple[_Signature, ...]:
    return (*_from_python(name), *_from_documentation(name), *_from_schemas(name))


def _from_python(name: str) -> Iterator[_Signature]:
    try:
        found = inspect.signature(function(name).call).parameters.values()
    except (TypeError, ValueError):
        return
    spread = [parameter.name for parameter in found if parameter.kind is parameter.VAR_POSITIONAL]
    if "args" in spread:  # a wrapper, whose signature says nothing
        return
    keyword_only = {parameter.name for parameter in found if parameter.kind is parameter.KEYWORD_ONLY}
    names = tuple(parameter.name for parameter in found if parameter.name not in keyword_only)
    yield _Signature(names, frozenset(names) | keyword_only, bool(spread))


def _from_documentation(name: str) -> Iterator[_Signature]:
    leaf = re.escape(name.rpartition(".")[2])
    text = function(name).call.__doc__ or ""
    for match in re.finditer(rf"(?:\A\s*|\.\. (?:function|method):: )(?:[\w.]*\.)?{leaf}\(", text):
        parts = list(_split(text[match.end() :]))
        if function(name).is_method:
            parts.insert(0, "input")
        yield from _documented(parts)


def _documented(parts: list[str]) -> Iterator[_Signature]:
    """Yield the signature that a documentation's text stands for.

    Where an optional parameter precedes a required one, as in `arange(start=0, end)`, few arguments are the required
    ones: those alone come first.
    """
    end = parts.index("*") if "*" in parts else len(parts)
    positional, variadic = parts[:end], any(part.startswith("*") for part in parts[:end])
    listed = frozenset(map(_word, parts)) - {""}
    required = [part for part in positional if "=" not in part]
    if positional[: len(required)] != required:
        yield _Signature(tuple(map(_word, required)), listed, variadic)
    yield _Signature(tuple(map(_word, positional)), listed, variadic)


def _word(part: str) -> str:
    return re.split(r"[:=]", part)[0].strip().lstrip("*")


def _split(text: str) -> Iterator[str]:
    """Yield the parts between commas, up to the parenthesis that ends the signature."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:
            text = text[:place]
            break
        if letter == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    if text[start:].strip():
        yield text[start:].strip()


def _from_schemas(name: str) -> Iterator[_Signature]:
    for schema in torch._C._jit_get_schemas_for_operator("aten::" + name.replace(".", "_")):
        named = [("input" if a.name == "self" else a.name, a.kwarg_only) for a in schema.arguments]
        names = tuple(word for word, keyword_only in named if not keyword_only)
        yield _Signature(names, frozenset(word for word, _ in named), variadic=False)
