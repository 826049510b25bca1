"""A transformer block: layer norm before attention and before a perceptron of four times the width, with residual
connections around both (Xiong et al. 2020, figure 1b), in single precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import by_jax, by_torch
from benchmarks.workload import Array, Case, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest
from engine.program.program import OpCall

PARAMETERS = (
    "scale1",
    "shift1",
    "w_in",
    "b_in",
    "w_out",
    "b_out",
    "scale2",
    "shift2",
    "w_up",
    "b_up",
    "w_down",
    "b_down",
)
WRT = ("x", *PARAMETERS)


def transformer(batch: int = 8, tokens: int = 128, width: int = 256, heads: int = 4) -> Case:
    """Return the case: the mean square of the block's output, and its gradients by input and parameters."""
    values = _values(batch, tokens, width)
    calls = _calls(batch, tokens, width, heads)

    def torch_loss(torch: Any, x: Any, *parameters: Any) -> Any:
        scale1, shift1, w_in, b_in, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = parameters
        functions = torch.nn.functional
        mixed = functions.linear(functions.layer_norm(x, (width,), scale1, shift1), w_in, b_in)
        query, key, value = mixed.view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        seen = functions.scaled_dot_product_attention(query, key, value)
        x = x + functions.linear(seen.transpose(1, 2).reshape(batch, tokens, width), w_out, b_out)
        hidden = functions.gelu(functions.linear(functions.layer_norm(x, (width,), scale2, shift2), w_up, b_up))
        return (x + functions.linear(hidden, w_down, b_down)).square().mean()

    def jax_loss(jax: Any, x: Any, *parameters: Any) -> Any:
        scale1, shift1, w_in, b_in, w_out, b_out, scale2, shift2, w_up, b_up, w_down, b_down = parameters

        def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
            centred = x - x.mean(-1, keepdims=True)
            return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + shift

        mixed = layer_norm(x, scale1, shift1) @ w_in.T + b_in
        query, key, value = mixed.reshape(batch, tokens, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(-1, -2) * (width // heads) ** -0.5
        seen = jax.nn.softmax(scores) @ value
        x = x + seen.swapaxes(1, 2).reshape(batch, tokens, width) @ w_out.T + b_out
        hidden = jax.nn.gelu(layer_norm(x, scale2, shift2) @ w_up.T + b_up, approximate=False)
        return ((x + hidden @ w_down.T + b_down) ** 2).mean()

    peers = {"torch": by_torch(torch_loss, values, WRT), "jax": by_jax(jax_loss, values, WRT)}
    return Case(program(values, WRT, calls, "float32"), GradientRequest(), values, value_and_gradients(WRT), peers)


def _values(batch: int, tokens: int, width: int) -> dict[str, Array]:
    draw = normal(4, "float32")
    one = np.float32(1)

    def linear(outputs: int, inputs: int) -> tuple[Array, Array]:
        return draw(outputs, inputs, scale=inputs**-0.5), draw(outputs, scale=0.1)

    parameters = (
        *(draw(width, scale=0.1) + one, draw(width, scale=0.1)),
        *linear(3 * width, width),
        *linear(width, width),
        *(draw(width, scale=0.1) + one, draw(width, scale=0.1)),
        *linear(4 * width, width),
        *linear(width, 4 * width),
    )
    return {"x": draw(batch, tokens, width), **dict(zip(PARAMETERS, parameters, strict=True))}


def _calls(batch: int, tokens: int, width: int, heads: int) -> tuple[OpCall, ...]:
    attention = []
    for place, name in enumerate(("query", "key", "value")):
        attention += [
            call("select", "mixed", 2, place, output=f"{name}_rows"),
            call("transpose", f"{name}_rows", 1, 2, output=name),
        ]
    return (
        call("layer_norm", "x", (width,), "scale1", "shift1", output="normed1"),
        call("linear", "normed1", "w_in", "b_in", output="mixed_flat"),
        call("reshape", "mixed_flat", (batch, tokens, 3, heads, width // heads), output="mixed"),
        *attention,
        call("scaled_dot_product_attention", "query", "key", "value", output="seen_heads"),
        call("transpose", "seen_heads", 1, 2, output="seen_rows"),
        call("reshape", "seen_rows", (batch, tokens, width), output="seen"),
        call("linear", "seen", "w_out", "b_out", output="attended"),
        call("add", "x", "attended", output="middle"),
        call("layer_norm", "middle", (width,), "scale2", "shift2", output="normed2"),
        call("linear", "normed2", "w_up", "b_up", output="raised"),
        call("gelu", "raised", output="hidden"),
        call("linear", "hidden", "w_down", "b_down", output="lowered"),
        call("add", "middle", "lowered", output="out"),
        call("square", "out", output="squares"),
        call("mean", "squares", output="loss"),
    )
