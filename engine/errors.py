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
from difflib import get_close_matches

Path = tuple[str | int, ...]


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
    """Everything that is wrong with a graph, found before anything runs."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.detail for fault in self.faults))


class ValueFault(EngineError):
    """An op refuses a value that it meets while it runs. `path` leads to the op in the request."""

    def __init__(self, code: str, detail: str, hint: str = "", path: Path = ()) -> None:
        super().__init__(detail)
        self.fault = Fault(path, code, detail, hint)


class DeadlineExceeded(EngineError):
    """The run passed its deadline; it was stopped between two steps."""


MOST_CANDIDATES = 500
"""Names that are compared with an unknown one: those nearest in length. Each takes some 10 µs."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `Did you mean 'x'?` for the known names nearest to `name`, or an empty string."""
    candidates = sorted(known, key=lambda candidate: abs(len(candidate) - len(name)))[:MOST_CANDIDATES]
    near = get_close_matches(name, candidates, n=3, cutoff=0.6)
    if not near:
        return ""
    quoted = [f"{candidate!r}" for candidate in near]
    return f"Did you mean {' or '.join(quoted)}?"
