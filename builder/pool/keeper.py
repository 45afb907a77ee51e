"""Keeps a pool of workers at the size that its machine wants.

Theory of operation. The machine (`scale.autoscaler`) decides; this task performs. It looks at what
the scheduler has to do whenever that changes, and tells the machine at once; it asks the provider
for instances, and looks now and then whether they are still there. Whether a worker has joined,
drains or is gone is read from what the coordinator sees of it, so there is one truth.

Who is sent away drains first: the scheduler gives it nothing more, and the provider is told to end
it when it holds nothing. A worker that dies before it has ever joined is replaced after a pause
that grows, so that a worker which cannot start does not make a storm of processes; one that had
joined is replaced at once. What the provider lists and nobody here knows was launched by a former
coordinator: at the first answer it is taken over, later it has leaked and is ended.
"""

import math
from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from builder.base.backoff import Backoff
from builder.base.errors import StatusError
from builder.pool.ours import Fleet
from builder.providers.interface import Choosing, Provider, ProviderError
from builder.scale.autoscaler import Autoscaler, Snapshot
from builder.scale.events import (
    Decided,
    Event,
    InstanceGone,
    InstanceLeaving,
    InstanceReady,
    InstancesFound,
    Launch,
    Launched,
    LaunchRefused,
    LoadObserved,
    Retire,
    SizeHeld,
    TimePassed,
)
from builder.scale.load import Load
from builder.schedule.demand import Demand
from builder.telemetry.log import get_logger

log = get_logger()
LOOK_EVERY_S = 5.0  # at the provider's list
OBSERVE_EVERY_S = 0.05  # at most, however fast actions come
LEAK_GRACE_S = 60.0  # a launch may be listed before its answer is here
BACKOFF = Backoff(first_s=0.5, limit_s=60.0, factor=2.0)


class Site(Protocol):
    """The coordinator, as the pool sees it."""

    def demand(self) -> Demand: ...

    def drain(self, worker: str, why: str) -> None:
        """Give it nothing more, let it finish what it runs, however long that takes."""
        ...


