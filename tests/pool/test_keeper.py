"""The pool is kept at its minimum, whatever happens to its workers."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import pairwise

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from builder.pool.keeper import PoolKeeper, hold
from builder.providers.interface import Instance, ProviderError
from builder.scale.autoscaler import Autoscaler, Bounds


class Shelf:
    """A provider that has instances at once, until it is told to refuse."""

    def __init__(self) -> None:
        self.there: list[Instance] = []
        self.launches: list[tuple[float, int]] = []
        self.refusals = 0
        self._count = 0

    async def launch(self, count: int, token: str) -> list[Instance]:
        await trio.lowlevel.checkpoint()
        self.launches.append((trio.current_time(), count))
        if self.refusals:
            self.refusals -= 1
            raise ProviderError("no capacity")
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


@asynccontextmanager
async def kept(minimum: int = 2) -> AsyncIterator[tuple[PoolKeeper, Shelf]]:
    shelf = Shelf()
    machine = Autoscaler(Bounds(minimum=minimum, maximum=20), hold(minimum), trio.current_time())
    keeper = PoolKeeper(shelf, machine, lambda: 0.0)
    with trio.fail_after(10_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run)
            await wait_all_tasks_blocked()
            yield keeper, shelf
            machine.check()
            nursery.cancel_scope.cancel()


async def test_it_starts_with_the_minimum(autojump_clock: MockClock) -> None:
    async with kept(3) as (keeper, shelf):
        assert [instance.id for instance in shelf.there] == ["worker-1", "worker-2", "worker-3"]
        assert keeper.snapshot().starting == 3
        for instance in shelf.there:
            keeper.worker_joined(instance.id)
        await keeper.wait_joined(3)
        await wait_all_tasks_blocked()
        assert (keeper.snapshot().ready, keeper.snapshot().starting) == (3, 0)


async def test_a_dead_worker_is_replaced_at_once(autojump_clock: MockClock) -> None:
    async with kept() as (keeper, shelf):
        keeper.worker_joined("worker-1")
        keeper.worker_joined("worker-2")
        before = trio.current_time()
        shelf.lose("worker-1")
        keeper.look()
        await wait_all_tasks_blocked()
        assert [instance.id for instance in shelf.there] == ["worker-2", "worker-3"]
        assert trio.current_time() == before


async def test_a_death_that_nobody_tells_of_is_noticed(autojump_clock: MockClock) -> None:
    async with kept() as (keeper, shelf):
        keeper.worker_joined("worker-1")
        shelf.lose("worker-1")
        await trio.sleep(10)
        assert [instance.id for instance in shelf.there] == ["worker-2", "worker-3"]


async def test_workers_that_never_join_are_replaced_ever_more_slowly(
    autojump_clock: MockClock,
) -> None:
    """No storm of processes when the workers cannot start."""
    async with kept(1) as (keeper, shelf):
        for _ in range(6):
            shelf.lose(shelf.there[0].id)
            keeper.look()
            await wait_all_tasks_blocked()
            await trio.sleep(120)
        times = [time for time, _ in shelf.launches]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps == sorted(gaps)


async def test_a_refused_launch_is_asked_for_again(autojump_clock: MockClock) -> None:
    async with kept(1) as (keeper, shelf):
        shelf.refusals = 2
        keeper.worker_joined("worker-1")
        shelf.lose("worker-1")
        keeper.look()
        await trio.sleep(30)
        assert [instance.id for instance in shelf.there] == ["worker-2"]
        assert keeper.snapshot().starting == 1


async def test_it_holds_at_the_minimum_and_says_so(autojump_clock: MockClock) -> None:
    async with kept() as (keeper, shelf):
        await trio.sleep(600)
        assert len(shelf.there) == 2
        assert "held at its minimum of 2" in keeper.snapshot().decision
