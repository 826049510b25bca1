"""The number of threads of every contestant. Imports no module that reads these settings at import."""

from __future__ import annotations

import os

THREADS = 2
"""Threads of every contestant: the number of cores to which the process is bound."""

ENVIRONMENT = {
    name: str(THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
}


def bind() -> None:
    """Bind this process to as many cores as it has threads, before NumPy is loaded. XLA has no other setting."""
    os.environ.update(ENVIRONMENT)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
