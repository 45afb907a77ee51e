"""builder.control.Control: what operators ask of a coordinator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from builder.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
)
from builder.base.nearest import nearest
from builder.net.rpc import Context, Method, Service
from builder.reapi.digests import path_of
from builder.reapi.pb import control_pb2 as pb
from builder.reapi.times import nanoseconds
from builder.schedule.events import DrainRequested
from builder.schedule.reasons import count
from builder.schedule.resources import amount_text
from builder.schedule.snapshot import ActionView, LaneView, Snapshot, WorkerView
from builder.server.actions import Actions
from builder.server.execution import CacheFigures
from builder.server.kept import About, unknown
from builder.server.messages import parse
from builder.server.operation_messages import digest_of_key
from builder.server.scheduler import Scheduler
from builder.server.summaries import timestamp
from builder.stores.interface import BlobsOf

NAME = "builder.control.Control"
NO_HURRY_S = 86400.0 * 365  # a drain that waits for whatever runs
MOST_ACTIONS = 1000  # of those that wait or run, told one by one


@dataclass(frozen=True, slots=True)
class Around:
    """What only the assembly knows: the version, the time, the pools, and what is wrong."""

    version: str
    wall_ns: Callable[[], int]
    pools: Callable[[], Sequence[pb.PoolState]] = tuple
    problems: Callable[[], Sequence[str]] = tuple
    hold: Callable[[str, int | None], None] | None = None  # a pool at a size; None gives it back
    stores: Callable[[bool], Sequence[pb.StoreState]] = lambda _details: ()
    instances: Callable[[], Sequence[pb.InstanceUsage]] = tuple
    tiers: Callable[[], Sequence[pb.Tier]] = tuple
    kept: About = unknown


class ControlService:
    """Times of the scheduler are trio's; `uptime` counts from the making of this object."""

    def __init__(
        self, scheduler: Scheduler, cache: CacheFigures, around: Around, blobs_of: BlobsOf
    ) -> None:
        self.actions = Actions(scheduler, blobs_of, around.wall_ns, around.kept)
        self._scheduler = scheduler
        self._cache = cache
        self._around = around
        self._started = trio.current_time()

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/GetStatus", unary=self.get_status),
                Method(f"/{NAME}/ScalePool", unary=self.scale_pool),
                Method(f"/{NAME}/DrainWorker", unary=self.drain_worker),
                *self.actions.methods(NAME),
            ),
        )

    def get_status(self, data: bytes, _context: Context) -> bytes:
        details = parse(pb.GetStatusRequest, data).details
        return self.status(details).SerializeToString()

    def scale_pool(self, data: bytes, _context: Context) -> bytes:
        return self.scale(parse(pb.ScalePoolRequest, data)).SerializeToString()

    def scale(self, request: pb.ScalePoolRequest) -> pb.PoolState:
        """Raises FailedPreconditionError without a pool, OutOfRangeError beyond its bounds."""
        pool = self._pool(request.pool)
        assert self._around.hold is not None
        if request.HasField("workers") and not pool.minimum <= request.workers <= pool.maximum:
            raise OutOfRangeError(
                f"{request.workers} workers are outside of this pool's bounds, "
                f"{pool.minimum} to {pool.maximum} (its min and max in the configuration)"
            )
        self._around.hold(pool.name, request.workers if request.HasField("workers") else None)
        return self._pool(pool.name)

    def _pool(self, name: str) -> pb.PoolState:
        """The one of this name, or the only one. Raises StatusError."""
        pools = {pool.name: pool for pool in self._around.pools()}
        if self._around.hold is None or not pools:
            raise FailedPreconditionError("this coordinator has no pool of its own to scale")
        if not name and len(pools) > 1:
            raise InvalidArgumentError(f"there are several pools; say which: {', '.join(pools)}")
        name = name or next(iter(pools))
        if name not in pools:
            meant = nearest(name, pools)
            hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(pools)}"
            raise NotFoundError(f"no pool is named {name!r}; {hint}")
        return pools[name]

    def drain_worker(self, data: bytes, _context: Context) -> bytes:
        return self.drain(parse(pb.DrainWorkerRequest, data)).SerializeToString()

    def drain(self, request: pb.DrainWorkerRequest) -> pb.DrainWorkerResponse:
        """Raises NotFoundError."""
        held = {view.info.name: view.held for view in self._scheduler.snapshot().workers}
        if request.worker not in held:
            meant = nearest(request.worker, held)
            hint = f"did you mean {meant!r}?" if meant else f"there is {', '.join(held) or 'none'}"
            raise NotFoundError(f"no worker is named {request.worker!r}; {hint}")
        grace_s = nanoseconds(request.grace) / 1e9 if request.HasField("grace") else NO_HURRY_S
        self._scheduler.post(DrainRequested(request.worker, grace_s, "an operator wants it"))
        return pb.DrainWorkerResponse(running=held[request.worker])

    def status(self, details: bool) -> pb.Status:
        """The answer as a message, for those who are in this process."""
        snapshot = self._scheduler.snapshot(MOST_ACTIONS if details else 0)
        now_ns = self._around.wall_ns()
        pools = self._around.pools()
        status = pb.Status(
            state="draining" if snapshot.shutting_down else "running",
            version=self._around.version,
            workers=_workers(snapshot.workers),
            queue=_queue(snapshot),
            executions=_executions(snapshot, self._cache),
            pools=pools,
            problems=(*self._around.problems(), *_problems(snapshot)),
            stores=self._around.stores(details),
            instances=self._around.instances(),
            tiers=self._around.tiers(),
            queues=[_lane(lane, trio.current_time()) for lane in snapshot.lanes],
            stealing=_stealing(snapshot),
        )
        if pools:
            status.pool.CopyFrom(pools[0])
        status.uptime.FromNanoseconds(round((trio.current_time() - self._started) * 1e9))
        if details:
            offset_ns = now_ns - round(trio.current_time() * 1e9)
            status.worker.extend(_worker(view, offset_ns) for view in snapshot.workers)
            status.action.extend(_action(view, offset_ns) for view in snapshot.actions)
        return status


