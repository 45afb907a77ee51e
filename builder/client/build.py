"""A whole build: the progress machine, and the tasks that do what it says.

One task owns the machine. A target is built by a task of its own, which sends what became of it
as an event; cancelling the build cancels them all.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from builder.action.tree import Entry
from builder.base.errors import BuilderError
from builder.client.console import Console
from builder.client.sharing import TargetPlace
from builder.client.target import Built, TargetError, explain
from builder.client.workspace import Workspace
from builder.project.chains import longest_chain
from builder.project.graph import Graph
from builder.project.progress import (
    BuildStarted,
    Effect,
    EndBuild,
    Event,
    Progress,
    SkipTarget,
    StartTarget,
    TargetFailed,
    TargetSucceeded,
)

SHOWN_NAMES = 10  # in the log of builds


@dataclass(frozen=True, slots=True)
class Summary:
    """By target; `failed` and `skipped` are empty when all is well. `seconds` that targets took
    which ran, and why those failed that did."""

    built: dict[str, Built]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, TargetError] = field(default_factory=dict)


@dataclass(slots=True)
class Build:
    """`place` is where targets are built. Run it once."""

    graph: Graph
    workspace: Workspace
    console: Console
    place: TargetPlace
    jobs: int
    keep_going: bool = False
    started: float = field(default_factory=time.monotonic)
    _made: dict[str, dict[str, Entry]] = field(default_factory=dict)
    _built: dict[str, Built] = field(default_factory=dict)
    _times: dict[str, float] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, TargetError] = field(default_factory=dict)

    async def run(self, names: Iterable[str]) -> Summary:
        """Raises UsageError for inputs that are not there; nothing has been built then."""
        chosen = list(names)
        targets = self.graph.project.targets
        plan = [targets[name] for name in self.graph.closure(chosen)]
        await trio.to_thread.run_sync(self.workspace.check, plan)
        self._times = self.workspace.state.times()
        expected_s = {one.name: self._times[one.name] for one in plan if one.name in self._times}
        runs = [target.name for target in plan if target.arguments]
        self.console.tell("build_started", targets=runs, expected_s=expected_s)
        progress = Progress(
            self.graph,
            chosen,
            jobs=self.jobs,
            keep_going=self.keep_going,
            expected_s=self._times,
        )
        try:
            end = await self._drive(progress)
        finally:
            self.workspace.save()
            self.workspace.state.save_times(self._times)
        seconds = time.monotonic() - self.started
        self._log(chosen, end, seconds)
        if end.failed:
            self.console.not_completed(seconds, len(end.failed), len(end.skipped))
        else:
            ran = {name: took for name, took in self._seconds.items() if name in self._built}
            if len(ran) > 1:
                order = self.graph.closure(chosen)
                self.console.spent(ran, longest_chain(order, self.graph.needs, ran))
            self.console.completed(seconds)
        return Summary(self._built, end.failed, end.skipped, self._seconds, self._failures)

    def _log(self, names: list[str], end: EndBuild, seconds: float) -> None:
        ran = {n: round(self._times[n], 3) for n, b in self._built.items() if not b.cached}
        hits = sum(built.cached for built in self._built.values())
        self.workspace.history.add_build(
            {
                "at": time.time() - seconds,
                "targets": names if len(names) <= SHOWN_NAMES else len(names),
                "seconds": round(seconds, 3),
                "hits": hits,
                "ran": dict(sorted(ran.items(), key=lambda item: -item[1])[:SHOWN_NAMES]),
                "built": len(ran),
                "failed": list(end.failed[:SHOWN_NAMES]),
                "skipped": len(end.skipped),
            }
        )

    async def _drive(self, progress: Progress) -> EndBuild:
        send, receive = trio.open_memory_channel[Event](len(self.graph.project.targets) + 1)
        send.send_nowait(BuildStarted())
        async with trio.open_nursery() as nursery:
            async for event in receive:
                for effect in progress.handle(event, time.monotonic()):
                    if isinstance(effect, EndBuild):
                        return effect
                    self._perform(effect, nursery, send)
        raise AssertionError("a build ends with EndBuild")

    def _perform(
        self, effect: Effect, nursery: trio.Nursery, send: trio.MemorySendChannel[Event]
    ) -> None:
        if isinstance(effect, StartTarget):
            nursery.start_soon(self._build, effect.name, send)
        else:
            assert isinstance(effect, SkipTarget)  # the summary counts them

    async def _build(self, name: str, send: trio.MemorySendChannel[Event]) -> None:
        target = self.graph.project.targets[name]
        started = time.monotonic()
        self.console.tell("target_started", name)
        try:
            built = await self.place.build(target, self._made)
        except BuilderError as error:
            failure = error if isinstance(error, TargetError) else TargetError(explain(error))
            self.console.failed(name, failure.reason, failure.proof, failure.streams)
            self._failures[name] = failure
            self._seconds[name] = time.monotonic() - started
            send.send_nowait(TargetFailed(name))
            return
        self._made[name] = dict(built.entries)
        self._built[name] = built
        if not built.cached:
            self._times[name] = self._seconds[name] = time.monotonic() - started
        send.send_nowait(TargetSucceeded(name))
