"""Where the pool's workers come from: a provider from the settings."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from builder.assembly.local_machines import LocalMachines
from builder.config.settings import Settings
from builder.providers.interface import Provider

Exited = Callable[[str, str], None]


class Machines(Protocol):
    """What the pool has to know of its provider. Times in seconds.

    `slots` of each worker; `start_up_guess_s` before anything was learned; `wait_s` is how long
    an action may wait beyond the start of a worker for it; `patience_s` is how long an instance
    may be there without its worker.
    """

    @property
    def slots(self) -> int: ...
    @property
    def start_up_guess_s(self) -> float: ...
    @property
    def wait_s(self) -> float: ...
    @property
    def patience_s(self) -> float: ...

    def open(self, address: str, exited: Exited) -> AbstractAsyncContextManager[Provider]: ...

    def is_own(self, worker: str) -> bool:
        """Whether the worker is one of ours, as far as that is known without asking."""
        ...


def machines_of(settings: Settings, config: str | None) -> Machines:
    return LocalMachines(settings, config)
