"""Many things at once, but not too many, and what went wrong with them."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

import trio

AT_ONCE = 64

Item = TypeVar("Item")


async def each(
    function: Callable[[Item], Awaitable[None]], items: Iterable[Item], at_once: int = AT_ONCE
) -> None:
    """Call it for each item, at most `at_once` of them under way.

    The first error cancels the rest and is raised as itself, not in a group.
    """
    every = list(items)
    waiting = iter(every)
    failed: list[Exception] = []

    async def work(scope: trio.CancelScope) -> None:
        for item in waiting:
            try:
                await function(item)
            except Exception as error:
                failed.append(error)
                scope.cancel()
                return

    if (count := min(at_once, len(every))) <= 1:
        for item in waiting:
            await function(item)
        return
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(work, nursery.cancel_scope)
    if failed:
        raise failed[0]


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    """The errors of a group and of the groups in it."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
