"""Measures the CPU time of the steps of the event loop."""

import asyncio
import time

import pytest


def record_steps(patch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets the CPU seconds of each callback that an event loop of asyncio runs from now on."""
    taken: list[float] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        taken.append(time.thread_time() - began)

    patch.setattr(asyncio.Handle, "_run", timed)
    return taken
