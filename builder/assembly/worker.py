"""One worker from the settings: sandbox, caches, a channel to the coordinator, the program."""

import math
import os
import platform
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import trio

from builder.assembly.dial import Access, open_channel, worker_access
from builder.assembly.images import image_platform, open_images
from builder.assembly.leftovers import set_aside
from builder.assembly.parent import watch_parent
from builder.assembly.peers import PeerSetup, open_peers, peer_setup
from builder.assembly.signals import obey_signals
from builder.assembly.tracing import open_tracer
from builder.base.errors import UsageError
from builder.base.version import VERSION
from builder.config.settings import Images as ImageSettings
from builder.config.settings import Settings, Tracing
from builder.config.settings import Worker as WorkerSettings
from builder.host.facts import os_family, usable_cores
from builder.host.lock import take_soon
from builder.host.removal import remove_tree
from builder.images.interface import ImageStore
from builder.net.channel import Channel
from builder.providers.notices import wait_for_notice
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.sandbox.interface import AuditLevel, Limits, Network, Sandbox
from builder.sandbox.opening import NATIVE, open_sandbox
from builder.schedule.resources import CPU, DISK, MEMORY, MILLI, amounts
from builder.stores.remote import RemoteBlobStore
from builder.telemetry.clock import SystemClock
from builder.telemetry.log import get_logger
from builder.worker.auditing import Auditing
from builder.worker.closing import Close, closer
from builder.worker.imaged import PROPERTY as IMAGE
from builder.worker.inputs import InputCache
from builder.worker.job import Job, Report
from builder.worker.persistent.pool import Recycling
from builder.worker.persistent.workers import PersistentWorkers, open_persistent
from builder.worker.program import Identity, WorkerProgram
from builder.worker.runner import PASSABLE, ActionRunner, Policy

log = get_logger()
ISA = {"x86_64": "x86-64", "aarch64": "arm-a64", "riscv64": "riscv64"}
LOCK_PATIENCE_S = 10.0
MOST_READY = 32  # sandboxes that wait for an action; each takes 0.6 MB


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Everything that a worker is made of, as plain values."""

    name: str
    coordinator: str
    scratch: Path
    slots: int
    platform: Mapping[str, str]
    cache_bytes: int
    drain_grace_s: float
    policy: Policy = field(default_factory=Policy)
    join_token: str = ""
    access: Access = field(default_factory=Access)
    read_only: tuple[str, ...] = ()
    root: str = ""
    runtime: str = NATIVE
    notices: str = "none"  # of which cloud to ask whether it wants this machine back
    metadata_endpoint: str | None = None
    best_effort: bool = False
    reuse: bool = False
    capacity: tuple[tuple[str, int], ...] = ()
    tracing: Tracing = field(default_factory=Tracing)
    recycling: Recycling = field(default_factory=Recycling)
    images: ImageSettings = field(default_factory=ImageSettings)
    peers: PeerSetup | None = None  # of work stealing


def own_cores() -> int:
    """How many cores this process may use."""
    return usable_cores()


def capacity_of(worker: WorkerSettings) -> tuple[tuple[str, int], ...]:
    """What the settings say of countable resources; what they do not say is taken to be enough."""
    said = [
        (CPU, None if worker.cpu is None else round(worker.cpu * MILLI)),
        (MEMORY, worker.memory),
        (DISK, worker.disk),
        *((one.name, one.count) for one in worker.resources),
    ]
    return amounts((name, amount) for name, amount in said if amount)


def own_platform(pool: str) -> dict[str, str]:
    """What a worker on this host is, in the words of REAPI's platform properties."""
    machine = platform.machine()
    family = os_family(platform.system())
    return {"OSFamily": family, "ISA": ISA.get(machine, machine), "Pool": pool}


def platform_of(settings: Settings, pool: str, worker: WorkerSettings) -> dict[str, str]:
    """What a worker of a pool offers: its host, its images, and what its settings declare."""
    images = image_platform(settings.sandbox.images)
    return {**own_platform(pool), **images, **worker.platform}