class PoolKeeper:
    """`run_id` is part of each launch's token, so that two coordinators never share one.

    `patience_s` is how long an instance may be there without its worker; `chance` gives numbers in
    [0, 1) for the back-off; log lines begin with `title`.
    """

    def __init__(
        self,
        provider: Provider,
        machine: Autoscaler,
        site: Site,
        chance: Callable[[], float],
        *,
        run_id: str = "run",
        patience_s: float = math.inf,
        title: str = "Worker pool",
    ) -> None:
        self._provider = provider
        self._machine = machine
        self._site = site
        self._chance = chance
        self._run_id = run_id
        self._patience_s = patience_s
        self._title = title
        self._events, self._inbox = trio.open_memory_channel[Event | None](math.inf)
        self._look_now = trio.Event()
        self._changed = trio.Event()
        self._fleet = Fleet()
        self._asked: set[str] = set()  # tokens whose instances are not known yet
        self._strangers: dict[str, float] = {}  # listed, not ours: since when
        self._failures = 0
        self._joined = trio.Event()
        self._filled = False
        self._taken_over = False
        self._refusal = self._silence = ""

    # ---- for others

    @property
    def trouble(self) -> str:
        """A sentence, while the provider fails."""
        return self._refusal or self._silence

    def snapshot(self) -> Snapshot:
        return self._machine.snapshot(trio.current_time())

    def load_changed(self) -> None:
        """The scheduler has done something: look at it soon."""
        self._changed.set()

    def look(self) -> None:
        """Something may have changed at the provider: ask it now rather than later."""
        self._look_now.set()

    def hold(self, workers: int | None) -> None:
        """An operator fixes the size; None gives it back."""
        self._events.send_nowait(SizeHeld(workers))

    async def wait_joined(self, count: int) -> None:
        """Until so many of its workers have joined."""
        while self._fleet.joined < count:
            await self._joined.wait()

    async def run(self) -> None:
        """Keep the pool. Cancelling leaves the instances to the provider."""
        async with trio.open_nursery() as nursery:
            if (there := await self._listed()) is not None:
                self._take_over(there, nursery)
            nursery.start_soon(self._watch, nursery)
            nursery.start_soon(self._observe_changes)
            self._handle(TimePassed(), nursery)
            self._filled = True
            while True:
                event: Event | None = TimePassed()
                with trio.move_on_at(self._machine.next_deadline()):
                    event = await self._inbox.receive()
                if event is None:
                    self._observe(nursery)
                else:
                    self._handle(event, nursery)

    # ---- what is to be done

    def _handle(self, event: Event, nursery: trio.Nursery) -> None:
        for effect in self._machine.handle(event, trio.current_time()):
            match effect:
                case Launch():
                    self._asked.add(self._token(effect))
                    nursery.start_soon(self._launch, effect)
                case Retire(instances):
                    self._retire(instances)
                case Decided(sentence):
                    tell = log.info if self._filled else log.debug
                    tell(f"{self._title}: {sentence}")

    def _token(self, launch: Launch) -> str:
        return f"{self._run_id}-{launch.token}"

    async def _launch(self, launch: Launch) -> None:
        token = self._token(launch)
        try:
            instances = await self._provider.launch(launch.count, token, urgent=launch.urgent)
        except StatusError as error:
            soon = not isinstance(error, ProviderError) or error.may_retry
            self._refuse(launch, error.message, soon)
            return
        if not instances:
            self._refuse(launch, "it launched nothing and gave no reason", soon=True)
            return
        self._refusal = ""
        names = tuple(instance.id for instance in instances)
        self._fleet.add(names, trio.current_time())
        self._asked.discard(token)
        self._events.send_nowait(Launched(launch.token, names))
        self.load_changed()  # a worker may have been faster than this task
        self.look()  # and one may have died meanwhile

    def _refuse(self, launch: Launch, why: str, soon: bool) -> None:
        workers = f"{launch.count} worker{'' if launch.count == 1 else 's'}"
        log.warning("Launch refused", count=launch.count, why=why)
        self._refusal = f"the provider refuses to launch {workers}: {why}"
        self._events.send_nowait(LaunchRefused(launch.token, why, soon))
        self.load_changed()  # who waits for these workers is told why they do not come

    def _retire(self, names: Iterable[str]) -> None:
        for name in names:
            self._fleet.add([name], trio.current_time())
            self._fleet[name].leaving = True
            self._site.drain(name, "the pool shrinks")
        self.load_changed()  # who has never joined can go at once

    async def _end(self, names: list[str]) -> None:
        try:
            await self._provider.terminate(names)
        except StatusError as error:
            log.warning("The provider did not end workers", workers=names, why=error.message)
            for name in names:
                if name in self._fleet:
                    self._fleet[name].ended = False  # the next look tries again
            return
        self.look()

    # ---- what there is

    async def _observe_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            self._events.send_nowait(None)
            await trio.sleep(OBSERVE_EVERY_S)

    def _observe(self, nursery: trio.Nursery) -> None:
        """Tell the machine what the scheduler has, and end who has drained."""
        demand, fleet = self._site.demand(), self._fleet
        for name in fleet.newly_joined(demand):
            self._failures = 0
            if isinstance(self._provider, Choosing):
                self._provider.joined(name)
            self._handle(InstanceReady(name), nursery)
        self._joined.set()
        self._joined = trio.Event()
        for name in fleet.newly_leaving(demand):
            self._handle(InstanceLeaving(name), nursery)
        if drained := fleet.drained(demand):
            nursery.start_soon(self._end, drained)
        busy = fleet.busy(demand)
        load = Load(
            queued=demand.queued,
            running=sum(busy.values()),
            arrived=demand.arrived,
            finished=demand.finished,
            service_s=demand.held_s,
            running_s=demand.running_s,
        )
        self._handle(LoadObserved(load, busy, fleet.slots(demand)), nursery)

    async def _listed(self) -> dict[str, str] | None:
        """The token of each instance that is there; None while the provider does not answer."""
        try:
            found = await self._provider.list()
        except StatusError as error:
            if not self._silence:
                log.warning("The provider does not answer", why=error.message)
            self._silence = f"the provider does not answer: {error.message}"
            return None
        self._silence = ""
        return {instance.id: instance.token for instance in found}

    def _strange(self, there: dict[str, str]) -> list[str]:
        """Listed, and nobody here has launched it."""
        unknown = [name for name in there if name not in self._fleet]
        return [name for name in unknown if there[name] not in self._asked]

    def _take_over(self, there: dict[str, str], nursery: trio.Nursery) -> None:
        self._taken_over = True
        if found := tuple(self._strange(there)):
            log.info(
                f"{self._title}: takes over what an earlier coordinator left", count=len(found)
            )
            self._fleet.add(found, trio.current_time())
            self._handle(InstancesFound(found), nursery)

    async def _watch(self, nursery: trio.Nursery) -> None:
        while True:
            with trio.move_on_after(LOOK_EVERY_S):
                await self._look_now.wait()
            self._look_now = trio.Event()
            asked_for = list(self._fleet.present())  # what is launched later may not be listed
            there = await self._listed()
            if there is None:
                continue
            if not self._taken_over:
                self._take_over(there, nursery)
            for name, one in asked_for:
                if name not in there:
                    one.gone = True
                    nursery.start_soon(self._gone, name, one.joined or one.leaving)
            await self._clear_up(there)

    async def _clear_up(self, there: dict[str, str]) -> None:
        """End what costs something and serves nobody."""
        now, demand = trio.current_time(), self._site.demand()
        ending = self._fleet.drained(demand)  # those whose end failed before
        for name in self._fleet.overdue(demand, self._patience_s, now):
            what = "has been silent for too long" if self._fleet[name].joined else "does not come"
            log.warning(f"Worker {what}: its instance is ended", worker=name)
            self._fleet[name].ended = True
            ending.append(name)
        self._strangers = {name: self._strangers.get(name, now) for name in self._strange(there)}
        for name, since in self._strangers.items():
            if now - since >= LEAK_GRACE_S:
                log.warning("An instance that nobody knows is ended", instance=name)
                ending.append(name)
        if ending:
            await self._end(ending)

    async def _gone(self, name: str, had_served: bool) -> None:
        if not had_served:
            self._failures += 1
            pause_s = BACKOFF.delay(self._failures, self._chance)
            log.warning("Worker never joined", worker=name, next_in_s=round(pause_s, 1))
            await trio.sleep(pause_s)
        self._fleet.remove(name)
        self._events.send_nowait(InstanceGone(name))
