"""One pool from the settings: the machine that decides, the keeper that performs, the provider."""

import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from builder.assembly.machines import Machines
from builder.config.settings import Settings
from builder.pool.forecast_file import ForecastFile
from builder.pool.keeper import PoolKeeper
from builder.pool.market_file import MarketFile
from builder.providers.interface import Choosing, Provider
from builder.reapi.pb import control_pb2
from builder.scale.autoscaler import Autoscaler, Bounds
from builder.scale.choice import Wanted, choose
from builder.scale.seasonal import HoltWinters
from builder.schedule.demand import Demand
from builder.schedule.events import DrainRequested, WorkersStarting, WorkerVanished
from builder.server.control import NO_HURRY_S
from builder.server.scheduler import Scheduler
from builder.telemetry.log import get_logger

log = get_logger()
A_MONDAY_S = 4 * 86400.0  # 5 January 1970, in seconds of the wall's clock (UTC)


def autoscaler(
    settings: Settings, machines: Machines, size: int, now: float, forecast: HoltWinters
) -> Autoscaler:
    """Without `autoscale` the policy is static; an operator may hold another size all the same."""
    pool = settings.pool
    bounds = Bounds(
        minimum=pool.min,
        maximum=pool.max,
        start=size,
        slots=machines.slots,
        up_cooldown_s=pool.scale_up_cooldown,
        down_cooldown_s=pool.scale_down_cooldown,
        alpha=pool.alpha,
        window=pool.window,
        start_up_guess_s=machines.start_up_guess_s,
    )
    wanted = Wanted(
        up=pool.scale_up_threshold,
        down=pool.scale_down_threshold,
        size=size,
        wait_s=machines.wait_s,
        forecast=forecast,
    )
    policy = choose(pool.policy if pool.autoscale else "static", wanted)
    return Autoscaler(bounds, policy, now)


class Pool:
    """Workers that this service starts and ends. `size` is what it begins with.

    The settings are those in which it is the only pool; `title` is what log lines call it, and
    `full_ones` tells which pools of the service can grow no more.
    """

    def __init__(
        self,
        settings: Settings,
        machines: Machines,
        title: str = "Worker pool",
        full_ones: Callable[[], Container[str]] = tuple,
    ) -> None:
        pool = settings.pool
        self.name = pool.name
        self.title = title
        self.size = max(pool.min, min(pool.max, pool.target or pool.min))
        self.is_local = pool.provider == "local"
        self.settings = settings
        self._machines = machines
        self._full_ones = full_ones
        self._scheduler: Scheduler | None = None
        self._keeper: PoolKeeper | None = None
        self._forecast = HoltWinters(time.time() - A_MONDAY_S - trio.current_time())
        self._file: ForecastFile | None = None
        if pool.policy == "holt_winters" and pool.forecast is not None:
            self._file = ForecastFile(Path(pool.forecast))
            self._forecast.learned = self._file.load()
        self._starting = (0, "")  # as the scheduler was told: how many, or why none

    @asynccontextmanager
    async def open(self, scheduler: Scheduler, address: str) -> AsyncIterator[PoolKeeper]:
        """A keeper that is to be run; leaving ends the workers that cannot live without us.

        `address` is where the coordinator listens.
        """
        self._scheduler = scheduler
        now = trio.current_time()
        async with self._machines.open(address, self._exited) as provider:
            self._keeper = self._keep(provider, now)
            async with trio.open_nursery() as nursery:
                if self._file is not None:
                    nursery.start_soon(self._file.keep, self._forecast)
                if isinstance(provider, Choosing) and self.settings.pool.forecast is not None:
                    file = MarketFile.beside(Path(self.settings.pool.forecast), time.time)
                    file.load(provider.market)
                    nursery.start_soon(file.keep, provider.market)
                yield self._keeper
                nursery.cancel_scope.cancel()

    def _keep(self, provider: Provider, now: float) -> PoolKeeper:
        return PoolKeeper(
            provider,
            autoscaler(self.settings, self._machines, self.size, now, self._forecast),
            self,
            random.random,
            run_id=uuid.uuid4().hex[:12],
            patience_s=self._machines.patience_s,
            title=self.title,
        )

    # ---- what the keeper asks of the coordinator

    def demand(self) -> Demand:
        assert self._scheduler is not None
        if self._keeper is not None:
            self._tell_starting(self._scheduler, self._keeper)
        return self._scheduler.demand(self.name, self._full_ones())

    def _tell_starting(self, scheduler: Scheduler, keeper: PoolKeeper) -> None:
        """For the sentences on actions that wait. What the provider refused does not start."""
        now = keeper.snapshot()
        starting = now.starting - now.refused, keeper.trouble
        if starting != self._starting:
            self._starting = starting
            scheduler.post(WorkersStarting(self.name, starting[0], now.start_up_s, starting[1]))

    def drain(self, worker: str, why: str) -> None:
        assert self._scheduler is not None
        self._scheduler.post(DrainRequested(worker, NO_HURRY_S, why))

    def _exited(self, name: str, how: str) -> None:
        """A worker's process of ours is gone: its actions need not wait for it."""
        assert self._scheduler is not None
        self._scheduler.post(WorkerVanished(name, f"its process ended ({how})"))
        if self._keeper is not None:
            self._keeper.look()

    # ---- what the coordinator asks of the pool

    def hold(self, workers: int | None) -> None:
        if self._keeper is not None:
            what = "is released" if workers is None else f"is held at {workers} by an operator"
            log.info(f"{self.title}: {what}")
            self._keeper.hold(workers)

    def is_own(self, worker: str) -> bool:
        return self._machines.is_own(worker)

    @property
    def trouble(self) -> str:
        """A sentence, while the provider fails."""
        return self._keeper.trouble if self._keeper is not None else ""

    @property
    def is_full(self) -> bool:
        """Whether it starts no more workers, whatever waits."""
        if self._keeper is None:
            return False
        now = self._keeper.snapshot()
        return bool(
            self._keeper.trouble or now.held is not None or now.ready + now.starting >= now.maximum
        )

    def state(self) -> control_pb2.PoolState:
        pool = self.settings.pool
        state = control_pb2.PoolState(
            name=pool.name,
            minimum=pool.min,
            maximum=pool.max,
            autoscale=pool.autoscale,
            policy=pool.policy,
            provider=pool.provider,
        )
        if self._keeper is not None:
            now = self._keeper.snapshot()
            state.desired = now.desired
            state.decision = now.decision
            state.predicted_load = now.predicted_load
            state.trend = now.trend
            state.next_action = now.next_action
            state.ready, state.starting, state.leaving = now.ready, now.starting, now.leaving
            if now.held is not None:
                state.held = now.held
        return state
