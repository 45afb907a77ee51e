"""Calls that are made at the same moment, joined into batches.

Theory of operation. Every caller queues its item. The first one that finds nobody collecting
leads: it lets all tasks that can run now queue theirs, takes as much of the queue as one batch
may weigh, performs it, and hands out the outcomes. While `most_in_flight` batches are on their
way nobody leads, so that under load batches grow by themselves. A leader that is cancelled puts
its batch back and wakes the next one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from builder.base.errors import StatusError

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Slot(Generic[Item, Result]):
    __slots__ = ("error", "item", "results", "woken")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.results: list[Result] = []  # one, when it has come
        self.error: StatusError | None = None
        self.woken = trio.Event()


class Coalescer(Generic[Item, Result]):
    """`perform` gets items whose weights add up to at most `limit`, and answers in their order.

    A result may be a StatusError: that caller alone gets it raised. What `perform` raises, all
    callers of the batch get.
    """

    def __init__(
        self,
        perform: Callable[[Sequence[Item]], Awaitable[Sequence[Result | StatusError]]],
        weight: Callable[[Item], int],
        limit: int,
        most_in_flight: int = 4,
    ) -> None:
        self._perform = perform
        self._weight = weight
        self._limit = limit
        self._most_in_flight = most_in_flight
        self._waiting: list[_Slot[Item, Result]] = []
        self._in_flight = 0
        self._collecting = False

    async def ask(self, item: Item) -> Result:
        slot: _Slot[Item, Result] = _Slot(item)
        self._waiting.append(slot)
        try:
            while not slot.results and slot.error is None:
                if self._collecting or self._in_flight >= self._most_in_flight:
                    await slot.woken.wait()
                    slot.woken = trio.Event()
                else:
                    await self._lead()
        finally:
            if slot in self._waiting:
                self._waiting.remove(slot)
            self._wake_next()
        if slot.error is not None:
            raise type(slot.error)(slot.error.message, slot.error.details)
        return slot.results[0]

    async def _lead(self) -> None:
        self._collecting = True
        try:
            await trio.lowlevel.checkpoint()
        finally:
            self._collecting = False
        batch = self._take()
        self._in_flight += 1
        self._wake_next()
        try:
            outcomes: Sequence[Result | StatusError] = await self._perform(
                [slot.item for slot in batch]
            )
        except StatusError as error:
            outcomes = [error] * len(batch)
        except BaseException:  # cancelled: the others have to ask again
            self._waiting[:0] = batch
            raise
        finally:
            self._in_flight -= 1
        for slot, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, StatusError):
                slot.error = outcome
            else:
                slot.results.append(outcome)
            slot.woken.set()

    def _take(self) -> list[_Slot[Item, Result]]:
        total = 0
        for count, slot in enumerate(self._waiting):
            total += self._weight(slot.item)
            if total > self._limit and count:
                break
        else:
            count = len(self._waiting)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _wake_next(self) -> None:
        if self._waiting:
            self._waiting[0].woken.set()
