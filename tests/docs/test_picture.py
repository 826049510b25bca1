"""The picture of what each derivative returns says the shapes that the server gives."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest

from tests.docs.markdown import links
from tests.serving import CHECKOUT

PICTURE = CHECKOUT / "docs" / "derivatives.svg"
DIRECTION = [1, 0, 0]
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "gradients": ("gradients", {"backward": "loss"}),
    "tangents": ("jvp", {"tangents": {"x": DIRECTION}, "outputs": ["y"]}),
    "jacobian": ("jacobian", {"outputs": ["y"]}),
    "hessian": ("hessian", {}),
    "hvp": ("hvp", {"vectors": {"x": DIRECTION}}),
}


def body(x: Any, **members: Any) -> dict[str, Any]:
    """y = w x and its sum, for a w of shape [2, 3]."""
    tensors = {"x": {"data": x, "requires_grad": True}, "w": [[1, 2, 3], [4, 5, 6]]}
    ops = [
        {"op": "mv", "inputs": ["w", "x"], "output": "y"},
        {"op": "logsumexp", "inputs": ["y", 0], "output": "loss"},
    ]
    return {"graph": {"tensors": tensors, "ops": ops}, "dag": False, **members}


def shape_of(value: Any) -> list[int]:
    """Return the shape of the one tensor in a group of results."""
    while "shape" not in value:
        (value,) = value.values()
    shape: list[int] = value["shape"]
    return shape


def shown() -> dict[str, list[str]]:
    """Return the shapes that the picture shows, by what has them."""
    texts = [text for element in ET.parse(PICTURE).iter() if (text := element.text)]
    found: dict[str, list[str]] = {}
    for name, shape in re.findall(r"^(\w+): (\[.*\])$", "\n".join(texts), re.MULTILINE):
        found.setdefault(name, []).append(shape)
    return found


@pytest.mark.parametrize("group", REQUESTS)
def test_a_reply_has_the_shape_that_is_shown(group: str, http: httpx.Client) -> None:
    call, members = REQUESTS[group]
    reply = http.post(f"/v1/{call}", json=body([1, 2, 3], **members)).json()
    assert str(shape_of(reply[group])) == shown()[group][0]


def test_samples_have_an_axis_in_front(http: httpx.Client) -> None:
    reply = http.post("/v1/gradients", json=body([[1, 2, 3]] * 4, vmap={"x": 0})).json()
    assert str(shape_of(reply["gradients"])) == shown()["gradients"][1]


def test_nothing_else_is_shown() -> None:
    assert set(shown()) == {*REQUESTS, "x", "y", "loss"}
    assert "docs/derivatives.svg" in links(CHECKOUT / "README.md")
