"""Tidying up behind the answers."""

from contextlib import AsyncExitStack

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from builder.worker.closing import MOST_WAITING, closer


async def test_closing_waits_for_nobody_and_is_done_in_the_end(autojump_clock: MockClock) -> None:
    closed: list[int] = []

    async def tidy(number: int) -> None:
        await trio.sleep(1)
        closed.append(number)

    async with closer() as close:
        start = trio.current_time()
        for number in range(5):
            stack = AsyncExitStack()
            stack.push_async_callback(tidy, number)
            await close(stack)
        assert trio.current_time() == start
        assert closed == []
    assert closed == list(range(5))


async def test_more_rubbish_than_can_be_cleared_slows_down(autojump_clock: MockClock) -> None:
    async with closer() as close:
        start = trio.current_time()
        for _ in range(MOST_WAITING + 3):
            stack = AsyncExitStack()
            stack.push_async_callback(trio.sleep, 1)
            await close(stack)
            await wait_all_tasks_blocked()
        assert trio.current_time() - start > 1


async def test_one_that_fails_does_not_stop_the_others(autojump_clock: MockClock) -> None:
    closed: list[int] = []
    async with closer() as close:
        for number in range(3):
            stack = AsyncExitStack()
            stack.callback(closed.append, number)
            if number == 1:
                stack.callback(lambda: 1 / 0)
            await close(stack)
    assert closed == [0, 1, 2]