def policy_of(settings: Settings) -> Policy:
    limits = settings.sandbox.limits
    return Policy(
        limits=Limits(
            grace_s=limits.grace,
            memory_bytes=limits.memory,
            cpu_cores=limits.cpu_cores,
            processes=limits.processes,
            open_files=limits.open_files,
            file_bytes=limits.file_size,
            output_bytes=limits.output_size,
            disk_bytes=limits.disk_size,
            disk_files=limits.disk_files,
            cpu_s=limits.cpu_time,
        ),
        network=Network(settings.sandbox.network),
        own_image=settings.worker.platform.get(IMAGE, ""),
        required=frozenset(settings.sandbox.required),
        auditing=auditing_of(settings),
        inputs_as_root=settings.sandbox.inputs_as_root,
    )


def auditing_of(settings: Settings) -> Auditing:
    audit = settings.sandbox.audit
    return Auditing(None if audit.mode == "off" else AuditLevel(audit.mode), audit.sample)


def check_audit(level: AuditLevel | None, sandbox: Sandbox) -> None:
    """Raises UsageError where no action could be audited as the settings want it."""
    if level is not None and "mount-namespace" not in sandbox.guarantees:
        raise UsageError(
            f"sandbox.audit.mode is {level.value}, and this host has no sandbox to audit in "
            "(`builder doctor` says why); set it to off for this worker"
        )
    if level is AuditLevel.CHEAP and os.getuid() != 0:
        raise UsageError(
            "sandbox.audit.mode is cheap, which needs root (fanotify on mounts); set it to full, "
            "which every user has"
        )


def recycling_of(settings: Settings) -> Recycling:
    persistent = settings.worker.persistent
    return Recycling(
        processes=persistent.processes,
        max_requests=persistent.max_requests,
        max_age_s=persistent.max_age,
        max_idle_s=persistent.max_idle,
        max_memory_bytes=persistent.max_memory,
    )


def is_best_effort(settings: Settings) -> bool:
    """Whether actions run here with less than isolation when the host has no more."""
    return settings.sandbox.isolation == "best-effort"


def is_reusing(settings: Settings) -> bool:
    """Whether actions that name the same trust domain may have one sandbox after the other."""
    return settings.sandbox.reuse == "trusted"


def worker_setup(settings: Settings) -> WorkerSetup:
    worker = settings.worker
    token, access = worker.join_token, worker_access(worker)
    return WorkerSetup(
        name=worker.name or f"{socket.gethostname()}-{os.getpid()}",
        coordinator=str(worker.coordinator),
        scratch=Path(worker.scratch),
        slots=worker.slots or own_cores(),
        platform=platform_of(settings, settings.pool.name, worker),
        cache_bytes=worker.cache_size,
        drain_grace_s=worker.drain_grace,
        policy=policy_of(settings),
        join_token=token.reveal() if token is not None else "",
        access=access,
        read_only=settings.sandbox.read_only_paths,
        root=settings.sandbox.root or "",
        runtime=settings.sandbox.runtime,
        notices=worker.notices,
        metadata_endpoint=worker.metadata_endpoint,
        best_effort=is_best_effort(settings),
        reuse=is_reusing(settings),
        capacity=capacity_of(worker),
        tracing=settings.tracing,
        recycling=recycling_of(settings),
        images=settings.sandbox.images,
        peers=peer_setup(settings, access),
    )


def make_passable(scratch: Path) -> None:
    """Let another user pass through to what is beneath, where actions see the host's own files.

    Raises UsageError when a directory above, which is not ours to open, is in the way.
    """
    scratch.chmod(PASSABLE)
    for above in scratch.resolve().parents:
        if os.getuid() == 0 and not above.stat().st_mode & 0o001:
            raise UsageError(
                f"worker directory {scratch}: without namespaces actions run as another user, who "
                f"cannot pass through {above}; set worker.scratch to a directory elsewhere"
            )


class Load:
    """The fractions of this host's CPU and memory that are in use, since the last call."""

    def __call__(self) -> tuple[float, float]:
        return psutil.cpu_percent() / 100, psutil.virtual_memory().percent / 100


