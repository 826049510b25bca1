"""The operations of the service by name. Each operation is one module; a walk of this package finds the modules.

To add an operation, add a module with an `OPERATION`. The module's name is the name of the operation: of its resource,
of the call of a registered graph, and of `gradd run --operation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules

from app.evaluation.operations.operation import Operation


def _found() -> Iterator[tuple[str, Operation]]:
    for module in iter_modules(__path__):
        operation = getattr(import_module(f"{__name__}.{module.name}"), "OPERATION", None)
        if operation is not None:
            yield module.name, operation


OPERATIONS: Mapping[str, Operation] = dict(sorted(_found(), key=lambda found: found[1].place))
