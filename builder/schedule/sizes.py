"""What actions of one kind took in the past: memory, CPU, time.

Theory of operation. The peak of the memory falls slowly and rises at once, so that one large run is
remembered for a while. Needs are rounded up to powers of two, so that there are few of them, and
what any slot has is no need at all: most actions are of one size. Times are a running mean and a
running variance (Welford's, with old results forgotten by the same factor).
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

from builder.schedule.resources import CPU, MEMORY, MILLI, Amounts
from builder.schedule.spec import Outcome

MOST_KINDS = 20_000
SMALL_MEMORY = 256 * 1024 * 1024  # bytes; any slot has as much
SMALL_CPU = MILLI
MARGIN = 1.25  # room above the peak
FALL = 0.95  # of the remembered peak, with each smaller run
FORGET = 0.1  # the weight of the newest time
FEW = 5  # times that tell nothing about the tail yet
ONE_CORE = 2 * SMALL_CPU / MARGIN  # up to it an action keeps one core busy on average
ANY_SLOT = SMALL_MEMORY / MARGIN


@dataclass(slots=True)
class Size:
    memory_bytes: float = 0.0
    cpu: float = 0.0  # thousandths of a core, while it ran
    seconds: float = 0.0
    variance: float = 0.0
    count: int = 0


class Sizes:
    """By kind, those that were seen last."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[str, Size] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, kind: str, outcome: Outcome) -> None:
        if not kind or not outcome.execution_s:
            return
        size = self._known.get(kind)
        if size is None:
            size = self._known[kind] = Size()
            if len(self._known) > MOST_KINDS:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(kind)
        peak, fallen = outcome.peak_memory_bytes, size.memory_bytes * FALL
        size.memory_bytes = max(fallen, peak)
        if outcome.out_of_memory:
            return  # how long it would have run is not known
        took_s = outcome.execution_s
        cpu, fallen = outcome.cpu_s / took_s * MILLI, size.cpu * FALL
        size.cpu = max(fallen, cpu)
        size.count = count = size.count + 1
        weight = 1 / count if count * FORGET < 1 else FORGET
        distance = took_s - size.seconds
        size.seconds += weight * distance
        size.variance = (1 - weight) * (size.variance + weight * distance * distance)

    def seconds(self, kind: str) -> float | None:
        """How long one takes, or None as long as nobody knows."""
        size = self._known.get(kind)
        return size.seconds if size is not None and size.count else None

    def tail_s(self, kind: str) -> float | None:
        """What hardly any of them exceeds: the mean and three deviations."""
        size = self._known.get(kind)
        if size is None or size.count < FEW:
            return None
        return size.seconds + 3 * math.sqrt(size.variance)

    def need(self, kind: str) -> Amounts:
        """What a slot for one of them needs beyond the usual."""
        size = self._known.get(kind)
        if size is None:
            return ()
        if size.cpu <= ONE_CORE and size.memory_bytes <= ANY_SLOT:
            return ()
        found = []
        if size.cpu > ONE_CORE:
            found.append((CPU, _above(size.cpu, SMALL_CPU)))
        if size.memory_bytes > ANY_SLOT:
            found.append((MEMORY, _above(size.memory_bytes * MARGIN, SMALL_MEMORY)))
        return tuple(found)


def larger(limit_bytes: int, peak_bytes: int) -> int:
    """The memory for an action that was killed with so much."""
    return _above(2 * max(limit_bytes, peak_bytes), SMALL_MEMORY)


def _above(amount: float, smallest: int) -> int:
    """The next power of two times the smallest."""
    steps = math.ceil(math.log2(max(amount, smallest) / smallest))
    return int(smallest * 2**steps)
