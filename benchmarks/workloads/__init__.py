"""The engine's workloads, one entry of `CATALOGUE` each. A new workload is a function that returns a `Case`.

Targets are ratios of gradd's figure to that of a peer, or of the better of several peers.
"""

from __future__ import annotations

from benchmarks.results import Target
from benchmarks.workload import Workload
from benchmarks.workloads.chain import chain
from benchmarks.workloads.checkpoint import checkpoint
from benchmarks.workloads.elementwise import elementwise
from benchmarks.workloads.first_call import first_call
from benchmarks.workloads.hessian import hessian
from benchmarks.workloads.lenet import lenet
from benchmarks.workloads.mlp import mlp, per_sample
from benchmarks.workloads.powers import powers
from benchmarks.workloads.transformer import transformer
from benchmarks.workloads.tutorial import tutorial

SINGLE = 1e-4
"""The maximum difference of results in single precision, relative to the largest element."""

SMALL_NETWORK = {"batch": 3, "inputs": 6, "hidden": 5, "classes": 4}

CATALOGUE = (
    Workload(
        "tutorial",
        "tutorial graph, plan cached",
        tutorial,
        time=(Target(1.3, ("numpy",)), Target(0.5, ("torch",))),
    ),
    Workload(
        "chain",
        "1,000 ops on 16 elements, plan cached",
        chain,
        small={"ops": 40},
        time=(Target(0.4, ("torch",)),),
        memory_note="the plan is 0.15 MiB; what Python keeps is the memory of its graph, 3.1 MiB",
    ),
    Workload(
        "first_call",
        "first call of a new graph of 100 ops",
        first_call,
        small={"ops": 20},
        time=(Target(1 / 20, ("jax",)),),
    ),
    Workload(
        "mlp",
        "perceptron 784-512-512-10, batch 128, float32",
        mlp,
        small=SMALL_NETWORK,
        time=(Target(1.0, ("torch",)), Target(1.2, ("jax",))),
        rtol=SINGLE,
        note="products are 2.7 of 3.3 ms, as each core arranges a whole weight for its half; BLAS's own threads would "
        "share that, but take 5 to 30 times as long where cores are shared",
    ),
    Workload(
        "elementwise_1m",
        "sum(tanh(a c + 1) exp(-a a)), 1 M float32",
        elementwise,
        small={"size": 40},
        full={"size": 1_000_000},
        time=(Target(1.1, ("jax",)), Target(0.4, ("torch",))),
        rtol=SINGLE,
        note="each of NumPy's ufuncs passes over its block once; XLA computes all 22 operations in one pass",
    ),
    Workload(
        "elementwise_8m",
        "sum(tanh(a c + 1) exp(-a a)), 8 M float32",
        elementwise,
        small={"size": 40},
        full={"size": 8_000_000},
        time=(Target(0.6, ("jax",)), Target(0.4, ("torch",))),
        rtol=SINGLE,
        note="as with 1 M; XLA's time varies from run to run, from 16 to 24 ms",
    ),
    Workload(
        "powers_1m",
        "sum(a ** b) of bases of both signs, whole exponents in a tensor, 1 M float32",
        powers,
        small={"size": 40},
        full={"size": 1_000_000},
        time=(Target(0.5, ("numpy",)),),
        rtol=SINGLE,
    ),
    Workload(
        "transformer",
        "transformer block, batch 8, 128 tokens, width 256, 4 heads, float32",
        transformer,
        small={"batch": 2, "tokens": 3, "width": 8, "heads": 2},
        time=(Target(1.1, ("torch", "jax")),),
        rtol=SINGLE,
        note="products are 26 of 40 ms and attention 4; the normal distribution's function, computed in float64 so "
        "that its lower tail is exact, is 3.3",
    ),
    Workload(
        "lenet",
        "LeNet, 64 images of 28x28, float32",
        lenet,
        small={"images": 2},
        time=(Target(1.5, ("torch",)),),
        rtol=SINGLE,
    ),
    Workload(
        "per_sample",
        "gradients of the perceptron for each of 128 samples (vmap; torch.func), float32",
        per_sample,
        small=SMALL_NETWORK,
        time=(Target(1.0, ("torch",)),),
        rtol=SINGLE,
    ),
    Workload(
        "hessian",
        "Hessian of a logistic loss, 100 dimensions, 1,000 rows (torch.func)",
        hessian,
        small={"rows": 12, "dimensions": 4},
        time=(Target(1.0, ("torch", "jax")),),
    ),
    Workload(
        "checkpoint",
        "chain of 64 layers, a checkpoint at every eighth, float32",
        checkpoint,
        small={"layers": 16, "batch": 3, "width": 4},
        time=(Target(1.4, ("unchecked",)),),
        memory=(Target(0.25, ("unchecked",)),),
        rtol=SINGLE,
    ),
)
WORKLOADS = {workload.name: workload for workload in CATALOGUE}
