"""What the dashboard sees and does, from the coordinator; and the samples for its charts."""

import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from itertools import islice

import trio

from builder.assembly.coordinator import Coordinator
from builder.base.digest import Digest
from builder.builds.invocation import Invocation
from builder.builds.tally import Tally
from builder.reapi.pb import control_pb2 as pb
from builder.server.contents import Contents, Found
from builder.server.operation_messages import LOGS
from builder.telemetry.series import EVERY_S, Sample, Series

MOST_DECISIONS = 50
MOST_BUILDS = 20


class Sighting:
    """`web.sight.Sight`; `run` has to run for charts and decisions."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._control = coordinator.control
        self._contents = Contents(coordinator.scheduler.history, coordinator.stores.blobs_of)
        self._series = Series()
        self._decisions: deque[str] = deque(maxlen=MOST_DECISIONS)
        self._decided: dict[str, str] = {}  # by pool

    async def run(self, stop: trio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            status = self.status(details=False)
            self._series.add(status, trio.current_time())
            for pool in status.pools:
                self._note(pool, len(status.pools) > 1)
            with trio.move_on_after(EVERY_S):
                await stop.wait()

    def _note(self, pool: pb.PoolState, named: bool) -> None:
        if pool.decision and pool.decision != self._decided.get(pool.name):
            self._decided[pool.name] = pool.decision
            whose = f"{pool.name}: " if named else ""
            self._decisions.appendleft(f"{time.strftime('%H:%M:%S')} {whose}{pool.decision}")

    def status(self, details: bool) -> pb.Status:
        return self._control.status(details)

    def samples(self) -> Sequence[Sample]:
        return self._series.samples()

    def decisions(self) -> Sequence[str]:
        return list(self._decisions)

    def builds(self) -> Sequence[Invocation]:
        return list(islice(self._coordinator.builds.invocations(), MOST_BUILDS))

    def build(self, invocation: str) -> Invocation | None:
        return self._coordinator.builds.invocation(invocation)

    def actions(self, request: pb.ListActionsRequest) -> pb.ListActionsResponse:
        return self._control.actions.list(request)

    def tallies(self, invocation: str = "") -> Sequence[Tally]:
        return self._control.actions.tallies(invocation)

    async def action(self, id_: str) -> pb.ActionDetails:
        return await self._control.actions.get(pb.GetActionRequest(id=id_))

    async def explain(self, id_: str) -> pb.MissExplanation:
        return await self._control.actions.explain(id_)

    async def inputs(self, id_: str, path: str) -> Found:
        return await self._contents.inputs(id_, path)

    async def outputs(self, id_: str, path: str) -> Found:
        return await self._contents.outputs(id_, path)

    def read(self, id_: str, digest: Digest) -> AsyncGenerator[bytes, None]:
        return self._contents.read(id_, digest)

    async def output(self, id_: str, stream: str) -> AsyncGenerator[bytes, None]:
        operation = self._coordinator.scheduler.history.find(id_).operation
        return self._coordinator.live.read(f"{operation}/{LOGS}/{stream}", 0)

    def cancel(self, id_: str) -> None:
        self._control.actions.cancel(id_)

    async def again(self, id_: str) -> str:
        return await self._coordinator.rerunner.again(id_)

    def drain(self, worker: str) -> None:
        self._control.drain(pb.DrainWorkerRequest(worker=worker))

    def scale(self, pool: str, workers: int | None) -> None:
        self._control.scale(pb.ScalePoolRequest(pool=pool, workers=workers))

    def version(self) -> int:
        """Also of the fleet: who comes, goes, or takes work."""
        snapshot = self._coordinator.scheduler.snapshot()
        return self._coordinator.scheduler.history.version + sum(
            hash((worker.info.name, worker.state)) & 0xFFFF for worker in snapshot.workers
        )
