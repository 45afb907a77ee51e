"""The same thing done for many items at once, but not for too many."""

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

AT_ONCE = 32

Item = TypeVar("Item")


async def each(
    function: Callable[[Item], Awaitable[None]], items: Iterable[Item], at_once: int = AT_ONCE
) -> None:
    """Call it for each item. The first error cancels the rest and is raised as itself."""
    everything = list(items)
    waiting = iter(everything)
    failed: list[Exception] = []

    async def work(scope: trio.CancelScope) -> None:
        for item in waiting:
            try:
                await function(item)
            except Exception as error:
                failed.append(error)
                scope.cancel()
                return

    async with trio.open_nursery() as nursery:
        for _ in range(min(at_once, len(everything))):
            nursery.start_soon(work, nursery.cancel_scope)
    if failed:
        raise failed[0]
