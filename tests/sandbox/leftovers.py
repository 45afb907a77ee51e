"""What a sandbox could leave behind, counted from outside."""

import os
from dataclasses import dataclass
from pathlib import Path

from builder.host.cgroups import own_places
from builder.sandbox.kernel.groups import prefix_of


def groups(*brokers: int) -> set[str]:
    """The control groups that these brokers have below ours; others may run here too."""
    found: set[str] = set()
    for place in own_places():
        for name in os.listdir(place.path):
            if any(name.startswith(prefix_of(pid)) for pid in brokers):
                found.add(os.path.join(place.path, name))
    return found


def mounts() -> int:
    return Path("/proc/self/mountinfo").read_text().count("\n")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def descendants(pid: int) -> set[int]:
    """All living processes below one, by their parents."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                after = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if after[0] != "Z":
                parents[int(name)] = int(after[1])
    found, more = set(), {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more}
        found |= more
    return found


@dataclass(frozen=True, slots=True)
class Census:
    """What this process has at a moment."""

    mounts: int
    processes: frozenset[int]
    descriptors: int
    directories: int  # in the place of all scratch directories

    @classmethod
    def of(cls, base: Path) -> "Census":
        below = frozenset(descendants(os.getpid()))
        return cls(mounts(), below, descriptors(), len(list(base.iterdir())))
