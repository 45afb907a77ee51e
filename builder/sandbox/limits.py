"""Which limits a process must bear itself, because no control group bears them for it."""

import resource
from collections.abc import Callable, Mapping
from typing import Any

GROUP, RLIMIT, AFFINITY = "cgroup", "rlimit", "affinity"
DEFAULT_OPEN_FILES = 16384
MOST_SIGNALS = 4096
HELPERS = 3  # of the action's user in its user namespace: the init, and the runner's two threads


class Cpus:
    """Hands out whole processors in turn."""

    def __init__(self, cpus: list[int]) -> None:
        self._cpus, self._next = cpus, 0

    def take(self, cores: float) -> list[int]:
        """As many as the cores need, rounded up."""
        count = min(len(self._cpus), max(1, -int(-cores // 1)))
        first, self._next = self._next, (self._next + count) % len(self._cpus)
        return sorted(self._cpus[(first + i) % len(self._cpus)] for i in range(count))


def part_of_signals() -> int:
    """How many an action may have pending. They count for the user, too, and with them timers: one
    action could else take all that there are."""
    _, all_of_them = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    return MOST_SIGNALS if all_of_them < 0 else min(MOST_SIGNALS, all_of_them // 4)


def borne(
    wish: Mapping[str, Any], has: Callable[[str], bool], cpus: Cpus, helpers: int = HELPERS
) -> tuple[dict[str, str], list[tuple[int, int]], list[int]]:
    """(what enforces each limit, rlimits to set, processors to stay on). `helpers` are those of the
    action's user that RLIMIT_NPROC counts and that are none of its processes.

    RLIMIT_DATA and not RLIMIT_AS for memory: reserving address space costs nothing, and many
    programs (Go, Java, sanitizers) reserve far more than they use.
    """
    enforced: dict[str, str] = {}
    rlimits = [
        (resource.RLIMIT_SIGPENDING, part_of_signals()),
        (resource.RLIMIT_NOFILE, wish["open_files"] or DEFAULT_OPEN_FILES),
    ]
    if wish["file_bytes"] is not None:
        rlimits.append((resource.RLIMIT_FSIZE, wish["file_bytes"]))
    if wish["memory"] is not None:
        enforced["memory"] = GROUP if has("memory") else RLIMIT
        if not has("memory"):
            rlimits.append((resource.RLIMIT_DATA, wish["memory"]))
    if wish["processes"] is not None:
        enforced["processes"] = GROUP if has("pids") else RLIMIT
        if not has("pids"):
            rlimits.append((resource.RLIMIT_NPROC, wish["processes"] + helpers))
    if wish["cores"] is not None:
        enforced["cpu"] = GROUP if has("cpu") else AFFINITY
    if not wish["deterministic"] and enforced.get("cpu") != AFFINITY:
        return enforced, rlimits, []
    seen = cpus.take(wish["cores"] or 1)
    if wish["deterministic"]:  # the same number on every worker
        enforced |= {"processors": str(len(seen)), "directories": "sorted"}
    return enforced, rlimits, seen


def without_groups(
    wish: Mapping[str, Any], cpus: list[int], user_has: int
) -> tuple[dict[str, str], list[tuple[int, int]], list[int]]:
    """`borne` where there are neither groups nor namespaces: RLIMIT_NPROC then counts all that
    the user has on the host, so what it has already (`user_has`) is added."""
    counted = dict(wish)
    if counted["processes"] is not None:
        counted["processes"] += user_has
    return borne(counted, lambda _controller: False, Cpus(cpus), helpers=1)
