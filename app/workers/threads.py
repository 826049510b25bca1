"""Threads for work that waits rather than computes: on the store of registered graphs. Calls are computed elsewhere, as
`app.workers.dispatch` says.

The routes of registered graphs call `run`. Who waits for it can stop waiting, because the deadline passed or the client
left; a slot is free again when its work ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from app.errors import ClientGone, TimedOut

T = TypeVar("T")

_BRIEF_S = 0.02
"""Work that ends within this time is not worth watching the connection for."""


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


class ThreadPool:
    """A fixed number of slots."""

    def __init__(self, slots: int) -> None:
        self._executor = ThreadPoolExecutor(slots, thread_name_prefix="store")

    async def run(self, work: Callable[[], T], *, timeout_s: float, gone: Callable[[], Awaitable[None]] = _never) -> T:
        """Return what `work` returns, once a slot is free. `gone` returns when the client leaves, if that is watched.

        Raises TimedOut, ClientGone, and what `work` raises.
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
        """Take no more work, and drop what waits for a slot."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def _wait(future: asyncio.Future[T], timeout_s: float, gone: Callable[[], Awaitable[None]]) -> None:
    """Wait until the future is done or the time is over. Raises ClientGone."""
    watch = asyncio.ensure_future(gone())
    either: list[asyncio.Future[Any]] = [future, watch]
    try:
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if watch.done() and not future.done():
            raise ClientGone("The client closed the connection.")
    finally:
        watch.cancel()
