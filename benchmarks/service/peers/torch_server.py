"""A minimal service of FastAPI, pydantic and PyTorch in about forty lines, for comparison. It runs the graphs of the
benchmarks in the order of their ops, without checks.
"""

from typing import Any

import torch
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.threads import THREADS

torch.set_num_threads(THREADS)
app = FastAPI()


class Tensor(BaseModel):
    data: list[Any] | float
    requires_grad: bool = False


class Op(BaseModel):
    op: str
    inputs: list[str]
    output: str


class Graph(BaseModel):
    tensors: dict[str, Tensor | list[Any] | float]
    ops: list[Op]


class Call(BaseModel):
    graph: Graph
    dag: bool = True


@app.post("/v1/gradients")
def gradients(call: Call) -> dict[str, Any]:
    values: dict[str, torch.Tensor] = {}
    for name, given in call.graph.tensors.items():
        tensor = given if isinstance(given, Tensor) else Tensor(data=given)
        values[name] = torch.tensor(tensor.data, dtype=torch.float64, requires_grad=tensor.requires_grad)
    for op in call.graph.ops:
        function = getattr(torch.nn.functional, op.op, None) or getattr(torch, op.op)
        values[op.output] = function(*[values[name] for name in op.inputs])
    loss = call.graph.ops[-1].output
    values[loss].backward()
    reply: dict[str, Any] = {"outputs": {loss: values[loss].item()}}
    reply["gradients"] = {
        name: value.grad.tolist() for name, value in values.items() if value.is_leaf and value.requires_grad
    }
    if call.dag:
        reply["dag"] = [{"name": name, "grad_fn": type(value.grad_fn).__name__} for name, value in values.items()]
    return reply
