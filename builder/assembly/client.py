"""The build client's objects, out of settings, and a build from its start to its end.

What is not needed is not made: a build that is served from the cache starts no sandbox.
"""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from builder.assembly.places import open_away, open_here, open_inside
from builder.assembly.project import Opened, open_project
from builder.base.errors import BuilderError, UsageError
from builder.client.build import Build, Summary
from builder.client.console import Console
from builder.client.executor import Place
from builder.client.listening import Listening, lines
from builder.client.receipt import Away, Said
from builder.client.retry import pauses, soon
from builder.client.scan import Made
from builder.client.sharing import Sharing, TargetPlace
from builder.client.state import StateDirectory
from builder.client.target import Built, Choices, TargetBuilder
from builder.client.walk import Walker
from builder.client.workspace import Workspace
from builder.config.settings import Settings
from builder.project.graph import Graph
from builder.project.model import Target
from builder.project.query import members

FAILED = 1
SIGNALLED = 128  # plus the signal's number, as shells say it
LOCAL, AUTO = "local", "auto"
TOKEN, TLS = "BUILDER_TOKEN", "grpcs://"
REMOTE_JOBS = 64  # beyond it, queueing is the server's business
ISAS = {"x86_64": "x86-64", "aarch64": "arm-a64"}


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for. `remote`: False, True (the settings' coordinator), local, or
    auto (here and there). `fallback`: whether it may be built here when the coordinator is away;
    `download`: whose outputs are wanted here, of all targets, of those asked for (outputs), none.

    `arguments`: the command line itself, when the same one may be answered by a receipt of this
    build the next time; `read` are the files that it was read from, by absolute path.
    `listening`: who hears of it, and where its lines go. `fresh` are targets that run
    whatever the cache holds, with `variables` more, and if possible not on the workers of `avoid`;
    `audit`: the level at which all are audited.
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
    variables: Mapping[str, str] = field(default_factory=dict)
    avoid: tuple[str, ...] = ()
    audit: str | None = None
    download: str = "all"
    fallback: bool = False
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

    @property
    def falls_back(self) -> bool:
        """Whether a coordinator that is away is no failure."""
        return self.request.remote == AUTO or (self.request.fallback and bool(self.request.remote))

    def is_away(self, target: Target) -> bool:
        """Whether it is for a coordinator."""
        return bool(self.request.remote) and target.remote


@dataclass(frozen=True, slots=True)
class Finished:
    """`code` is the command's; `summary` is None for a build that was interrupted."""

    code: int
    summary: Summary | None


def run(
    request: Request,
    settings: Settings,
    opened: Opened | None = None,
    chosen: Iterable[str] | None = None,
) -> Finished:
    """The whole build; `opened` spares opening the project again, `chosen` are full names in the
    place of the request's targets. Raises BuilderError."""
    project = opened or open_project(request.directory)
    names = tuple(project.graph.select(request.targets) if chosen is None else chosen)
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
    async with AsyncExitStack() as stack:
        here, away = await _places(plan, console, stack)
        # One for the whole build, since files go from one place to the other; here takes them all.
        function = away.function if away else "sha256"
        workspace = Workspace(plan.root, plan.graph, function, plan.walker)
        choices = Choices(
            platform(),
            request.use_cache,
            function,
            request.fresh,
            request.audit,
            _landed(plan),
            request.variables,
            request.avoid,
        )
        patience = soon if plan.falls_back else pauses
        builders = [
            TargetBuilder(place, workspace, console, choices, patience) if place else None
            for place in (here, away)
        ]
        place = _shared(plan, console, *builders)
        jobs = _jobs(plan, away=away is not None)
        yield Build(
            plan.graph, workspace, console, place, jobs, request.keep_going, request.started
        )


async def _places(
    plan: Plan, console: Console, stack: AsyncExitStack
) -> tuple[Place | None, Place | None]:
    """Here and away, as far as they are needed."""
    request, settings = plan.request, plan.settings
    here = away = None
    if plan.falls_back or not all(plan.is_away(target) for target in plan.targets):
        state = StateDirectory(plan.root).path
        here = await stack.enter_async_context(open_here(state, settings, console.greet))
    if any(plan.is_away(target) for target in plan.targets):
        opening = (
            open_inside(settings)
            if request.remote == LOCAL
            else open_away(settings, soon if plan.falls_back else pauses)
        )
        try:
            away = await stack.enter_async_context(opening)
        except UsageError:
            raise
        except BuilderError as error:
            if not plan.falls_back:
                raise
            console.fell_back(str(error).partition(";")[0])
    return here, away


def _shared(
    plan: Plan, console: Console, here: TargetBuilder | None, away: TargetBuilder | None
) -> TargetPlace:
    if here is None or away is None:
        found = away or here
        assert found is not None or not plan.targets
        return found or Nowhere()
    limit = trio.CapacityLimiter(_most_here())
    return Sharing(here, away, plan.request.remote == AUTO, limit, console.fell_back)


class Nowhere:
    """For a build of groups alone."""

    async def build(self, target: Target, _made: Made) -> Built:
        raise AssertionError(f"{target.name} has nothing to build")


def _landed(plan: Plan) -> frozenset[str] | None:
    """The targets whose outputs are wanted in the project; None for all."""
    if plan.request.download == "all":
        return None
    every = plan.graph.project.targets
    asked = members(plan.graph, plan.names) if plan.request.download == "outputs" else []
    local = [target.name for target in plan.targets if not plan.is_away(target)]
    needed = [name for one in local for name in plan.graph.needs[one]]
    return frozenset([*asked, *(n for n in members(plan.graph, needed) if every[n].arguments)])


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
        said.append(Said(target.name, built.stored_at, *texts, built.action, built.landed))
    command = (list(request.arguments), Path(plan.graph.project.source.source).name)
    made = [built.landed for built in summary.built.values()]
    read = [*request.read, *(str(Path(name).absolute()) for name in plan.graph.project.files)]
    build.workspace.receipt(command, request.started, read, made, said, _away(plan))


def _away(plan: Plan) -> Away:
    """Where `warm` could bring outputs back from: a server that it can speak with."""
    client = plan.settings.client
    address = str(client.coordinator)
    away = plan.request.remote is True and all(target.remote for target in plan.targets)
    known = client.token is None or client.token.reveal() == os.environ.get(TOKEN)
    return (address, client.instance) if away and known and not address.startswith(TLS) else None


def _jobs(plan: Plan, *, away: bool) -> int:
    given = plan.request.jobs or plan.settings.client.jobs
    return given or (REMOTE_JOBS if away else _most_here())


def _most_here() -> int:
    return len(os.sched_getaffinity(0))


def platform() -> tuple[tuple[str, str], ...]:
    """What this machine's commands are written for, in REAPI's words."""
    machine = os.uname()
    isa = ISAS.get(machine.machine, machine.machine)
    return (("OSFamily", machine.sysname.lower()), ("ISA", isa))
