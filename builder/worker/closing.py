"""Tidying up after actions, off the way of their results.

When an action has ended and its outputs are stored, its answer need not wait until its mounts,
cgroups and files are gone. The work is queued here and done one after the other; the queue is
short, so that a worker which makes more rubbish than it can clear away slows down.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from builder.telemetry.log import get_logger

MOST_WAITING = 16
Close = Callable[[AsyncExitStack], Awaitable[None]]

log = get_logger()


async def at_once(stack: AsyncExitStack) -> None:
    """A `Close` that waits for it."""
    await stack.aclose()


@asynccontextmanager
async def closer() -> AsyncIterator[Close]:
    """A `Close` that only queues; leaving the block waits until everything is done."""
    queue, waiting = trio.open_memory_channel[AsyncExitStack](MOST_WAITING)

    async def work() -> None:
        with trio.CancelScope(shield=True):
            async for stack in waiting:
                try:
                    await stack.aclose()
                except Exception:
                    log.exception("Tidying up after an action failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        try:
            yield queue.send
        finally:
            queue.close()
