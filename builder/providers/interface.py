"""What gives a pool its workers. Each way is one module beside this one.

The contract, which `tests/providers/contract.py` checks on every provider:
- `launch` is idempotent by token: the same token again gives the same instances and starts none,
  so a caller that lost the answer asks again without harm;
- `terminate` of what is unknown or gone is success;
- `list` tells of everything that was launched here and still costs something.
Faults are ProviderError; one that says `may_retry=False` needs a person.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from builder.base.errors import UnavailableError


class ProviderError(UnavailableError):
    """The provider refused or failed; `may_retry` tells whether asking again can help."""

    def __init__(self, message: str, may_retry: bool = True) -> None:
        super().__init__(message)
        self.may_retry = may_retry


@dataclass(frozen=True, slots=True)
class Instance:
    """Something that runs, or will run, one worker. Its worker joins under the name `id`."""

    id: str
    token: str


class Provider(Protocol):
    async def launch(self, count: int, token: str) -> list[Instance]:
        """Start `count` instances, or give those that this token started before."""
        ...

    async def terminate(self, ids: Iterable[str]) -> None:
        """End these: their workers drain first. Returns when it is under way."""
        ...

    async def list(self) -> list[Instance]:
        """Every instance that is there, in the order of launching."""
        ...
