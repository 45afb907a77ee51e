"""The build client's objects: where targets are built, out of settings.

    here      this process: a store in the project's `.builder`, the worker's parts, the sandbox
    local     a whole service inside this process, reached as any other
    remote    a coordinator

What is not needed is not made: a build that is served from the cache starts no sandbox.
"""

import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from builder.assembly.project import Opened, open_project
from builder.client.build import Build, Summary
from builder.client.console import Console
from builder.client.executor import Place
from builder.client.listening import Listening, lines
from builder.client.receipt import Away, Said
from builder.client.state import StateDirectory
from builder.client.target import Choices, TargetBuilder
from builder.client.walk import Walker
from builder.client.workspace import Workspace
from builder.config.settings import Settings
from builder.project.graph import Graph
from builder.project.model import Target

if TYPE_CHECKING:
    from builder.assembly.dial import Access

FAILED = 1
SIGNALLED = 128  # plus the signal's number, as shells say it
LOCAL = "local"
TOKEN, TLS = "BUILDER_TOKEN", "grpcs://"
REMOTE_JOBS = 64  # beyond it, queueing is the server's business
ISAS = {"x86_64": "x86-64", "aarch64": "arm-a64"}
HERE, AWAY = "here", "away"
MAX_BATCH = 4 * 1024 * 1024 - 64 * 1024  # what one gRPC message takes everywhere


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for. `remote`: False, True (the settings' coordinator), local.

    `arguments`: the command line itself, when the same one may be answered by a receipt of this
    build the next time; `read` are the files that it was read from, by absolute path.
    `listening`: who hears of it, and where its lines go. `fresh` are targets that run
    whatever the cache holds; `audit`: the level at which all are audited.
    """

    targets: tuple[str, ...] = ()
    directory: Path = field(default_factory=Path.cwd)
    remote: bool | str = False
    keep_going: bool = False
    jobs: int = 0
    use_cache: bool = True
    started: float = field(default_factory=time.monotonic)
    arguments: tuple[str, ...] | None = None
    read: tuple[str, ...] = ()
    fresh: frozenset[str] = frozenset()
    audit: str | None = None
    listening: Listening = field(default_factory=lines)


@dataclass(frozen=True, slots=True)
class Plan:
    """A request with its project."""

    request: Request
    settings: Settings
    root: Path
    graph: Graph
    names: tuple[str, ...]
    walker: Walker | None = None

    @property
    def targets(self) -> list[Target]:
        """All that have to be built, groups left out."""
        every = self.graph.project.targets
        closure = self.graph.closure(self.names)
        return [every[name] for name in closure if every[name].arguments]


@dataclass(frozen=True, slots=True)
class Finished:
    """`code` is the command's; `summary` is None for a build that was interrupted."""

    code: int
    summary: Summary | None


def run(request: Request, settings: Settings, opened: Opened | None = None) -> Finished:
    """The whole build; `opened` spares opening the project again. Raises BuilderError."""
    project = opened or open_project(request.directory)
    names = tuple(project.graph.select(request.targets))
    plan = Plan(request, settings, project.root, project.graph, names, project.walker)
    return trio.run(_run, plan)


async def _run(plan: Plan) -> Finished:
    """Until the build ends or a signal ends it.

    A signal cancels what is being built; the places close after that, in peace, because they
    have to see their actions end. A second signal, or one before anything is built, cancels all.
    """
    stopped: list[int] = []
    opened: list[Build] = []
    summary: Summary | None = None
    building = trio.CancelScope()
    heard = plan.request.listening
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                async for number in signals:
                    stopped.append(number)
                    first = opened and len(stopped) == 1
                    (building if first else nursery.cancel_scope).cancel()

            nursery.start_soon(stop)
            if heard.live is not None:
                nursery.start_soon(heard.live.show)
            async with open_build(plan) as build:
                opened.append(build)
                with building:
                    summary = await build.run(plan.names)
                    if not summary.failed:
                        await trio.to_thread.run_sync(_keep_receipt, plan, build, summary)
            nursery.cancel_scope.cancel()
    heard.finish()
    if stopped:
        sys.stderr.write("[ERROR] Build interrupted\n")
        return Finished(SIGNALLED + stopped[0], None)
    assert summary is not None
    return Finished(FAILED if summary.failed else 0, summary)


@asynccontextmanager
async def open_build(plan: Plan) -> AsyncIterator[Build]:
    """A build with the places that its targets need."""
    request = plan.request
    console = Console(
        request.listening.out,
        request.listening.err,
        several=len(plan.targets) > 1,
        listeners=request.listening.listeners,
        started=request.started,
    )
    state = StateDirectory(plan.root)
    async with AsyncExitStack() as stack:
        places = {
            kind: await stack.enter_async_context(_place(kind, plan, state, console))
            for kind in dict.fromkeys(_kind(target, request) for target in plan.targets)
        }
        # One for the whole build, since files go from one place to the other; here takes them all.
        function = places[AWAY].function if AWAY in places else "sha256"
        workspace = Workspace(plan.root, plan.graph, function, plan.walker)
        choices = Choices(platform(), request.use_cache, function, request.fresh, request.audit)
        builders = {
            kind: TargetBuilder(place, workspace, console, choices)
            for kind, place in places.items()
        }
        yield Build(
            plan.graph,
            workspace,
            console,
            lambda target: builders[_kind(target, request)],
            _jobs(plan, builders),
            request.keep_going,
            request.started,
        )


def _keep_receipt(plan: Plan, build: Build, summary: Summary) -> None:
    """So that the same command need not do all this again while nothing changes."""
    request = plan.request
    if request.arguments is None or not request.use_cache:
        return
    if request.audit or not all(t.cache and not t.hermetic.audit for t in plan.targets):
        return
    said = []
    for target in plan.targets:
        built = summary.built[target.name]
        texts = build.console.wording(target.name, built.streams)
        said.append(Said(target.name, built.stored_at, *texts, built.action, built.entries))
    command = (list(request.arguments), Path(plan.graph.project.source.source).name)
    made = [built.entries for built in summary.built.values()]
    read = [*request.read, *(str(Path(name).absolute()) for name in plan.graph.project.files)]
    build.workspace.receipt(command, request.started, read, made, said, _away(plan))


def _away(plan: Plan) -> Away:
    """Where `warm` could bring outputs back from: a server that it can speak with."""
    client = plan.settings.client
    address = str(client.coordinator)
    away = plan.request.remote is True and all(target.remote for target in plan.targets)
    known = client.token is None or client.token.reveal() == os.environ.get(TOKEN)
    return (address, client.instance) if away and known and not address.startswith(TLS) else None


def _kind(target: Target, request: Request) -> str:
    return AWAY if request.remote and target.remote else HERE


def _jobs(plan: Plan, builders: Mapping[str, TargetBuilder]) -> int:
    given = plan.request.jobs or plan.settings.client.jobs
    most_here = len(os.sched_getaffinity(0))
    return given or (REMOTE_JOBS if AWAY in builders else most_here)


@asynccontextmanager
async def _place(
    kind: str, plan: Plan, state: StateDirectory, console: Console
) -> AsyncIterator[Place]:
    if kind == HERE:
        from builder.assembly.here import here  # late: a remote build does without

        async with here(state.path / "local", plan.settings, console.greet) as place:
            yield place
    elif plan.request.remote == LOCAL:
        from builder.assembly.dial import Access
        from builder.assembly.local import local_service  # late: it is the whole service
        from builder.telemetry.log import configure

        configure("warning", plan.settings.logging.format, sys.stderr)
        async with (
            local_service(plan.settings) as address,
            _remote(address, "in this process", plan.settings, Access()) as place,
        ):
            yield place
    else:
        from builder.assembly.dial import client_access

        client = plan.settings.client
        access = client_access(client)
        async with _remote(str(client.coordinator), "", plan.settings, access) as place:
            yield place


@asynccontextmanager
async def _remote(
    address: str, remark: str, settings: Settings, access: "Access"
) -> AsyncIterator[Place]:
    """Raises BuilderError when no coordinator answers there."""
    from builder.assembly.dial import open_channel
    from builder.assembly.tracing import open_tracer
    from builder.client.remote import RemoteExecutor, first_contact, served_function
    from builder.stores.remote import RemoteActionCache, RemoteBlobStore

    instance, invocation = settings.client.instance, str(uuid.uuid4())
    async with (
        open_tracer(settings.tracing, "client", invocation) as tracer,
        open_channel(address, access) as channel,
    ):
        capabilities = await first_contact(channel, address, instance)
        batch = capabilities.cache_capabilities.max_batch_total_size_bytes
        blobs = (
            RemoteBlobStore(channel, instance, min(batch, MAX_BATCH))
            if batch
            else RemoteBlobStore(channel, instance)
        )
        shown = f"{address}, {remark}" if remark else address
        with tracer.span("bldr build") as span:
            yield Place(
                f"Using remote execution (coordinator: {shown})",
                True,
                blobs,
                RemoteActionCache(channel),
                RemoteExecutor(
                    channel, capabilities, instance, invocation, tracer, span.traceparent
                ),
                instance,
                served_function(capabilities),
            )


def platform() -> tuple[tuple[str, str], ...]:
    """What this machine's commands are written for, in REAPI's words."""
    machine = os.uname()
    isa = ISAS.get(machine.machine, machine.machine)
    return (("OSFamily", machine.sysname.lower()), ("ISA", isa))
