"""The last quarter of an hour in samples, for charts. Pure: who samples brings the numbers."""

from collections import deque
from dataclasses import dataclass

from builder.reapi.pb import control_pb2 as pb

EVERY_S = 2.0
MOST = 450  # samples


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s` counts from any moment; rates are those since the sample before."""

    at_s: float
    per_minute: float
    hit_rate: float | None
    pending: int
    executing: int
    utilisation: float
    predicted: float  # of the fullest pool
    workers: int
    desired: int


class Series:
    """One owner; the oldest samples go."""

    def __init__(self, most: int = MOST) -> None:
        self._samples: deque[Sample] = deque(maxlen=most)
        self._last: tuple[float, int, int, int] | None = None

    def add(self, status: pb.Status, now: float) -> None:
        """What the status says is so now. The first one only says where to count from."""
        figures, workers = status.executions, status.workers
        pools = [pool for pool in status.pools if pool.maximum]
        done, hits = status.queue.completed, figures.cache_hits
        lookups = hits + figures.cache_misses
        last, self._last = self._last, (now, done, hits, lookups)
        if last is None or now <= last[0]:
            return
        asked = lookups - last[3]
        self._samples.append(
            Sample(
                at_s=now,
                per_minute=max(done - last[1], 0) * 60 / (now - last[0]),
                hit_rate=max(hits - last[2], 0) / asked if asked > 0 else None,
                pending=status.queue.pending,
                executing=status.queue.executing,
                utilisation=workers.slots_busy / workers.slots if workers.slots else 0.0,
                predicted=max((pool.predicted_load for pool in pools), default=0.0),
                workers=workers.total,
                desired=sum(pool.desired for pool in pools) if pools else workers.total,
            )
        )

    def samples(self) -> list[Sample]:
        """The oldest first."""
        return list(self._samples)