class Runners:
    """One runner for each instance name, over shared caches: blobs are asked for by instance."""

    def __init__(
        self,
        setup: WorkerSetup,
        channel: Channel,
        sandbox: Sandbox,
        close: Close,
        persistent: PersistentWorkers,
        images: ImageStore | None,
    ) -> None:
        self._setup = setup
        self._channel = channel
        self._sandbox = sandbox
        self._close = close
        self._persistent = persistent
        self._images = images
        self._inputs = InputCache(setup.scratch / "cache", setup.cache_bytes)
        self._runners: dict[str, ActionRunner] = {}

    async def run(self, instance: str, job: Job, report: Report) -> pb.ExecuteResponse:
        if instance not in self._runners:
            self._runners[instance] = ActionRunner(
                self._setup.name,
                RemoteBlobStore(self._channel, instance),
                self._sandbox,
                self._inputs,
                self._setup.scratch / "actions",
                SystemClock(),
                self._setup.policy,
                self._close,
                self._persistent,
                instance,
                self._images,
            )
        return await self._runners[instance].run(job, report)


def discard(cache: Path) -> None:
    """Nobody else would: a worker of its own removes its cache itself."""
    remove_tree(str(cache))


@asynccontextmanager
async def open_worker(
    setup: WorkerSetup, sandbox: Sandbox, discard: Callable[[Path], None] = discard
) -> AsyncIterator[WorkerProgram]:
    """A worker that is ready to run: `await program.run()`. `discard` takes its cache at the end.

    Raises UsageError when another process has the scratch directory.
    """
    check_audit(setup.policy.auditing.level, sandbox)
    lock = await take_soon(setup.scratch, "worker directory", LOCK_PATIENCE_S)
    try:
        if "mount-namespace" not in sandbox.guarantees:
            make_passable(setup.scratch)
        async with (
            open_channel(setup.coordinator, setup.access) as channel,
            open_images(setup.images) as images,
            closer() as close,
            open_tracer(setup.tracing, "worker", setup.name) as tracer,
            open_persistent(sandbox, setup.scratch / "actions", setup.recycling) as persistent,
            AsyncExitStack() as stack,
        ):
            stealing = None
            if setup.peers is not None:
                stealing = await stack.enter_async_context(open_peers(setup.peers))
            remove_tree(str(setup.scratch / "actions"))
            runners = Runners(setup, channel, sandbox, close, persistent, images)
            identity = Identity(
                name=setup.name,
                slots=setup.slots,
                platform=setup.platform,
                backend=sandbox.backend,
                guarantees=sandbox.guarantees,
                version=VERSION,
                host=socket.gethostname(),
                pid=os.getpid(),
                join_token=setup.join_token,
                capacity=setup.capacity,
            )
            yield WorkerProgram(
                identity,
                channel,
                runners.run,
                Load(),
                random.random,
                tracer,
                lambda: persistent.names,
                stealing,
            )
    finally:
        remove_tree(str(setup.scratch / "actions"))
        discard(setup.scratch / "cache")
        os.close(lock)


async def run_worker(setup: WorkerSetup, *, exit_with_stdin: bool = False) -> None:
    """A whole worker process: until it is drained, or told twice to stop, or orphaned."""
    program: WorkerProgram | None = None

    def drain(why: str, grace_s: float = setup.drain_grace_s) -> None:
        if program is None:  # nothing is taken yet
            nursery.cancel_scope.cancel()
        else:
            program.drain(why, min(grace_s, setup.drain_grace_s))

    async def heed_notices() -> None:
        notice = await wait_for_notice(setup.notices, setup.metadata_endpoint)
        log.warning("This machine is wanted back", why=notice.why, grace_s=notice.grace_s)
        drain(notice.why, math.inf if notice.grace_s is None else notice.grace_s)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey_signals, drain, nursery.cancel_scope.cancel)
        if setup.notices != "none":
            nursery.start_soon(heed_notices)
        if exit_with_stdin:
            watch_parent(nursery.cancel_scope.cancel)
        async with (
            open_sandbox(
                read_only=setup.read_only,
                ready=min(setup.slots + 1, MOST_READY),
                root=setup.root,
                runtime=setup.runtime,
                best_effort=setup.best_effort,
                reuse=setup.reuse,
            ) as sandbox,
            open_worker(setup, sandbox, set_aside if exit_with_stdin else discard) as program,
        ):
            await program.run()
        nursery.cancel_scope.cancel()
