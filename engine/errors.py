"""The exceptions of the engine. Each has an error code, a message, a hint that says how to fix the error, and a path.

    EngineError
    ├── OpError            an op refuses its arguments (raised by ops while they are typed; has no path yet)
    ├── GraphError         a list of faults, each with the path of the faulty member
    ├── ValueFault         an op refuses a value while it runs (a singular matrix, an index out of range)
    └── DeadlineExceeded   the run took longer than its time limit

The engine raises these exceptions. The service (`app`) converts them to problem documents. This module does not use
HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

Path = tuple[str | int, ...]

MOST_FAULTS = 100
"""The maximum number of faults reported for one request."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One error in a request and its location.

    `path` leads from the root of the request to the faulty member. `code` is a machine-readable name of the kind of
    fault. `detail` describes the fault, and `hint` describes how to fix it.
    """

    path: Path
    code: str
    detail: str
    hint: str = ""


class EngineError(Exception):
    """Base class of all errors that the engine raises on purpose."""


class OpError(EngineError):
    """An op refuses its arguments. `argument` is the faulty parameter, if there is exactly one.

    `node` is the node that refused a value at run time. It is set if the step has several nodes.
    """

    node: object = None

    def __init__(self, code: str, detail: str, hint: str = "", argument: str | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.hint, self.argument = code, detail, hint, argument


class GraphError(EngineError):
    """The faults of a graph that are found before it runs, at most `MOST_FAULTS`."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(islice(faults, MOST_FAULTS))
        super().__init__("; ".join(fault.detail for fault in self.faults))


class ValueFault(EngineError):
    """An op refuses a value at run time. `path` leads to the op in the request."""

    def __init__(self, code: str, detail: str, hint: str = "", path: Path = ()) -> None:
        super().__init__(detail)
        self.fault = Fault(path, code, detail, hint)


class DeadlineExceeded(EngineError):
    """The run exceeded its deadline and was stopped between two steps."""
