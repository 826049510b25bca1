"""Names as PyTorch, NumPy and Python write them get the hint that mends them, and no other function's name."""

from __future__ import annotations

import pytest

from engine.graph.types import DTYPES
from engine.hints import names as hints
from engine.hints.suggestions import Suggestions
from engine.inspect.catalogue import names

OPS = frozenset(names())


def of_op(name: str) -> str:
    return hints.of_op(name, OPS, Suggestions())


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("torch.nn.functional.relu", "relu"),
        ("F.relu", "relu"),
        ("torch.relu", "relu"),
        ("Tensor.sum", "sum"),
        ("torch.linalg.det", "linalg.det"),
        ("nn.ReLU", "relu"),
        ("ReLU", "relu"),
        ("nn.Linear", "linear"),
        ("nn.MSELoss", "mse_loss"),
        ("nn.CrossEntropyLoss", "cross_entropy"),
        ("nn.BatchNorm2d", "batch_norm"),
        ("nn.MaxPool2d", "max_pool2d"),
        ("BCEWithLogitsLoss", "binary_cross_entropy_with_logits"),
        ("np.multiply", "mul"),
        ("*", "mul"),
        ("+", "add"),
        ("@", "matmul"),
        ("__add__", "add"),
        ("__truediv__", "div"),
        ("clip", "clamp"),
        ("subtract", "sub"),
        ("negative", "neg"),
        ("absolute", "abs"),
        ("special.expit", "sigmoid"),
        ("LogSoftmax", "log_softmax"),
        ("softpluss", "softplus"),
        ("matmlu", "matmul"),
    ],
)
def test_the_op_that_is_meant(name: str, op: str) -> None:
    assert of_op(name) == f"Did you mean {op!r}?"


@pytest.mark.parametrize(
    "name", [name for name in ("cdist", "atan2", "acos", "cosh", "lerp", "sort") if name not in OPS]
)
def test_a_function_that_is_not_offered_is_called_so_and_no_other_is_named(name: str) -> None:
    for written in (name, f"torch.{name}", f"F.{name}"):
        assert of_op(written) == f"PyTorch has {name!r}; gradd does not offer it yet."


def test_no_function_of_pytorch_is_taken_for_another() -> None:
    for name in hints._pytorch_names() - OPS:
        hint = of_op(name)
        assert "does not offer it yet" in hint or hints._SYNONYMS[name] in hint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("relu_", "In-place ops are not offered: use 'relu'"),
        ("torch.add_", "In-place ops are not offered: use 'add'"),
        ("clip_", "In-place ops are not offered: use 'clamp'"),
        ("T", "'permute'"),
        ("x[0]", "'select'"),
        ("[:, 1]", "'narrow'"),
        ("__getitem__", "'select'"),
        ("getitem", "'select'"),
        ("slice", "'narrow'"),
        ("sgd", "Optimizers are not offered"),
        ("torch.optim.Adam", "Optimizers are not offered"),
        ("quux", "GET /v1/ops lists the ops."),
    ],
)
def test_what_has_no_single_op(name: str, words: str) -> None:
    assert words in of_op(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("double", "Did you mean 'float64'?"),
        ("float", "Did you mean 'float32' or 'float64'?"),
        ("long", "Did you mean 'int64'?"),
        ("half", "Did you mean 'float16'?"),
        ("torch.float32", "Did you mean 'float32'?"),
        ("np.float64", "Did you mean 'float64'?"),
        ("flaot32", "Did you mean 'float32'"),
        ("colour", ""),
    ],
)
def test_the_dtype_that_is_meant(name: str, hint: str) -> None:
    assert hints.of_dtype(name, DTYPES, Suggestions()).startswith(hint)
    assert bool(hints.of_dtype(name, DTYPES, Suggestions())) == bool(hint)


def test_numpy_s_parameters() -> None:
    assert hints.of_parameter("axis", ["input", "dim", "keepdim"], Suggestions()) == "Did you mean 'dim'?"
    assert hints.of_parameter("keepdims", ["input", "dim", "keepdim"], Suggestions()) == "Did you mean 'keepdim'?"
    assert hints.of_parameter("axis", ["input"], Suggestions()) == ""


def test_a_name_of_any_length_is_answered() -> None:
    for name in ("", ".", "_", "__", "torch.", "x" * 10**6, "torch." * 10**5, "[" * 10**5):
        assert of_op(name)
