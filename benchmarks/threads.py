"""How many threads every contestant has. Imports nothing that reads these settings when it is loaded."""

from __future__ import annotations

import os

THREADS = 2
"""Threads of every contestant: as many cores as the process is bound to."""

ENVIRONMENT = {
    name: str(THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
}


def bind() -> None:
    """Bind this process to as many cores as it has threads: XLA has no other setting. Before NumPy is loaded."""
    os.environ.update(ENVIRONMENT)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
