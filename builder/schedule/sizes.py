"""What actions of one kind took in the past: memory, CPU, time.

Theory of operation. The peak of the memory falls slowly and rises at once, so that one large run is
remembered for a while. Needs are rounded up to powers of two, so that there are few of them, and
what any slot has is no need at all: most actions are of one size. Times are a running mean and a
running variance (Welford's, with old results forgotten by the same factor).
"""

import math
from dataclasses import dataclass

from builder.schedule.resources import CPU, MEMORY, MILLI, Amounts
from builder.schedule.spec import Outcome

MOST_KINDS = 20_000  # and between this and twice as many are remembered
SMALL_MEMORY = 256 * 1024 * 1024  # bytes; any slot has as much
SMALL_CPU = MILLI
MARGIN = 1.25  # room above the peak
FALL = 0.95  # of the remembered peak, with each smaller run
FORGET = 0.1  # the weight of the newest time
MOST_WEIGHED = 1 / FORGET  # times that weigh alike
FEW = 5  # times that tell nothing about the tail yet
ONE_CORE = 2 * SMALL_CPU / MARGIN  # up to it an action keeps one core busy on average
ANY_SLOT = SMALL_MEMORY / MARGIN


@dataclass(slots=True)
class Size:
    """What is known of one kind; `worker` is who ran one last.

    `need` is what a slot for one of them needs beyond the usual.
    """

    memory_bytes: float = 0.0
    cpu: float = 0.0  # thousandths of a core, while it ran
    seconds: float = 0.0
    variance: float = 0.0
    count: int = 0
    worker: str | None = None
    need: Amounts = ()

    def learn(self, outcome: Outcome) -> None:
        took_s = outcome.execution_s
        if not took_s:
            return
        memory, cpu = self.memory_bytes * FALL, self.cpu * FALL
        if memory < (peak := outcome.peak_memory_bytes):
            memory = peak
        self.memory_bytes = memory
        if not outcome.out_of_memory:  # else how long it would have run is not known
            if cpu < (used := outcome.cpu_s / took_s * MILLI):
                cpu = used
            self.cpu = cpu
            self.count = count = self.count + 1
            weight = 1 / count if count < MOST_WEIGHED else FORGET
            distance = took_s - self.seconds
            step = weight * distance
            self.seconds += step
            self.variance = (1 - weight) * (self.variance + step * distance)
        if cpu > ONE_CORE or memory > ANY_SLOT or self.need:
            self.need = _need(self.cpu, memory)


class Sizes:
    """By kind, those that were seen last."""

    __slots__ = ("_before", "_newest")

    def __init__(self) -> None:
        self._newest: dict[str, Size] = {}
        self._before: dict[str, Size] = {}

    def __len__(self) -> int:
        return len(self._newest) + len(self._before)

    def seen(self, kind: str) -> Size:
        """One of this kind starts: its record, which learns from its end."""
        size = self._newest.get(kind)
        return self._renew(kind) if size is None else size

    def _renew(self, kind: str) -> Size:
        size = self._before.pop(kind, None) or Size()
        if kind:
            if len(self._newest) >= MOST_KINDS:
                self._before, self._newest = self._newest, {}
            self._newest[kind] = size
        return size

    def known(self, kind: str) -> Size | None:
        return self._newest.get(kind) or self._before.get(kind)

    def ran(self, kind: str) -> str | None:
        """The worker that ran one last: it has like inputs."""
        size = self.known(kind)
        return None if size is None else size.worker

    def tail_s(self, kind: str) -> float | None:
        """What hardly any of them exceeds: the mean and three deviations."""
        size = self.known(kind)
        if size is None or size.count < FEW:
            return None
        return size.seconds + 3 * math.sqrt(size.variance)

    def need(self, kind: str) -> Amounts:
        """What a slot for one of them needs beyond the usual."""
        size = self.known(kind)
        return () if size is None else size.need


def _need(cpu: float, memory_bytes: float) -> Amounts:
    found = []
    if cpu > ONE_CORE:
        found.append((CPU, _above(cpu, SMALL_CPU)))
    if memory_bytes > ANY_SLOT:
        found.append((MEMORY, _above(memory_bytes * MARGIN, SMALL_MEMORY)))
    return tuple(found)


def larger(limit_bytes: int, peak_bytes: int) -> int:
    """The memory for an action that was killed with so much."""
    return _above(2 * max(limit_bytes, peak_bytes), SMALL_MEMORY)


def _above(amount: float, smallest: int) -> int:
    """The next power of two times the smallest."""
    steps = math.ceil(math.log2(max(amount, smallest) / smallest))
    return int(smallest * 2**steps)
