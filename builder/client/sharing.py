"""Targets shared between this machine and a coordinator, and what happens when that goes away.

    target --remote: false--------------------------> here
      |----- the coordinator has the result --------> land it
      |----- it shares, and a processor is free ----> here
      `----- else --> coordinator --away--> here, as is all that comes later

Outputs land whole or not at all, and an action is the same action in both places, so a target
whose coordinator goes away at any moment is just built again, here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from builder.base.errors import UnavailableError
from builder.client.scan import Made
from builder.client.target import Built, TargetBuilder
from builder.project.model import Target


class TargetPlace(Protocol):
    async def build(self, target: Target, made: Made) -> Built:
        """Raises BuilderError, as `TargetBuilder.build` does."""
        ...


@dataclass(slots=True)
class Sharing:
    """`away` is None where no coordinator answered. `shares`: whether this machine works, too, as
    long as it is free; at most so many actions at once as `limit` has tokens. `told` hears why the
    coordinator is given up."""

    here: TargetBuilder
    away: TargetBuilder | None
    shares: bool
    limit: trio.CapacityLimiter
    told: Callable[[str], None]

    async def build(self, target: Target, made: Made) -> Built:
        away = self.away
        if away is None or not target.remote:
            return await self._here(target, made)
        try:
            if self.shares and self._takes(target):
                try:
                    return await away.find(target, made) or await self.here.build(target, made)
                finally:
                    self.limit.release_on_behalf_of(target.name)
            return await away.build(target, made)
        except UnavailableError as error:
            if self.away is not None:
                self.away = None
                self.told(error.message)
            return await self._here(target, made)

    def _takes(self, target: Target) -> bool:
        try:
            self.limit.acquire_on_behalf_of_nowait(target.name)
        except trio.WouldBlock:
            return False
        return True

    async def _here(self, target: Target, made: Made) -> Built:
        async with self.limit:
            return await self.here.build(target, made)
