"""Keeps a pool of workers at the size that its machine wants.

The machine (`scale.autoscaler`) decides; this task performs: it asks the provider for instances,
tells the machine what became of them, and looks now and then whether they are still there. A
worker that dies before it has ever joined is replaced after a pause that grows, so that a worker
which cannot start does not make a storm of processes; one that had joined is replaced at once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import trio

from builder.base.backoff import Backoff
from builder.base.errors import StatusError
from builder.providers.interface import Provider
from builder.scale.autoscaler import Autoscaler, Snapshot
from builder.scale.events import (
    Decided,
    Event,
    InstanceGone,
    InstanceReady,
    Launch,
    Launched,
    LaunchRefused,
    Retire,
    TimePassed,
)
from builder.scale.policies import Policy, View, Wish
from builder.telemetry.log import get_logger

log = get_logger()
LOOK_EVERY_S = 5.0
BACKOFF = Backoff(first_s=0.5, limit_s=60.0, factor=2.0)


def hold(minimum: int) -> Policy:
    """The pool stays as small as it may be."""

    def wish(view: View) -> Wish:
        del view  # whatever the load
        return Wish(minimum, f"the pool is held at its minimum of {minimum}")

    return wish


@dataclass(slots=True)
class _Known:
    """What we know of an instance: whether its worker has ever joined."""

    joined: bool = False
    gone: bool = False


class PoolKeeper:
    """`chance` gives numbers in [0, 1) for the back-off."""

    def __init__(
        self, provider: Provider, machine: Autoscaler, chance: Callable[[], float]
    ) -> None:
        self._provider = provider
        self._machine = machine
        self._chance = chance
        self._events, self._inbox = trio.open_memory_channel[Event](math.inf)
        self._look_now = trio.Event()
        self._known: dict[str, _Known] = {}
        self._failures = 0
        self._joined_count = 0
        self._joined = trio.Event()

    def snapshot(self) -> Snapshot:
        return self._machine.snapshot(trio.current_time())

    def worker_joined(self, name: str) -> None:
        """The coordinator has welcomed a worker of this name."""
        known = self._known.setdefault(name, _Known())
        if not known.joined:
            known.joined = True
            self._failures = 0
            self._joined_count += 1
            self._joined.set()
            self._joined = trio.Event()
            self._events.send_nowait(InstanceReady(name))

    def look(self) -> None:
        """Something may have changed: ask the provider now rather than later."""
        self._look_now.set()

    async def wait_joined(self, count: int) -> None:
        """Until so many of its workers have joined since the start."""
        while self._joined_count < count:
            await self._joined.wait()

    async def run(self) -> None:
        """Keep the pool. Cancelling leaves the instances to the provider."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            self._handle(TimePassed(), nursery)
            while True:
                event: Event = TimePassed()
                with trio.move_on_at(self._machine.next_deadline()):
                    event = await self._inbox.receive()
                self._handle(event, nursery)

    def _handle(self, event: Event, nursery: trio.Nursery) -> None:
        for effect in self._machine.handle(event, trio.current_time()):
            match effect:
                case Launch():
                    nursery.start_soon(self._launch, effect)
                case Retire(instances):
                    nursery.start_soon(self._provider.terminate, instances)
                case Decided(sentence):
                    log.debug("Pool decided", decision=sentence)

    async def _launch(self, launch: Launch) -> None:
        try:
            instances = await self._provider.launch(launch.count, launch.token)
        except StatusError as error:
            log.warning("Launch refused", count=launch.count, why=error.message)
            self._events.send_nowait(LaunchRefused(launch.token, error.message))
            return
        names = tuple(instance.id for instance in instances)
        self._events.send_nowait(Launched(launch.token, names))
        for name in names:
            if self._known.setdefault(name, _Known()).joined:  # it was faster than this task
                self._events.send_nowait(InstanceReady(name))
        self.look()  # one may have died meanwhile

    async def _watch(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_after(LOOK_EVERY_S):
                    await self._look_now.wait()
                self._look_now = trio.Event()
                asked_for = list(self._known.items())  # what is launched later may not be listed
                try:
                    there = {instance.id for instance in await self._provider.list()}
                except StatusError as error:
                    log.warning("The provider does not answer", why=error.message)
                    continue
                for name, known in asked_for:
                    if name not in there and not known.gone:
                        known.gone = True
                        nursery.start_soon(self._gone, name, known.joined)

    async def _gone(self, name: str, had_joined: bool) -> None:
        if not had_joined:
            self._failures += 1
            pause_s = BACKOFF.delay(self._failures, self._chance)
            log.warning("Worker never joined", worker=name, next_in_s=pause_s)
            await trio.sleep(pause_s)
        self._events.send_nowait(InstanceGone(name))
