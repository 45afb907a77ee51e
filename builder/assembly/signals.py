"""SIGINT and SIGTERM: the first one drains, the second one stops at once."""

import signal
from collections.abc import Callable

import trio


async def obey_signals(drain: Callable[[str], None], stop: Callable[[], None]) -> None:
    """Call `drain` with the signal's name for the first, `stop` for every other."""
    drained = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for number in received:
            if drained:
                stop()
            else:
                drained = True
                drain(signal.Signals(number).name)
