"""Example requests with inline graphs for the API's description. The tests run all of them."""

from __future__ import annotations

from typing import Any

from app.evaluation.operations import OPERATIONS
from app.evaluation.operations import example_graphs as graphs

TUTORIAL: dict[str, Any] = {"graph": graphs.TUTORIAL}
"""The first example on every page."""

EXAMPLES = {name: operation.examples for name, operation in OPERATIONS.items()}