def _workers(workers: Sequence[WorkerView]) -> pb.WorkerCounts:
    states = [worker.state for worker in workers]
    return pb.WorkerCounts(
        total=len(workers),
        idle=states.count("idle"),
        busy=states.count("busy"),
        draining=states.count("draining"),
        slots=sum(worker.info.slots for worker in workers),
        slots_busy=sum(worker.held for worker in workers),
    )


def _queue(snapshot: Snapshot) -> pb.QueueCounts:
    counters = snapshot.counters
    return pb.QueueCounts(
        pending=snapshot.queued + snapshot.waiting,
        executing=snapshot.executing,
        completed=counters.succeeded + counters.failed,
    )


def _executions(snapshot: Snapshot, cache: CacheFigures) -> pb.ExecutionFigures:
    counters = snapshot.counters
    ended = counters.succeeded + counters.failed
    figures = pb.ExecutionFigures(
        succeeded=counters.succeeded,
        failed=counters.failed + counters.gave_up,
        cache_hits=cache.hits,
        cache_misses=cache.misses,
    )
    if ended:
        figures.mean_execution.FromNanoseconds(round(counters.execution_s / ended * 1e9))
    return figures


def _stealing(snapshot: Snapshot) -> pb.Stealing:
    counters = snapshot.counters
    return pb.Stealing(
        backlog=sum(worker.backlog for worker in snapshot.workers),
        attempted=counters.steals_attempted,
        succeeded=counters.steals_succeeded,
        empty=counters.steals_empty,
        failed=counters.steals_failed,
        moved=counters.stolen,
        refused=counters.steals_refused,
        recalled=counters.recalled,
    )


def _problems(snapshot: Snapshot) -> list[str]:
    """Sentences on actions that wait for workers which are not there."""
    return [
        f"{count(lane.waiting, 'action')} waiting for {lane.wanted}, "
        f"and no worker for it is connected"
        for lane in snapshot.lanes
        if not lane.workers
    ]


def _lane(lane: LaneView, now: float) -> pb.Queue:
    queue = pb.Queue(
        platform=lane.wanted, waiting=lane.waiting, workers=lane.workers, slots=lane.slots
    )
    if lane.oldest_at is not None:
        queue.oldest.FromNanoseconds(round(max(now - lane.oldest_at, 0) * 1e9))
    return queue


def _worker(view: WorkerView, offset_ns: int) -> pb.Worker:
    platform: dict[str, str] = {}
    for name, value in view.info.properties:
        platform[name] = f"{platform[name]},{value}" if name in platform else value
    return pb.Worker(
        name=view.info.name,
        state=view.state,
        backend=view.info.backend,
        slots=view.info.slots,
        slots_busy=view.held,
        platform=platform,
        host=view.info.host,
        pid=view.info.pid,
        connected=timestamp(view.connected_at, offset_ns),
        guarantees=view.info.guarantees,
        health=view.health,
        ailment=view.ailment,
        capacity=[amount_text(*pair) for pair in view.info.capacity],
        free=[amount_text(*pair) for pair in view.free],
        persistent_workers=view.persistent_workers,
        backlog=view.backlog,
    )


def _action(view: ActionView, offset_ns: int) -> pb.Action:
    return pb.Action(
        operation=view.operation,
        action=path_of(digest_of_key(view.key)),
        stage=view.stage.name.lower(),
        reason=view.reason.sentence,
        reason_code=view.reason.code.value,
        worker=view.worker,
        target=view.client.target,
        mnemonic=view.client.mnemonic,
        queued=timestamp(view.queued_at, offset_ns),
        priority=view.priority,
        tool=view.client.tool,
        invocation=view.client.invocation,
        instance=view.key.instance,
    )
