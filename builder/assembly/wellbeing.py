"""The look at ourselves, every other second: storage, machine, workers, queue, provider."""

import os
import resource
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from builder.assembly.stores import Stores
from builder.assembly.tiers import down
from builder.config.settings import Settings
from builder.server.health import HealthService
from builder.server.scheduler import Scheduler
from builder.telemetry.log import get_logger
from builder.telemetry.wellbeing import Facts, Problem, Silence, Thresholds, judge

log = get_logger()
EVERY_S = 2.0
PROBE_S = 10.0  # a write to the storage that takes longer is a failure
DESCRIPTORS = "/proc/self/fd"


@dataclass(slots=True)
class Wellbeing:
    """`problems` is what was wrong at the last look. Changes go to the log and to grpc's health."""

    settings: Settings
    scheduler: Scheduler
    provider: Callable[[], Sequence[str]]
    thresholds: Thresholds = field(default_factory=Thresholds)
    problems: tuple[Problem, ...] = ()
    every_s: float = EVERY_S
    stores: Stores | None = None
    lost: deque[tuple[float, int]] = field(default_factory=deque)  # (time, lost since the start)

    def is_ready(self) -> bool:
        """Whether new work could be done."""
        return not any(problem.grave for problem in self.problems)

    def sentences(self) -> list[str]:
        return [problem.sentence for problem in self.problems]

    async def run(self, health: HealthService, taking: Callable[[], bool]) -> None:
        """Until cancelled. `taking` says whether work is taken at all."""
        told = True
        while True:
            await self.look()
            health.set_parts({problem.component for problem in self.problems})
            if self.is_ready() != told:
                told = self.is_ready()
                if taking():
                    health.set(told)
            await trio.sleep(self.every_s)

    async def look(self) -> None:
        """Once."""
        found = tuple(judge(await self._facts(), self.thresholds))
        before = {problem.component for problem in self.problems}
        after = {problem.component for problem in found}
        for problem in found:
            if problem.component not in before:
                tell = log.error if problem.grave else log.warning
                tell("Health", component=problem.component, why=problem.sentence)
        for component in sorted(before - after):
            log.info("Health", component=component, why="well again")
        self.problems = found

    async def _facts(self) -> Facts:
        root = self._root()
        await self._look_at_tiers()
        error, free, total = "", 0, 0
        if root is not None:
            error = await _probed(root)
            if not error:
                error, free, total = await trio.to_thread.run_sync(room, root)
        import psutil  # late: it takes 20 ms, and the first look may

        memory = psutil.virtual_memory()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        snapshot = self.scheduler.snapshot()
        now = trio.current_time()
        oldest = min((lane.oldest_at or now for lane in snapshot.lanes), default=now)
        return Facts(
            storage_error=error,
            disk_path=str(root or ""),
            disk_free_bytes=free,
            disk_total_bytes=total,
            memory_free_bytes=memory.available,
            memory_total_bytes=memory.total,
            descriptors=len(os.listdir(DESCRIPTORS)),
            most_descriptors=0 if soft == resource.RLIM_INFINITY else soft,
            heartbeat_interval_s=self.settings.scheduler.heartbeat_interval,
            silences=tuple(Silence(one.info.name, now - one.seen_at) for one in snapshot.workers),
            workers=len(snapshot.workers),
            workers_lost=self._lost_lately(snapshot.counters.workers_lost, now),
            waiting=snapshot.queued,
            slots=sum(worker.info.slots for worker in snapshot.workers),
            oldest_wait_s=now - oldest,
            provider=tuple(self.provider()),
            tiers_down=() if self.stores is None else tuple(down(self.stores.tiers)),
            tiers_serve=self.stores is None or self.stores.serves(),
        )

    def _lost_lately(self, lost: int, now: float) -> int:
        """Workers, within the time that the thresholds say."""
        self.lost.append((now, lost))
        while len(self.lost) > 1 and self.lost[1][0] <= now - self.thresholds.lost_within_s:
            self.lost.popleft()
        return lost - self.lost[0][1]

    def _root(self) -> Path | None:
        """The directory that the service itself writes to."""
        store = self.settings.store
        storage = self.settings.storage
        if store.kind != "disk" or (storage is not None and storage.blobs is not None):
            return None
        return Path(store.path)

    async def _look_at_tiers(self) -> None:
        """A disk tier that cannot be written is down; the others have breakers that know."""
        for tier in () if self.stores is None else self.stores.tiers:
            if tier.path:
                tier.trouble = await _probed(Path(tier.path))


async def _probed(root: Path) -> str:
    """Why nothing can be stored; empty when it can."""
    with trio.move_on_after(PROBE_S):
        return await trio.to_thread.run_sync(_write_and_read, root, abandon_on_cancel=True)
    return f"a write to {root} takes longer than {PROBE_S:g} s"


def _write_and_read(root: Path) -> str:
    probe = root / f".probe-{os.getpid()}"
    said = uuid.uuid4().bytes
    try:
        probe.write_bytes(said)
        read = probe.read_bytes()
        probe.unlink()
    except OSError as error:
        return f"{root}: {error.strerror or error}"
    return "" if read == said else f"{root}: what was written is not what is read"


def room(root: Path) -> tuple[str, int, int]:
    """Why nobody can tell, empty as a rule, with the free bytes and all of the file system: the
    directory may go away between two looks."""
    try:
        usage = shutil.disk_usage(root)
    except OSError as error:
        return f"{root}: {error.strerror or error}", 0, 0
    return "", usage.free, usage.total
