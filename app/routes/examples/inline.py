"""The example requests of the API's description. Every one runs; the tests run them all."""

from __future__ import annotations

from typing import Any

from app.evaluation.operations import OPERATIONS
from app.evaluation.operations import example_graphs as graphs

TUTORIAL: dict[str, Any] = {"graph": graphs.TUTORIAL}
"""The example that comes first everywhere."""

EXAMPLES = {name: operation.examples for name, operation in OPERATIONS.items()}
