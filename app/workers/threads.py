"""Threads for work that waits on the store of registered graphs. `app.workers.dispatch` computes calls elsewhere.

The routes of registered graphs call `run`. A caller stops waiting when the deadline passes or the client disconnects.
The slot is free again when its work ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from app.errors import ClientGone, TimedOut

T = TypeVar("T")

_BRIEF_S = 0.02
"""Seconds of work before the connection is watched for a disconnect."""


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


class ThreadPool:
    """Runs blocking functions in a fixed number of threads, each within a time limit."""

    def __init__(self, slots: int) -> None:
        self._executor = ThreadPoolExecutor(slots, thread_name_prefix="store")

    async def run(self, work: Callable[[], T], *, timeout_s: float, gone: Callable[[], Awaitable[None]] = _never) -> T:
        """Run `work` once a slot is free, and return its result. `gone` returns when the client disconnects.

        Raises TimedOut, ClientGone, and the errors of `work`.
        """
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            await asyncio.wait([future], timeout=min(_BRIEF_S, timeout_s))
            if not future.done():
                await _wait(future, timeout_s - _BRIEF_S, gone)
            if future.done():
                return future.result()
        finally:
            future.cancel()
        raise TimedOut("The request did not end in time; nothing of it is kept.")

    def close(self) -> None:
        """Accept no more work, and cancel the work that waits for a slot."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def _wait(future: asyncio.Future[T], timeout_s: float, gone: Callable[[], Awaitable[None]]) -> None:
    """Wait until the future is done or `timeout_s` has passed. Raises ClientGone."""
    watch = asyncio.ensure_future(gone())
    either: list[asyncio.Future[Any]] = [future, watch]
    try:
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if watch.done() and not future.done():
            raise ClientGone("The client closed the connection.")
    finally:
        watch.cancel()
