"""What a process and all that descend from it use at this moment, from /proc (proc(5))."""

import os
from dataclasses import dataclass

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Family:
    """`user_s` and `system_s` count the living and those that have been waited for."""

    resident_bytes: int = 0
    user_s: float = 0.0
    system_s: float = 0.0


def family(pid: int) -> Family:
    """Of nothing, when it has gone."""
    resident, user, system = 0, 0, 0
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            with open(f"/proc/{one}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            todo += children(one)
        except OSError:
            continue
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
        resident += int(fields[21])
    return Family(resident * PAGE, user / TICKS, system / TICKS)


def children(pid: int) -> list[int]:
    """Those of all its threads. Raises OSError when it has gone."""
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as file:
            found += map(int, file.read().split())
    return found
