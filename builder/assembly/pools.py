"""Every pool of the service, each with a machine, a policy and a provider of its own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from builder.assembly.machines import machines_of
from builder.assembly.pool import Pool
from builder.config.pools import every_pool
from builder.config.settings import Settings
from builder.pool.keeper import PoolKeeper
from builder.reapi.pb import control_pb2
from builder.server.scheduler import Scheduler
from builder.telemetry.log import get_logger

log = get_logger()
TITLE = "Worker pool"


class Pools:
    """In the order of the configuration; local workers of the first are named without it."""

    def __init__(self, settings: Settings, config: str | None) -> None:
        each = every_pool(settings)
        self._pools: dict[str, Pool] = {}
        for one in each:
            name = one.pool.name
            machines = machines_of(one, config, first=name == settings.pool.name)
            title = f"{TITLE} {name}" if len(each) > 1 else TITLE
            self._pools[name] = Pool(one, machines, title, self._full)
        self._keepers: list[PoolKeeper] = []

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    @asynccontextmanager
    async def open(self, scheduler: Scheduler, address: str) -> AsyncIterator[None]:
        """Ready to `run`; leaving ends the workers that cannot live without us.

        `address` is where the coordinator listens.
        """
        async with AsyncExitStack() as stack:
            for pool in self:
                keeper = await stack.enter_async_context(pool.open(scheduler, address))
                self._keepers.append(keeper)
            scheduler.watch(self._load_changed)
            yield

    async def run(self) -> None:
        """Keep them all, until cancelled."""
        async with trio.open_nursery() as nursery:
            for keeper in self._keepers:
                nursery.start_soon(keeper.run)

    async def wait_first(self) -> None:
        """Until the local ones have the size that they begin with; machines take minutes."""
        for pool, keeper in zip(self, self._keepers, strict=True):
            if pool.is_local:
                await keeper.wait_joined(pool.size)

    def _load_changed(self) -> None:
        for keeper in self._keepers:
            keeper.load_changed()

    def _full(self) -> frozenset[str]:
        """Nobody has to know of it where there is no other pool."""
        if len(self._pools) == 1:
            return frozenset()
        return frozenset(name for name, pool in self._pools.items() if pool.is_full)

    # ---- what the coordinator asks of them

    def states(self) -> list[control_pb2.PoolState]:
        return [pool.state() for pool in self]

    def problems(self) -> list[str]:
        several = len(self._pools) > 1
        return [
            f"pool {pool.name}: {pool.trouble}" if several else pool.trouble
            for pool in self
            if pool.trouble
        ]

    def hold(self, name: str, workers: int | None) -> None:
        self._pools[name].hold(workers)

    def worker_joined(self, name: str) -> None:
        """A worker, ours or another, is welcome."""
        tell = log.debug if any(pool.is_own(name) for pool in self) else log.info
        tell("Worker joined", worker=name)
