"""The programs that stay: which one serves a request, and when one has served long enough.

A request gets a program with its key: one that is free, or a new one while there may be more, in
the place of one that is idle if need be. Nothing waits for a program. One is retired after so many
requests, at some age, when it has not been wanted for a while, or when it has grown too large.
"""

import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import trio

from builder.base.units import format_size
from builder.host.processes import Family
from builder.sandbox.interface import Sandbox
from builder.telemetry.log import get_logger
from builder.worker.persistent.command import UnfitError, WorkerCommand
from builder.worker.persistent.place import Place
from builder.worker.persistent.process import Process

MOST_TOGETHER = 8
MOST_FAILURES = 3  # of a key in a row; then it is not tried again for a while
FAILED_REST_S = 60.0
MOST_REMEMBERED = 1000

log = get_logger()


@dataclass(frozen=True, slots=True)
class Recycling:
    """When a program has served long enough. `processes` is how many there may be; 0 is none."""

    processes: int = 4
    max_requests: int = 1000
    max_age_s: float = 3600.0
    max_idle_s: float = 600.0
    max_memory_bytes: int = 2 << 30


class NoRoomError(Exception):
    """All programs are busy."""


class Programs:
    """`scratch` is a directory of theirs alone; they live in the nursery."""

    def __init__(
        self, sandbox: Sandbox, scratch: Path, recycling: Recycling, nursery: trio.Nursery
    ) -> None:
        self._sandbox, self._scratch = sandbox, scratch
        self._recycling, self._nursery = recycling, nursery
        self._processes: list[Process] = []
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._making = 0
        self._coming: dict[str, trio.Event] = {}  # by key

    @property
    def count(self) -> int:
        """How many programs there are."""
        return len(self._processes)

    @property
    def names(self) -> tuple[str, ...]:
        """By which the scheduler knows those that take more requests."""
        return tuple(one.command.wish.name for one in self._processes if not one.retiring)

    def check(self, key: str) -> None:
        """Raises UnfitError for one that has failed too often."""
        failures, when = self._failures.get(key, (0, 0.0))
        if failures >= MOST_FAILURES and trio.current_time() - when < FAILED_REST_S:
            raise UnfitError(f"its worker has failed {failures} times in a row")

    async def take(self, command: WorkerCommand, inputs: str) -> Process:
        """A program for one more request. Raises NoRoomError, OSError."""
        while (process := self._free(command.key)) is None:
            coming = self._coming.get(command.key)
            if coming is None:
                process = await self._one_more(command, inputs)
                break
            await coming.wait()
        process.users += 1
        return process

    def _free(self, key: str) -> Process | None:
        fitting = (one for one in self._processes if one.command.key == key)
        return next((one for one in fitting if self._has_room(one)), None)

    async def _one_more(self, command: WorkerCommand, inputs: str) -> Process:
        """Those that can share it wait until it is there."""
        if self.count + self._making >= self._recycling.processes:
            self._retire_one()
        self._making += 1
        coming = trio.Event()
        if command.wish.together:
            self._coming[command.key] = coming
        try:
            process = await self._new(command, inputs)
            self._processes.append(process)
        finally:
            self._making -= 1
            self._coming.pop(command.key, None)
            coming.set()
        self._nursery.start_soon(self._keep, process)
        return process

    def _has_room(self, process: Process) -> bool:
        if process.retiring or not process.alive:
            return False
        return process.users < (MOST_TOGETHER if process.command.wish.together else 1)

    def _retire_one(self) -> None:
        """The one that has been idle for the longest makes room."""
        idle = [one for one in self._processes if not one.users and not one.retiring]
        if not idle:
            raise NoRoomError(f"all {self._recycling.processes} programs are busy")
        self._retire(min(idle, key=lambda one: one.last_used), "another one is wanted")

    async def _new(self, command: WorkerCommand, inputs: str) -> Process:
        def make() -> Place:
            self._scratch.mkdir(parents=True, exist_ok=True)
            base = tempfile.mkdtemp(prefix="worker-", dir=self._scratch)
            place = Place(base, command.tools, command.wish.together)
            if command.wish.together:
                place.install(inputs)
            return place

        place = await trio.to_thread.run_sync(make)
        return Process(command, place, trio.current_time())

    async def _keep(self, process: Process) -> None:
        """Its life, and the end of that when its time has come."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_age, process)
            await process.live(self._sandbox)
            nursery.cancel_scope.cancel()
        if process in self._processes:
            self._processes.remove(process)

    async def _watch_age(self, process: Process) -> None:
        limits = self._recycling
        while True:
            ends = min(process.born + limits.max_age_s, process.last_used + limits.max_idle_s)
            if trio.current_time() >= ends and not process.users:
                self._retire(process, "it is old, or has been idle for long")
                return
            # one that works is looked at when it is given back
            await trio.sleep_until(max(ends, trio.current_time() + 1.0))

    def give_back(self, process: Process, used: Family) -> None:
        """A request has gone; the program may be retired now."""
        limits, now = self._recycling, trio.current_time()
        process.users -= 1
        process.last_used = now
        if process.requests >= limits.max_requests:
            self._retire(process, f"it has served {process.requests} requests")
        elif now - process.born >= limits.max_age_s:
            self._retire(process, "it is old")
        elif used.resident_bytes > limits.max_memory_bytes:
            self._retire(process, f"it has grown to {format_size(used.resident_bytes)}")

    def _retire(self, process: Process, why: str) -> None:
        """It takes nothing more, and ends when nobody works with it."""
        if not process.retiring:
            log.debug("Persistent worker retired", key=process.command.key[:12], why=why)
        process.retiring = True
        if not process.users:
            if process in self._processes:
                self._processes.remove(process)
            process.end(why)

    def told(self, key: str, failed: bool) -> None:
        """How a request to a program of this key has gone."""
        failures, _ = self._failures.pop(key, (0, 0.0))
        if failed:
            self._failures[key] = failures + 1, trio.current_time()
        while len(self._failures) > MOST_REMEMBERED:
            self._failures.popitem(last=False)
