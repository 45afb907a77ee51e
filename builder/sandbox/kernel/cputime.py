"""How much processor time an action has used, looked at as seldom as can be.

What lives is in /proc, with the time of the children that it has waited for; what the init has
reaped is in its own account. Time of a child that its parent let the kernel reap is in neither:
the groups know it, and the deadline bounds it.
"""

import os
import resource
import time

SHORTEST_S = 0.02  # two ticks of the kernel's clock, which cannot tell less apart
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
USER, END = 11, 15  # utime, stime, cutime, cstime in /proc/<pid>/stat, behind the name


def reaped_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def used_s(pids: "list[int]") -> float:
    """Of these processes, and of all that this one has reaped."""
    ticks = 0
    for pid in pids:
        try:
            fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # it has gone
        try:
            ticks += sum(map(int, os.read(fd, 4096).rpartition(b")")[2].split()[USER:END]))
        except ProcessLookupError:
            continue
        finally:
            os.close(fd)
    return ticks / TICKS_PER_S + reaped_s()


class Meter:
    """`next` is when the limit can be passed at the earliest, with all processors at work."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s + reaped_s()
        self._processors = len(os.sched_getaffinity(0))
        self.next = time.monotonic() + self._in(limit_s)

    def _in(self, left_s: float) -> float:
        return max(SHORTEST_S, left_s / self._processors)

    def over(self, pids: "list[int]") -> bool:
        """Look now. Whether these, and what was reaped, have used more than the limit."""
        left_s = self._limit_s - used_s(pids)
        self.next = time.monotonic() + self._in(left_s)
        return left_s <= 0
