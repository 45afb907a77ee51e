"""The init of an action where there are no namespaces: the weakest tier.

A process of its own (see `start.py`), its link as stdin, which adopts what the action
leaves running, so that the same code can start, watch and end it. What it cannot do is hide
anything: the action sees the host with the eyes of its user. No new privileges, the system call
filter, rlimits and, where the kernel has it, Landlock still hold: then it can open only what a
sandbox would show, and the host's temporary places. Of its user's other processes it changes
nothing: no limit, priority or processor, and no file of theirs in /proc. As root it becomes another
user first.
"""

import os

from builder.sandbox import link, runner, running
from builder.sandbox.kernel import identity, landlock, signals
from builder.sandbox.kernel.seccomp import Filter, only_itself, program
from builder.sandbox.kernel.syscalls import MACHINE

FIRST_OWN_FD = 3
ZOMBIE = b"Z"

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable


def parents() -> dict[int, int]:
    """Of every living process on this host that can be seen: its parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state != ZOMBIE:
                found[int(name)] = int(parent)
    return found


def descendants(of: int) -> list[int]:
    known = parents()
    found: list[int] = []
    more = [of]
    while more:
        more = [child for child, parent in known.items() if parent in more]
        found += more
    return found


class Descendants:
    """Reaches what descends from this process, which adopts its orphans."""

    spent_s = 0.0

    def processes(self) -> list[int]:
        return descendants(os.getpid())

    def signal(self, number: int) -> bool:
        """Whether there was anybody. Forks may be faster than we look: the caller repeats."""
        found = self.processes()
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return bool(found)

    def alone(self, _program: int) -> bool:
        return True  # who has nobody to wait for, because orphans are adopted

    def ending(self) -> bool:
        return False  # nothing but each of them can be ended

    def sweep(self, reap: "Callable[[int], int]", _program: int, _asked: bool) -> float:
        """Kill and reap everything that is left, so that nothing is used that is not told of. Who
        has no child, and adopts every orphan, is alone: not all of the host need be looked at."""
        while reap(os.WNOHANG) != running.NOBODY and self.signal(signals.SIGKILL):
            while reap(0) != running.NOBODY:
                pass
        return 0.0


def main() -> int:
    """Run the one action that the link brings."""
    identity.close_on_exec_from(FIRST_OWN_FD)
    os.umask(0o022)
    sock = link.end(os.dup(0))
    packet, fds = link.receive_packet(sock)
    if not packet:
        return 0
    job = link.value_of(packet, fds)
    try:
        if job["uid"] is not None:
            os.setgroups([])
            os.setresgid(job["uid"], job["uid"], job["uid"])
            os.setresuid(job["uid"], job["uid"], job["uid"])
        identity.prctl(identity.PR_SET_CHILD_SUBREAPER, 1)
        identity.prctl(identity.PR_SET_NO_NEW_PRIVS, 1)
        identity.set_name("bldr-bare")
        abi = landlock.version()
        if abi >= landlock.OLDEST:
            landlock.Rules(abi, landlock.READ | landlock.CHANGE).put_on(job["allowed"])
        running.set_limits([running.NO_CORES])
        for rules in (program(MACHINE), only_itself(MACHINE)):
            Filter(rules).install()
        job["proxy"] = 0  # what has the host's network needs none
        deaths = signals.arrivals(signals.SIGCHLD)
        action = running.Action(sock, Descendants(), job["place"], [], deaths)
        action.learn(job, fds, sock)
        running.set_limits(job["rlimits"])
        action.run((0, 0, 0))
        action.conclude()
    except (OSError, KeyError) as error:
        running.tell(sock, runner.FAILED + f"{type(error).__name__}: {error}".encode())
    return 0
