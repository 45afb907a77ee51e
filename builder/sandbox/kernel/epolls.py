"""Who has used up the watches of epoll that a user may have (fs.epoll.max_user_watches).

The kernel counts them for the user, in all of its namespaces, and no limit of a process bounds
them. An ordinary user's worker is the same user as its actions: when it is refused one, the action
that has by far the most of them is to blame.
"""

import os

EPOLL = "anon_inode:[eventpoll]"
LEAST = 4096  # what no program that is meant well comes near

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable


def namespace(pid: int) -> int:
    """The number of the PID namespace of a process. Raises OSError."""
    return os.stat(f"/proc/{pid}/ns/pid").st_ino


def watches(pid: int) -> int:
    """The most that a process can have: each of its epolls has each of its descriptors at most
    once. 0 for one that has gone."""
    epolls = descriptors = 0
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            descriptors += 1
            epolls += os.readlink(f"/proc/{pid}/fd/{name}") == EPOLL
    except OSError:
        return 0
    return epolls * descriptors


def greediest(namespaces: "Iterable[int]") -> int:
    """The one of these PID namespaces whose processes have the most; 0 when none has many."""
    found = dict.fromkeys(namespaces, 0)
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        try:
            own = namespace(pid)
        except OSError:
            continue  # it has gone, or is nobody of ours
        if own in found:
            found[own] += watches(pid)
    worst = max(found, key=found.__getitem__, default=0)
    return worst if found.get(worst, 0) >= LEAST else 0
