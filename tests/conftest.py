"""What holds in every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine.graph.function import Function
from engine.graph.verify import verify


@pytest.fixture(autouse=True, scope="session")
def verified_functions() -> Iterator[None]:
    """Verify every function as it is made, so that each pass is held to what it returns."""
    make = Function.__init__

    def verified(self: Function, *args: Any, **members: Any) -> None:
        make(self, *args, **members)
        verify(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Function, "__init__", verified)
        yield
