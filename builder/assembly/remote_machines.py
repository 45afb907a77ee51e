"""Workers on machines that outlive the coordinator: they are left alone when it stops, and found
again by their tags when it starts."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from builder.config.settings import Settings
from builder.providers.interface import Provider

START_UP_GUESS_S = 60.0
WAIT_S = 10.0
SLOTS_GUESS = 4  # until a worker has joined and says it


class RemoteMachines:
    """`opened` is the provider's own context."""

    start_up_guess_s = START_UP_GUESS_S
    wait_s = WAIT_S

    def __init__(
        self,
        settings: Settings,
        patience_s: float,
        opened: Callable[[], AbstractAsyncContextManager[Provider]],
    ) -> None:
        self.slots = settings.worker.slots or SLOTS_GUESS
        self.patience_s = patience_s
        self._opened = opened

    @asynccontextmanager
    async def open(
        self, address: str, exited: Callable[[str, str], None]
    ) -> AsyncIterator[Provider]:
        del address, exited  # their own configuration says whom they dial; their list who is gone
        async with self._opened() as provider:
            yield provider

    def is_own(self, worker: str) -> bool:
        del worker
        return False


def just(make: Callable[[], Provider]) -> Callable[[], AbstractAsyncContextManager[Provider]]:
    """For a provider that has nothing to close."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Provider]:
        yield make()

    return opened
