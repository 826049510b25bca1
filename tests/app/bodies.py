"""Small requests that tests start from."""

from typing import Any


def tensor(data: Any, **members: Any) -> dict[str, Any]:
    return {"data": data, **members}


def wanted(data: Any, **members: Any) -> dict[str, Any]:
    """A tensor whose gradient is wanted."""
    return tensor(data, requires_grad=True, **members)


def op(name: Any, inputs: Any, output: Any, /, **members: Any) -> dict[str, Any]:
    return {"op": name, "inputs": inputs, "output": output, **members}


def request(tensors: dict[str, Any], *ops: dict[str, Any], dtype: str | None = None, **members: Any) -> dict[str, Any]:
    graph = {"tensors": tensors, "ops": list(ops)} | ({"dtype": dtype} if dtype else {})
    return {"graph": graph, **members}


def echo(value: Any, **members: Any) -> dict[str, Any]:
    """A forward request that returns a tensor as it was sent."""
    return request({"x": value}, outputs=["x"], **members)


def sum_of_exp(data: Any = (1.0, 2.0, 3.0), **members: Any) -> dict[str, Any]:
    """The gradient of sum(exp(x))."""
    return request({"x": wanted(list(data))}, op("exp", ["x"], "e"), op("sum", ["e"], "s"), **members)
