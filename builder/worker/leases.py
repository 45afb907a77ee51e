"""What a worker holds: leases that run, and results that the coordinator has not taken yet.

    take --> RUNNING --finished--> DONE --acknowledged--> (forgotten)
                |
                `---cancelled, handed back--> (forgotten)

A result stays until it is acknowledged, so that it outlives a lost connection; a lease that was
handed back needs no answer, because a worker that comes back without it has not got it.
"""

from dataclasses import dataclass, field

import trio

from builder.reapi.pb import workers_pb2


@dataclass(slots=True)
class Held:
    """`why_stopped` is set when somebody wants it stopped; then its result is of no use.
    `scratch` is where its program writes, once it runs."""

    id: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    why_stopped: str = ""
    result: workers_pb2.LeaseFinished | None = None
    scratch: str = ""

    def began(self, scratch: str) -> None:
        self.scratch = scratch

    def stop(self, why: str) -> None:
        self.why_stopped = self.why_stopped or why
        self.scope.cancel()


class Leases:
    """By lease id, in the order in which they came."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._changed = trio.Event()

    @property
    def ids(self) -> list[str]:
        """All that the coordinator may still hear of."""
        return list(self._held)

    def running(self) -> list[Held]:
        return [held for held in self._held.values() if held.result is None]

    def unacknowledged(self) -> list[workers_pb2.LeaseFinished]:
        return [held.result for held in self._held.values() if held.result is not None]

    def take(self, lease_id: str) -> Held | None:
        """A new lease, or None for one that is held already."""
        if lease_id in self._held:
            return None
        self._held[lease_id] = Held(lease_id)
        return self._held[lease_id]

    def get(self, lease_id: str) -> Held | None:
        return self._held.get(lease_id)

    def finish(self, lease_id: str, result: workers_pb2.LeaseFinished) -> None:
        self._held[lease_id].result = result
        self._notify()

    def forget(self, lease_id: str) -> None:
        self._held.pop(lease_id, None)
        self._notify()

    async def wait_nothing_runs(self) -> None:
        while self.running():
            await self._changed.wait()

    async def wait_empty(self) -> None:
        """Nothing runs and every result is taken."""
        while self._held:
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
