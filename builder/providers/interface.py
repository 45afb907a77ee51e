"""What gives a pool its workers. Each way is one module beside this one.

The contract, which `tests/providers/contract.py` checks on every provider:
- `launch` is idempotent by token: the same token again gives the same instances and starts none,
  also while the first call is under way, so a caller that lost the answer asks without harm. It
  may give fewer than asked for, but not none: that is an error;
- `terminate` of what is unknown or gone is success;
- `list` tells of everything that was launched for this pool and still costs something, by whom-
  ever: what is found by its tags after a coordinator's restart is not lost.

Faults are one tree. Who asks again in vain until a person has done something says so:

    ProviderError           may_retry
    ├── QuotaError             no     the account's limit is reached
    ├── CapacityError          yes    there is none of it now, of any kind or place that was tried
    ├── CredentialsError       no     not known, expired, or not allowed to do this
    ├── RefusedError           no     a parameter that cannot be right
    └── TransientError         yes    throttled, not reachable, a fault of theirs
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from builder.base.errors import UnavailableError
from builder.scale.market import Market


class ProviderError(UnavailableError):
    """The provider refused or failed; `may_retry` tells whether asking again soon can help."""

    may_retry: ClassVar[bool] = True


class QuotaError(ProviderError):
    may_retry = False


class CapacityError(ProviderError):
    pass


class CredentialsError(ProviderError):
    may_retry = False


class RefusedError(ProviderError):
    may_retry = False


class TransientError(ProviderError):
    pass


@dataclass(frozen=True, slots=True)
class Instance:
    """Something that runs, or will run, one worker. Its worker joins under the name `id`."""

    id: str
    token: str


class Provider(Protocol):
    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        """Start `count` instances, or give those that this token started before.

        `urgent`: work waits for them, so who has a choice takes none that starts late.
        """
        ...

    async def terminate(self, ids: Iterable[str]) -> None:
        """End these: their workers drain first. Returns when it is under way."""
        ...

    async def list(self) -> list[Instance]:
        """Every instance that is there."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """A provider with a choice of machines: it learns how long each kind takes to start."""

    market: Market

    def joined(self, id_: str) -> None:
        """The worker of an instance has joined."""
        ...
