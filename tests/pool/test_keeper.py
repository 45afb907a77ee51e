"""The pool follows its machine, whatever happens to its workers."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from builder.pool.keeper import PoolKeeper
from builder.providers.interface import Instance, ProviderError, QuotaError
from builder.scale import policies
from builder.scale.autoscaler import Autoscaler, Bounds
from builder.scale.market import Market
from builder.scale.policies import Policy
from builder.schedule.demand import Demand, Holder


class Shelf:
    """A provider that has instances at once, until it is told to refuse."""

    def __init__(self) -> None:
        self.there: list[Instance] = []
        self.launches: list[tuple[float, int]] = []
        self.refusals = 0
        self.error = ProviderError("no capacity")
        self._count = 0

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        await trio.lowlevel.checkpoint()
        self.launches.append((trio.current_time(), count))
        if self.refusals:
            self.refusals -= 1
            raise self.error
        made = []
        for _ in range(count):
            self._count += 1
            made.append(Instance(f"worker-{self._count}", token))
        self.there += made
        return made

    async def terminate(self, ids: Iterable[str]) -> None:
        gone = set(ids)
        self.there = [instance for instance in self.there if instance.id not in gone]

    async def list(self) -> list[Instance]:
        return list(self.there)

    def lose(self, name: str) -> None:
        self.there = [instance for instance in self.there if instance.id != name]

    @property
    def names(self) -> Sequence[str]:
        return [instance.id for instance in self.there]


@dataclass
class Site:
    """What the coordinator would see."""

    demanded: Demand = field(default_factory=lambda: Demand(0, 0, 0, 0.0, 0.0, {}))
    workers: dict[str, Holder] = field(default_factory=dict)
    drains: list[str] = field(default_factory=list)

    def demand(self) -> Demand:
        return replace(self.demanded, workers=dict(self.workers))

    def drain(self, worker: str, why: str) -> None:
        self.drains.append(worker)
        if worker in self.workers:
            self.workers[worker] = replace(self.workers[worker], draining=True)


@dataclass
class Kept:
    keeper: PoolKeeper
    shelf: Shelf
    site: Site

    async def join(self, *names: str, held: int = 0) -> None:
        self.site.workers |= dict.fromkeys(names, Holder(held, draining=False))
        await self.changed()

    async def changed(self) -> None:
        self.keeper.load_changed()
        await trio.sleep(0.1)


@asynccontextmanager
async def kept(
    minimum: int = 2,
    policy: Policy | None = None,
    there: Iterable[str] = (),
    patience_s: float = 100.0,
    **bounds: float,
) -> AsyncIterator[Kept]:
    shelf, site = Shelf(), Site()
    shelf.there = [Instance(name, "old") for name in there]
    limits = Bounds(minimum=minimum, maximum=20, **bounds)
    machine = Autoscaler(limits, policy or policies.static(minimum), trio.current_time())
    keeper = PoolKeeper(shelf, machine, site, lambda: 0.0, patience_s=patience_s)
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            await wait_all_tasks_blocked()
            yield Kept(keeper, shelf, site)
            machine.check()
            nursery.cancel_scope.cancel()


async def test_it_starts_with_the_minimum(autojump_clock: MockClock) -> None:
    async with kept(3) as pool:
        assert pool.shelf.names == ["worker-1", "worker-2", "worker-3"]
        assert pool.keeper.snapshot().starting == 3
        await pool.join(*pool.shelf.names)
        await pool.keeper.wait_joined(3)
        assert (pool.keeper.snapshot().ready, pool.keeper.snapshot().starting) == (3, 0)


async def test_a_burst_is_answered_within_a_tenth_of_a_second(autojump_clock: MockClock) -> None:
    """And what is starting is not launched twice, however often the load is looked at."""
    async with kept(policy=policies.predictive(wait_s=1.0)) as pool:
        await pool.join("worker-1", "worker-2", held=1)
        before = trio.current_time()
        pool.site.demanded = Demand(100, 102, 0, 0.0, 0.0, {})
        await pool.changed()
        assert len(pool.shelf.there) == 20
        assert trio.current_time() - before <= 0.1
        for _ in range(20):
            await pool.changed()
        assert [count for _, count in pool.shelf.launches] == [2, 18]


async def test_who_is_sent_away_drains_first(autojump_clock: MockClock) -> None:
    """One that got an action just then is ended when it has finished it, and not before."""
    async with kept(1, policies.static(1), start=3, down_cooldown_s=10.0) as pool:
        await pool.join("worker-1", "worker-2", "worker-3")
        pool.site.workers["worker-1"] = Holder(1, draining=False)
        await pool.changed()
        real_drain = pool.site.drain

        def race(worker: str, why: str) -> None:
            pool.site.workers["worker-3"] = Holder(1, draining=False)
            real_drain(worker, why)

        pool.site.drain = race
        await trio.sleep(15)
        await pool.changed()
        assert sorted(pool.site.drains) == ["worker-2", "worker-3"]
        assert pool.shelf.names == ["worker-1", "worker-3"]
        pool.site.workers["worker-3"] = Holder(0, draining=True)
        await pool.changed()
        assert pool.shelf.names == ["worker-1"]


async def test_one_that_drains_for_its_own_reasons_is_replaced_and_ended(
    autojump_clock: MockClock,
) -> None:
    """An operator drained it, or its cloud wants it back."""
    async with kept() as pool:
        await pool.join("worker-1", "worker-2", held=1)
        pool.site.workers["worker-1"] = Holder(1, draining=True)
        await pool.changed()
        assert pool.shelf.names == ["worker-1", "worker-2", "worker-3"]
        del pool.site.workers["worker-1"]
        await pool.changed()
        assert pool.shelf.names == ["worker-2", "worker-3"]


async def test_an_operator_holds_and_releases(autojump_clock: MockClock) -> None:
    async with kept(down_cooldown_s=10.0) as pool:
        await pool.join("worker-1", "worker-2")
        pool.keeper.hold(5)
        await trio.sleep(1)
        assert len(pool.shelf.there) == 5
        await pool.join(*pool.shelf.names)
        pool.keeper.hold(None)
        await trio.sleep(30)
        await pool.changed()
        assert pool.shelf.names == ["worker-1", "worker-2"]


async def test_a_dead_worker_is_replaced_at_once(autojump_clock: MockClock) -> None:
    async with kept() as pool:
        await pool.join("worker-1", "worker-2")
        before = trio.current_time()
        pool.shelf.lose("worker-1")
        pool.keeper.look()
        await wait_all_tasks_blocked()
        assert pool.shelf.names == ["worker-2", "worker-3"]
        assert trio.current_time() == before


async def test_a_death_that_nobody_tells_of_is_noticed(autojump_clock: MockClock) -> None:
    async with kept() as pool:
        await pool.join("worker-1")
        pool.shelf.lose("worker-1")
        await trio.sleep(10)
        assert pool.shelf.names == ["worker-2", "worker-3"]


async def test_workers_that_never_join_are_replaced_ever_more_slowly(
    autojump_clock: MockClock,
) -> None:
    """No storm of processes when the workers cannot start."""
    async with kept(1) as pool:
        for _ in range(6):
            pool.shelf.lose(pool.shelf.there[0].id)
            pool.keeper.look()
            await wait_all_tasks_blocked()
            await trio.sleep(90)
        times = [time for time, _ in pool.shelf.launches]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps == sorted(gaps)


async def test_a_refused_launch_is_asked_for_again(autojump_clock: MockClock) -> None:
    async with kept(1) as pool:
        pool.shelf.refusals = 2
        await pool.join("worker-1")
        pool.shelf.lose("worker-1")
        pool.keeper.look()
        await trio.sleep(30)
        assert pool.shelf.names == ["worker-2"]
        assert pool.keeper.snapshot().starting == 1


async def test_what_only_a_person_can_mend_is_asked_for_rarely(autojump_clock: MockClock) -> None:
    """And the status has a problem to tell until a launch has worked."""
    async with kept(1) as pool:
        await pool.join("worker-1")
        pool.shelf.refusals, pool.shelf.error = 1, QuotaError("16 of 16 vCPUs are in use")
        pool.shelf.lose("worker-1")
        pool.keeper.look()
        await trio.sleep(30)
        assert pool.keeper.trouble == (
            "the provider refuses to launch 1 worker: 16 of 16 vCPUs are in use"
        )
        assert "Ask the provider again" in pool.keeper.snapshot().next_action
        assert len(pool.shelf.launches) == 2
        await trio.sleep(60)
        assert pool.shelf.names == ["worker-2"]
        assert pool.keeper.trouble == ""


async def test_an_instance_whose_worker_never_comes_is_ended(autojump_clock: MockClock) -> None:
    """It costs something and serves nobody; another takes its place."""
    async with kept() as pool:
        await pool.join("worker-1")
        await trio.sleep(120)
        assert pool.shelf.names == ["worker-1", "worker-3"]


async def test_an_instance_whose_worker_is_lost_is_ended(autojump_clock: MockClock) -> None:
    async with kept() as pool:
        await pool.join("worker-1", "worker-2")
        del pool.site.workers["worker-1"]
        await trio.sleep(90)
        assert pool.shelf.names == ["worker-1", "worker-2"]  # it may come back
        await trio.sleep(30)
        assert pool.shelf.names == ["worker-2", "worker-3"]


async def test_a_worker_that_hangs_is_not_waited_for_as_long_as_one_that_starts(
    autojump_clock: MockClock,
) -> None:
    """A machine may take a quarter of an hour to start; one that was there has two minutes."""
    async with kept(patience_s=900.0) as pool:
        await pool.join("worker-1")
        del pool.site.workers["worker-1"]
        await trio.sleep(100)
        assert pool.shelf.names == ["worker-1", "worker-2"]
        await trio.sleep(30)
        assert pool.shelf.names == ["worker-2", "worker-3"]


async def test_who_is_cut_off_from_all_ends_nobody_for_that(autojump_clock: MockClock) -> None:
    """They would all be launched again, when the network is at fault or the coordinator."""
    async with kept(patience_s=900.0) as pool:
        await pool.join("worker-1", "worker-2")
        pool.site.workers.clear()
        await trio.sleep(800)
        assert pool.shelf.names == ["worker-1", "worker-2"]
        await pool.join("worker-1", "worker-2")
        await trio.sleep(300)
        assert pool.shelf.names == ["worker-1", "worker-2"]


async def test_what_an_earlier_coordinator_left_is_taken_over(autojump_clock: MockClock) -> None:
    async with kept(there=["old-1", "old-2", "old-3"]) as pool:
        assert pool.shelf.launches == []
        await pool.join("old-1", "old-2")
        assert pool.shelf.launches == []
        assert (pool.keeper.snapshot().ready, pool.keeper.snapshot().starting) == (2, 1)


async def test_what_nobody_knows_has_leaked_and_is_ended(autojump_clock: MockClock) -> None:
    """But not at once: a launch may be listed before its answer has come."""
    async with kept() as pool:
        await pool.join("worker-1", "worker-2")
        pool.shelf.there.append(Instance("stray", "whose"))
        await trio.sleep(30)
        assert "stray" in pool.shelf.names
        await trio.sleep(60)
        assert pool.shelf.names == ["worker-1", "worker-2"]


class Silent(Shelf):
    """Its list does not answer, for a while."""

    answers = False

    async def list(self) -> list[Instance]:
        if not self.answers:
            raise ProviderError("no route to it")
        return await super().list()


async def test_machines_are_taken_over_when_the_provider_answers_again(
    autojump_clock: MockClock,
) -> None:
    """They serve, so they are not strangers, however late they were found; the surplus drains."""
    shelf, site = Silent(), Site()
    shelf.there = [Instance("old-1", "old"), Instance("old-2", "old")]
    names = ["old-1", "old-2", "worker-1"]
    site.workers = dict.fromkeys(names, Holder(1, draining=False))
    machine = Autoscaler(Bounds(minimum=1, maximum=2), policies.static(1), 0.0)
    async with trio.open_nursery() as nursery:
        keeper = PoolKeeper(shelf, machine, site, lambda: 0.0, patience_s=1000.0)
        nursery.start_soon(keeper.run)
        await trio.sleep(200)
        assert keeper.trouble == "the provider does not answer: no route to it"
        shelf.answers = True
        await trio.sleep(200)
        machine.check()
        assert (shelf.names, site.drains) == (names, ["old-2"])  # there is room for one
        assert keeper.trouble == ""
        site.workers["old-2"] = Holder(0, draining=True)
        await trio.sleep(10)
        assert shelf.names == ["old-1", "worker-1"]
        nursery.cancel_scope.cancel()


class Curious(Shelf):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.market = Market([])

    def joined(self, id_: str) -> None:
        self.told.append(id_)


async def test_who_has_a_choice_is_told_of_those_that_joined(autojump_clock: MockClock) -> None:
    """Once for each."""
    shelf, site = Curious(), Site()
    machine = Autoscaler(Bounds(minimum=2, maximum=2), policies.static(2), 0.0)
    async with trio.open_nursery() as nursery:
        keeper = PoolKeeper(shelf, machine, site, lambda: 0.0)
        nursery.start_soon(keeper.run)
        await wait_all_tasks_blocked()
        pool = Kept(keeper, shelf, site)
        await pool.join("worker-1")
        await pool.join("worker-2")
        await pool.changed()
        assert shelf.told == ["worker-1", "worker-2"]
        nursery.cancel_scope.cancel()
