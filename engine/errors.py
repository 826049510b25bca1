"""What can go wrong in the engine: one tree of exceptions, each of which says what, where, why and how to mend it.

    EngineError
    ├── OpError            an op refuses its arguments (raised by ops while they are typed; has no place yet)
    ├── GraphError         a list of faults, each with the path of the member at fault
    ├── ValueFault         an op refuses a value while it runs (a singular matrix, an index out of range)
    └── DeadlineExceeded   the run took longer than it was given

The service turns them into problem documents; nothing here knows of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

Path = tuple[str | int, ...]

MOST_FAULTS = 100
"""The most faults that are reported of one request."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where.

    `path` leads from the request's root to the member at fault, `code` names the kind of fault for programs,
    `detail` says what is wrong, `hint` how to mend it.
    """

    path: Path
    code: str
    detail: str
    hint: str = ""


class EngineError(Exception):
    """The root of all errors that the engine raises on purpose."""


class OpError(EngineError):
    """An op refuses its arguments. `argument` is the parameter at fault, if it is a single one.

    `node` is the node that refused a value while it ran, where it is not the step's only one.
    """

    node: object = None

    def __init__(self, code: str, detail: str, hint: str = "", argument: str | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.hint, self.argument = code, detail, hint, argument


class GraphError(EngineError):
    """The faults of a graph that are found before anything runs, `MOST_FAULTS` at most."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(islice(faults, MOST_FAULTS))
        super().__init__("; ".join(fault.detail for fault in self.faults))


class ValueFault(EngineError):
    """An op refuses a value that it meets while it runs. `path` leads to the op in the request."""

    def __init__(self, code: str, detail: str, hint: str = "", path: Path = ()) -> None:
        super().__init__(detail)
        self.fault = Fault(path, code, detail, hint)


class DeadlineExceeded(EngineError):
    """The run passed its deadline; it was stopped between two steps."""
