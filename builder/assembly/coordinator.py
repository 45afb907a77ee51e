"""The coordinator from the settings: scheduler, every gRPC service, and their listeners."""

import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from builder.assembly import figures, upload_quotas
from builder.assembly.figures import Calls, Sources, Stages, store_states
from builder.assembly.guard import Guard, open_guard
from builder.assembly.journal import open_journal
from builder.assembly.ports import Ports, open_ports, upkeep_of, wire_limits
from builder.assembly.services import Kept, admission_of, api_services, new_id
from builder.assembly.stores import Stores, open_stores
from builder.assembly.tier_figures import TierFigures, tier_states
from builder.assembly.tracing import open_tracer
from builder.assembly.wellbeing import Wellbeing
from builder.assembly.worker import capacity_of, platform_of
from builder.base.version import VERSION
from builder.builds.index import Builds
from builder.config.pools import every_pool
from builder.config.settings import Scheduler as SchedulerSettings
from builder.config.settings import Settings
from builder.config.settings import Worker as WorkerSettings
from builder.host import heap
from builder.net.hooks import Hooks as CallHooks
from builder.net.rpc import Service
from builder.net.server import Server, serve
from builder.reapi.pb import control_pb2
from builder.schedule.events import (
    DrainRequested,
    OperationsRestored,
    ShutdownStarted,
    WorkerVanished,
)
from builder.schedule.machine import Machine
from builder.schedule.platform import Offer
from builder.schedule.policy import Policy
from builder.schedule.quotas import Quota
from builder.server.admission import Admission
from builder.server.control import Around, ControlService
from builder.server.counted import bounded
from builder.server.execution import CacheFigures
from builder.server.health import HealthService
from builder.server.journal import FileJournal
from builder.server.live_output import LiveOutput
from builder.server.quotas import Quotas
from builder.server.reflection import ReflectionService
from builder.server.rerunning import Rerunner
from builder.server.scheduler import Scheduler
from builder.telemetry.metrics import Metrics
from builder.telemetry.trace_file import TraceFile
from builder.telemetry.wellbeing import COMPONENTS

