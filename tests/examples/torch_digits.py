"""The digit classifiers in PyTorch, run by `test_digits` where PyTorch is: `torch_digits.py mlp FILE.npz ...`.

Each file has a batch, the parameters, and the loss and gradients that gradd gave; what is printed is JSON: the largest
difference of each from PyTorch's, relative to the largest element of PyTorch's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import conv2d, cross_entropy, linear, max_pool2d, relu

Parameters = dict[str, torch.Tensor]


def mlp(images: torch.Tensor, p: Parameters) -> torch.Tensor:
    hidden = relu(linear(images.flatten(1), p["layer1.weight"], p["layer1.bias"]))
    return linear(hidden, p["layer2.weight"], p["layer2.bias"])


def conv(images: torch.Tensor, p: Parameters) -> torch.Tensor:
    maps = max_pool2d(relu(conv2d(images, p["conv1.weight"], p["conv1.bias"], padding=1)), 2)
    maps = max_pool2d(relu(conv2d(maps, p["conv2.weight"], p["conv2.bias"], padding=1)), 2)
    return linear(maps.flatten(1), p["layer.weight"], p["layer.bias"])


MODELS: dict[str, Callable[[torch.Tensor, Parameters], torch.Tensor]] = {"mlp": mlp, "conv": conv}


def differences(model: str, file: Path) -> dict[str, float]:
    with np.load(file) as saved:
        arrays = dict(saved)
    parameters = {
        name.removeprefix("parameters/"): torch.tensor(value, requires_grad=True)
        for name, value in arrays.items()
        if name.startswith("parameters/")
    }
    logits = MODELS[model](torch.tensor(arrays["images"]), parameters)
    loss = cross_entropy(logits, torch.tensor(arrays["labels"]))
    loss.backward()
    found = {"loss": relative(arrays["loss"], loss.detach().numpy())}
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        found[name] = relative(arrays[f"gradients/{name}"], parameter.grad.numpy())
    return {f"{file.stem}/{name}": value for name, value in found.items()}


def relative(actual: np.ndarray, wanted: np.ndarray) -> float:
    assert actual.shape == wanted.shape
    assert actual.dtype == wanted.dtype == np.float64
    return float(np.abs(actual - wanted).max() / np.abs(wanted).max())


if __name__ == "__main__":
    model, *files = sys.argv[1:]
    found = {name: value for file in files for name, value in differences(model, Path(file)).items()}
    sys.stdout.write(json.dumps(found))
