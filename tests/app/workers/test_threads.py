"""Work runs in slots; who waits for it may stop waiting."""

import asyncio
import threading

import pytest

from app.errors import ClientGone, TimedOut
from app.workers.threads import ThreadPool
from tests.serving import PATIENCE_S


async def never() -> None:
    await asyncio.Event().wait()


def test_it_returns_and_raises_what_the_work_does() -> None:
    async def main() -> None:
        pool = ThreadPool(1)
        assert await pool.run(lambda: 7, timeout_s=PATIENCE_S, gone=never) == 7
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0, timeout_s=PATIENCE_S, gone=never)
        pool.close()

    asyncio.run(main())


def test_no_more_runs_at_a_time_than_there_are_slots() -> None:
    running = most = 0
    lock, both = threading.Lock(), threading.Barrier(2)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait()
        with lock:
            running -= 1

    async def main() -> None:
        pool = ThreadPool(2)
        await asyncio.gather(*(pool.run(work, timeout_s=PATIENCE_S, gone=never) for _ in range(8)))
        pool.close()

    asyncio.run(main())
    assert most == 2


def test_the_deadline_ends_the_waiting_and_what_has_not_begun() -> None:
    release = threading.Event()
    begun: list[int] = []

    async def main() -> None:
        pool = ThreadPool(1)
        first = asyncio.ensure_future(pool.run(release.wait, timeout_s=0.05, gone=never))
        second = asyncio.ensure_future(pool.run(lambda: begun.append(2), timeout_s=0.05, gone=never))
        for waiting in (first, second):
            with pytest.raises(TimedOut):
                await waiting
        release.set()
        await pool.run(lambda: begun.append(3), timeout_s=PATIENCE_S, gone=never)
        pool.close()

    asyncio.run(main())
    assert begun == [3]


def test_a_client_that_left_is_not_waited_for() -> None:
    release = threading.Event()

    async def leaves() -> None:
        await asyncio.sleep(0.01)

    async def main() -> None:
        pool = ThreadPool(1)
        with pytest.raises(ClientGone):
            await pool.run(release.wait, timeout_s=PATIENCE_S, gone=leaves)
        release.set()
        pool.close()

    asyncio.run(main())