LOOK_EVERY_S = 0.05  # while draining
DRAIN_S = 2.0  # for open calls that move no data, once no action runs any more
MOVING = (
    "/google.bytestream.",
    "/build.bazel.remote.asset.",
    "/build.bazel.remote.execution.v2.ActionCache/",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/",
)
BYTES_PER_FINISHED = 4096  # of memory that an operation takes that has ended, at the least


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the coordinator asks of those around it, and tells them."""

    joined: Callable[[str], None] = lambda _name: None
    pools: Callable[[], Sequence[control_pb2.PoolState]] = tuple
    problems: Callable[[], Sequence[str]] = tuple
    hold: Callable[[str, int | None], None] | None = None


@dataclass(slots=True)
class Coordinator:
    """A coordinator that serves. Addresses are those bound, never port 0; `inside` is for workers
    of our own on this host."""

    scheduler: Scheduler
    stores: Stores
    control: ControlService
    health: HealthService
    metrics: Metrics
    builds: Builds
    guard: Guard
    wellbeing: Wellbeing
    live: LiveOutput
    quotas: Quotas
    rerunner: Rerunner
    coordinator: str
    reapi: str
    inside: str
    servers: list[Server] = field(default_factory=list)
    taking: bool = False
    until: float = 0.0  # trio's time, of the end: what moves data may go on until then
    services: Sequence[Service] = ()  # everything that is registered

    def ready(self) -> None:
        self.taking = True
        self.health.set(self.wellbeing.is_ready())

    def is_ready(self) -> bool:
        return self.taking and self.wellbeing.is_ready()

    def status(self) -> control_pb2.Status:
        return self.control.status(details=False)

    def worker_vanished(self, name: str, why: str) -> None:
        """Somebody who knows says that this worker is gone: its actions need not wait for it."""
        self.scheduler.post(WorkerVanished(name, why))

    async def finish(self, grace_s: float) -> None:
        """From now on no action is taken; wait for those that run, at most so long.

        Workers that are not done by then hand back what they run.
        """
        self.taking = False
        self.until = trio.current_time() + grace_s
        self.health.set(False)
        self.scheduler.post(ShutdownStarted())
        with trio.move_on_after(grace_s) as scope:
            while self.scheduler.snapshot().executing:  # noqa: ASYNC110 - a view has no event
                await trio.sleep(LOOK_EVERY_S)
        if scope.cancelled_caught:
            for worker in self.scheduler.snapshot().workers:
                self.scheduler.post(DrainRequested(worker.info.name, 0.0, "the service stops"))

    async def drain(self) -> None:
        """Let open calls end for a moment, and those that move data in what is left of the time of
        `finish`; then close every connection."""
        busy_s = self.until - trio.current_time()
        async with trio.open_nursery() as nursery:
            for server in self.servers:
                nursery.start_soon(server.drain, DRAIN_S, busy_s, _moves_data)


def _moves_data(path: str) -> bool:
    """Calls that end when all is there; others wait for what happens, and may do so for ever."""
    return path.startswith(MOVING)


def scheduling(settings: SchedulerSettings) -> Policy:
    return Policy(
        heartbeat_interval_s=settings.heartbeat_interval,
        heartbeat_timeout_s=settings.heartbeat_timeout,
        reconnect_grace_s=settings.reconnect_grace,
        abandon_grace_s=settings.abandon_grace,
        infrastructure_retries=settings.infrastructure_retries,
        retry_delay_s=settings.retry_delay,
        priorities=(settings.priority_min, settings.priority_max),
        age_s_per_priority=settings.age_per_priority,
        shares={one.user: one.weight for one in settings.shares},
        quotas={one.instance: Quota(one.running, one.queued) for one in settings.quotas},
        preempt_after_s=settings.preempt_after,
        learn_sizes=settings.learn_sizes,
        failed_rest_s=settings.failed_rest,
        backlog=settings.stealing.backlog if settings.work_stealing else 0,
        hedge=settings.hedge,
        hedge_after_s=settings.hedge_after,
        finished_kept_s=settings.keep_finished,
        finished_kept=settings.keep_finished_memory // BYTES_PER_FINISHED,
        finished_kept_bytes=settings.keep_finished_memory,
        unserved_timeout_s=settings.unserved_timeout,
        strict_platform=settings.strict_platform,
        most_queued=settings.max_queued,
    )


def pools(settings: Settings) -> list[Offer]:
    """What the configured pools promise; a role without one promises nothing."""
    return [_offer(settings, one.pool.name, one.worker) for one in every_pool(settings)]


def _offer(settings: Settings, pool: str, worker: WorkerSettings) -> Offer:
    platform = platform_of(settings, pool, worker)
    return Offer.of(pool, platform.items(), capacity_of(worker))


def _machine(settings: Settings, *, journaled: bool) -> Machine:
    policy = replace(scheduling(settings.scheduler), remember=journaled)
    return Machine(policy, pools(settings))


def _with_health(services: list[Service]) -> tuple[list[Service], HealthService]:
    """The services, and those that speak of them: health and reflection."""
    names = [service.name for service in services]
    health = HealthService(names, COMPONENTS)
    every = [*services, health.service()]
    reflection = ReflectionService([service.name for service in every])
    return [*every, *reflection.services()], health


def _around(hooks: Hooks, wellbeing: Wellbeing, stores: Stores, quotas: Quotas) -> Around:
    """What operators see and steer beside the scheduler."""
    return Around(
        VERSION,
        time.time_ns,
        hooks.pools,
        wellbeing.sentences,
        hooks.hold,
        partial(store_states, stores),
        partial(upload_quotas.usage, quotas),
        partial(tier_states, stores.tiers),
        kept=stores.about,
    )


def _metrics(
    sources: Sources, stores: Stores, quotas: Quotas, journal: FileJournal | None
) -> Metrics:
    metrics = Metrics()
    metrics.add(sources.families)
    metrics.add(TierFigures(stores.tiers, metrics).families)
    metrics.add(partial(upload_quotas.families, quotas))
    if journal is not None:
        metrics.add(partial(figures.journal, journal))
    return metrics


def _rerunner(
    settings: Settings, scheduler: Scheduler, stores: Stores, nursery: trio.Nursery
) -> Rerunner:
    def admission(instance: str) -> Admission:
        return admission_of(settings, stores.of(instance))

    return Rerunner(scheduler, admission, time.time_ns, nursery)


async def _serve(
    made: Coordinator, ports: Ports, calls: Calls, settings: Settings, nursery: trio.Nursery
) -> None:
    """At all ports, for as long as the nursery lasts."""
    hooks = CallHooks(made.guard.authorize, calls.observe, calls.ended, calls.limit_hit)
    limits, upkeep = wire_limits(settings.reapi.limits), upkeep_of(settings.reapi.connections)
    start = partial(serve, made.services, limits=limits, hooks=hooks, upkeep=upkeep)
    for group in ports.groups:
        made.servers.append(await nursery.start(start, group))


@contextmanager
def _observers(settings: Settings, metrics: Metrics) -> Iterator[Callable[[bytes], None]]:
    """Who hears of each result that a worker has sent. Raises UsageError."""
    stages = Stages(metrics).observe
    if settings.pool.record is None:
        yield stages
        return
    with closing(TraceFile(Path(settings.pool.record), time.time_ns)) as trace:

        def observe(response: bytes) -> None:
            stages(response)
            trace.observe(response)

        yield observe


@asynccontextmanager
async def open_coordinator(
    settings: Settings, hooks: Hooks | None = None
) -> AsyncIterator[Coordinator]:
    """A coordinator whose ports are open. Raises UsageError for a port or directory in use."""
    hooks = hooks or Hooks()
    heap.keep_freed()
    guard = open_guard(settings)
    async with AsyncExitStack() as stack:
        quotas, load_usage = stack.enter_context(upload_quotas.open_quotas(settings.store))
        opened = open_stores(settings.store, settings.storage, quotas or None)
        stores = await stack.enter_async_context(opened)
        journal, left = stack.enter_context(open_journal(settings.store))
        tracing = open_tracer(settings.tracing, "coordinator", socket.gethostname())
        tracer = await stack.enter_async_context(tracing)
        ports = await stack.enter_async_context(open_ports(settings, guard))
        nursery = await stack.enter_async_context(trio.open_nursery())
        machine = _machine(settings, journaled=journal is not None)
        scheduler = Scheduler(machine, stores.every_cache(), new_id, hooks.joined, journal)
        scheduler.post(OperationsRestored(left))
        cache = CacheFigures()
        wellbeing = Wellbeing(settings, scheduler, hooks.problems, stores=stores)
        about = _around(hooks, wellbeing, stores, quotas)
        control, builds = ControlService(scheduler, cache, about, stores.blobs_of), Builds()
        live = LiveOutput(scheduler, stores.blobs_of, new_id)
        kept = Kept(cache, scheduler.history.lookups, builds, live, tracer, guard.who)
        apis = bounded(api_services(settings, stores, scheduler, kept), quotas)
        every, health = _with_health([*apis, control.service()])
        calls = Calls(method.path for service in every for method in service.methods)
        full = [(tier.name, tier.held) for tier in stores.tiers if tier.held is not None]
        sources = Sources(scheduler, cache, full, calls, hooks.pools, lambda: wellbeing.problems)
        metrics = _metrics(sources, stores, quotas, journal)
        scheduler.history.ended = stack.enter_context(_observers(settings, metrics))
        await nursery.start(scheduler.run)
        nursery.start_soon(stores.run)
        nursery.start_soon(load_usage)
        made = Coordinator(
            scheduler,
            stores,
            control,
            health,
            metrics,
            builds,
            guard,
            wellbeing,
            live,
            quotas,
            _rerunner(settings, scheduler, stores, nursery),
            ports.coordinator[0].address,
            ports.reapi[0].address,
            ports.inside,
            services=every,
        )
        await _serve(made, ports, calls, settings, nursery)
        nursery.start_soon(guard.keep_fresh)
        nursery.start_soon(wellbeing.run, health, lambda: made.taking)
        try:
            yield made
        finally:
            nursery.cancel_scope.cancel()
