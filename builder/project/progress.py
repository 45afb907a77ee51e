"""How a build goes along its graph.

    WAITING --needs done--> READY --start--> RUNNING --succeeded--> DONE
       |                      |                 `------failed-----> FAILED
       `----- skip -----------+--> SKIPPED

Theory of operation. A target is READY when all that it needs are DONE. Of the READY ones those
with the highest priority start first, then those with the longest way to the end of the build
behind them (the critical path, in expected seconds), then in the order of the file. At most
`jobs` run at once, and for each target with `parallelism` at most so many of its closure. A group
has nothing to run, so it is DONE with its members. When a target FAILED, all that need it are
SKIPPED; unless the build keeps going, everything else that has not started is SKIPPED too, and
what runs may finish, because its result is worth storing. The build is over when nothing is
WAITING, READY or RUNNING; that is told once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from heapq import heappop, heappush
from typing import assert_never

from builder.project.graph import Graph


class State(Enum):
    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


OVER = frozenset({State.DONE, State.FAILED, State.SKIPPED})
NOT_OVER = tuple(state for state in State if state not in OVER)


class TransitionError(Exception):
    """An event that cannot be: our own bug."""


@dataclass(frozen=True, slots=True)
class BuildStarted:
    pass


@dataclass(frozen=True, slots=True)
class TargetSucceeded:
    name: str


@dataclass(frozen=True, slots=True)
class TargetFailed:
    name: str


Event = BuildStarted | TargetSucceeded | TargetFailed


@dataclass(frozen=True, slots=True)
class StartTarget:
    name: str


@dataclass(frozen=True, slots=True)
class SkipTarget:
    """`because` is the failed target."""

    name: str
    because: str


@dataclass(frozen=True, slots=True)
class EndBuild:
    failed: tuple[str, ...]
    skipped: tuple[str, ...]


Effect = StartTarget | SkipTarget | EndBuild


@dataclass(frozen=True, slots=True)
class Snapshot:
    states: Mapping[str, State]
    started: float
    ended: float | None


class Progress:
    """`expected_s`: how long a target took the last time; one second where nothing is known."""

    def __init__(
        self,
        graph: Graph,
        names: Iterable[str],
        *,
        jobs: int,
        keep_going: bool = False,
        expected_s: Mapping[str, float] | None = None,
    ) -> None:
        self._targets = graph.project.targets
        self._jobs = jobs
        self._keep_going = keep_going
        self._order = graph.closure(names)
        self._needs = {name: graph.needs[name] for name in self._order}
        self._states = dict.fromkeys(self._order, State.WAITING)
        self._by_state: dict[State, dict[str, None]] = {state: {} for state in State}
        self._by_state[State.WAITING] = dict.fromkeys(self._order)
        self._ready: list[tuple[tuple[float, float, int], str]] = []  # a heap
        self._needed_by: dict[str, list[str]] = {name: [] for name in self._order}
        for name, needs in self._needs.items():
            for needed in needs:
                self._needed_by[needed].append(name)
        self._rank = self._ranks(expected_s or {}, list(graph.project.targets))
        self._groups = [
            (self._targets[name].parallelism, frozenset(graph.closure([name])))
            for name in self._order
            if self._targets[name].parallelism
        ]
        self._open = {name: len(needs) for name, needs in self._needs.items()}
        self._started: float | None = None
        self._ended: float | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Raises TransitionError for an event that its target's state does not allow."""
        effects: list[Effect] = []
        match event:
            case BuildStarted():
                if self._started is not None:
                    raise TransitionError("the build has started before")
                self._started = now
                for name in [name for name in self._order if not self._open[name]]:
                    self._make_ready(name)
            case TargetSucceeded(name):
                self._move(name, State.RUNNING, State.DONE)
                self._release(name)
            case TargetFailed(name):
                self._move(name, State.RUNNING, State.FAILED)
                effects += self._skip_after(name)
            case _:
                assert_never(event)
        effects += self._start()
        if self._ended is None and not any(self._by_state[state] for state in NOT_OVER):
            self._ended = now
            failed, skipped = self._by_state[State.FAILED], self._by_state[State.SKIPPED]
            effects.append(EndBuild(tuple(failed), tuple(skipped)))
        return effects

    def next_deadline(self) -> float | None:
        """A build waits for its targets only."""
        return None

    def snapshot(self) -> Snapshot:
        return Snapshot(dict(self._states), self._started or 0.0, self._ended)

    def check(self) -> None:
        """Raises AssertionError when a state contradicts the states around it."""
        running = self._by_state[State.RUNNING]
        assert {n: s for s, names in self._by_state.items() for n in names} == self._states
        assert len(running) <= self._jobs
        for limit, members in self._groups:
            assert len(members & running.keys()) <= limit
        for name, state in self._states.items():
            needs = [self._states[needed] for needed in self._needs[name]]
            done = all(need is State.DONE for need in needs)
            assert self._open[name] == sum(need is not State.DONE for need in needs)
            if state in (State.READY, State.RUNNING, State.DONE, State.FAILED):
                assert done, name
            if state is State.WAITING and self._started is not None:
                assert not done, name
                assert not {State.FAILED, State.SKIPPED}.intersection(needs), name
        over = OVER.issuperset(self._states.values())
        assert over == (self._ended is not None) or self._started is None
        assert over or running or self._started is None, "nothing runs and the build is not over"

    def _ranks(
        self, expected_s: Mapping[str, float], file_order: list[str]
    ) -> dict[str, tuple[float, float, int]]:
        """What sorts READY targets. A target inherits the priority of whatever waits for it."""
        path_s: dict[str, float] = {}
        urgency: dict[str, int] = {}
        position = {name: number for number, name in enumerate(file_order)}
        for name in reversed(self._order):
            behind = self._needed_by[name]
            longest = max((path_s[later] for later in behind), default=0.0)
            path_s[name] = longest + expected_s.get(name, 1.0)
            own = int(self._targets[name].priority)
            urgency[name] = min([own, *(urgency[later] for later in behind)])
        return {name: (urgency[name], -path_s[name], position[name]) for name in self._order}

    def _make_ready(self, name: str) -> None:
        """Makes a group DONE at once, and with it perhaps others."""
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if self._targets[name].arguments:
                self._move(name, State.WAITING, State.READY)
                heappush(self._ready, (self._rank[name], name))
            else:
                self._move(name, State.WAITING, State.DONE)
                waiting += self._freed(name)

    def _release(self, name: str) -> None:
        for freed in self._freed(name):
            self._make_ready(freed)

    def _freed(self, name: str) -> list[str]:
        freed = []
        for later in self._needed_by[name]:
            self._open[later] -= 1
            if not self._open[later] and self._states[later] is State.WAITING:
                freed.append(later)
        return freed

    def _start(self) -> list[Effect]:
        running = self._by_state[State.RUNNING]
        effects: list[Effect] = []
        held = []
        while self._ready and len(running) < self._jobs:
            rank, name = heappop(self._ready)
            if self._states[name] is not State.READY:
                continue  # skipped meanwhile
            if self._is_held(name):
                held.append((rank, name))
                continue
            self._move(name, State.READY, State.RUNNING)
            effects.append(StartTarget(name))
        for item in held:
            heappush(self._ready, item)
        return effects

    def _is_held(self, name: str) -> bool:
        """By the `parallelism` of a target that needs it."""
        running = self._by_state[State.RUNNING].keys()
        return any(
            name in members and len(members & running) >= limit for limit, members in self._groups
        )

    def _skip_after(self, failed: str) -> list[Effect]:
        beneath = list(self._needed_by[failed])
        for name in beneath:  # grows while it is walked
            beneath += [later for later in self._needed_by[name] if later not in beneath]
        if not self._keep_going:
            beneath = [name for name in self._order if self._states[name] not in OVER]
        skipped: list[Effect] = []
        for name in beneath:
            if self._states[name] in (State.WAITING, State.READY):
                self._move(name, self._states[name], State.SKIPPED)
                skipped.append(SkipTarget(name, failed))
        return skipped

    def _move(self, name: str, old: State, new: State) -> None:
        here = self._states.get(name)
        if here is not old:
            raise TransitionError(f"{name} is {here}, so it cannot go from {old} to {new}")
        self._states[name] = new
        del self._by_state[old][name]
        self._by_state[new][name] = None
