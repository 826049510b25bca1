"""The names that hints call PyTorch's are those of the PyTorch that ops are compared with."""

import pytest

from tests.conformance.torch_names import FILE, names

pytestmark = pytest.mark.conformance


def test_the_names_are_those_of_pytorch() -> None:
    assert FILE.read_text(encoding="utf-8").split() == names()
