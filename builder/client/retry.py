"""Patience with a server that is away for a moment."""

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import trio

from builder.base.backoff import Backoff
from builder.base.errors import UnavailableError

Answer = TypeVar("Answer")
Pauses = Callable[[], Iterator[float]]


BACKOFF = Backoff(first_s=0.1, limit_s=5.0, factor=2.0)
FEW_TRIES = 6
TRIES = 18  # about a minute in all, long enough for a coordinator's restart


def pauses() -> Iterator[float]:
    """Seconds between tries."""
    for failures in range(1, TRIES):
        yield BACKOFF.delay(failures, random.random)


def soon() -> Iterator[float]:
    """For who has another way: some seconds in all."""
    for failures in range(1, FEW_TRIES):
        yield BACKOFF.delay(failures, random.random)


async def patient(ask: Callable[[], Awaitable[Answer]], pauses: Pauses = pauses) -> Answer:
    """Ask again while the server is unavailable; in the end its last error."""
    waits = pauses()
    while True:
        try:
            return await ask()
        except UnavailableError:
            if (wait := next(waits, None)) is None:
                raise
            await trio.sleep(wait)
