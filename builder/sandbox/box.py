"""One sandbox as the broker sees it.

    MAKING --ready--> READY --begin--> RUNNING --done--> GONE
                        `<--- again ------'

Its runner makes it, runs its action and says when all is over; from every state the runner's death
leads to GONE too, because its init dies with it: the kernel ends every process of a PID namespace
with its init, and `pidfd` becomes readable only when the last one has left. A running action
reports to the service itself; what the broker knows besides is in `facts`. A sandbox that is READY
again has a `kind`, and serves only actions of that (`kept.py`).
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import os
import time

from builder.sandbox import kept, link, runner
from builder.sandbox.kernel import epolls, identity, mounts, signals
from builder.sandbox.kernel.fanotify import Watch
from builder.sandbox.kernel.groups import Group, Groups, pid_of
from builder.sandbox.kernel.janitor import Janitor
from builder.sandbox.kernel.quota import Quota
from builder.sandbox.kernel.worktree import LAYER, OVERLAY, SHARED, WorkTrees, new_file
from builder.sandbox.plan import RESOLVER, TEMPORARY, WORK_TREE
from builder.sandbox.rooting import show_as_root

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    import _socket
    from collections.abc import Mapping
    from typing import Any

MAKING, READY, RUNNING, ENDING = "making", "ready", "running", "ending"
ORPHANED, GONE = "orphaned", "gone"  # the runner is no more; nor is anything else
ANOTHER, END, LINK = b"R", b"K", b"L"
SHUT_WRITING = 1
AUDIT, CHEAP = "audit", "cheap"
FULL_NETWORK = "full"
LOOK_S = 2.0
BACKSTOP_S = 10.0  # beyond the action's own deadline, before the init itself is killed


class Host:
    """What all boxes of a broker share."""

    def __init__(
        self,
        forks: "_socket.socket",
        groups: Groups,
        trees: WorkTrees,
        janitor: Janitor,
        places: list[str],
        rooted: bool,
        reuse: bool,
    ) -> None:
        self.forks = forks  # the link to the zygote
        self.rooted = rooted  # whether the inputs of each action are its root
        self.places = places  # of a sandbox's own mounts
        self.reuse = reuse  # whether a sandbox may serve more than one action
        self.groups = groups
        self.trees = trees
        self.janitor = janitor
        self.own_view = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


class Runner:
    """A runner as the broker knows it. `limits` are those that its process has for good: none as
    long as it has run nothing."""

    def __init__(self, host: Host) -> None:
        self.sock, far_end = link.pair()
        self.limits: list[tuple[int, int]] | None = None
        link.send_packet(host.forks, ANOTHER, (far_end.fileno(),))
        far_end.close()

    def fits(self, wish: "Mapping[str, Any]") -> bool:
        """Whether it can run this. A supervisor's own files are under the same limits."""
        if self.limits is None:
            return True
        bounded = wish["file_bytes"] is not None or wish["open_files"] is not None
        return self.limits == wish["rlimits"] and not (wish["supervised"] and bounded)


class Box:
    """`sock` is the link to its runner, `pidfd` its init's, and `word` what the runner has said at
    the end; `descriptors` are what the broker's loop watches."""

    def __init__(self, host: Host, number: int, network: str, maker: Runner) -> None:
        self._host = host
        self.number = number
        self.network = network
        self.runner, self.sock = maker, maker.sock
        self.word = b""
        self.state = MAKING
        self.pidfd = self._view = self.oom_event = self._runner_fd = -1
        self._group = Group(host.groups, number)
        self.run_id = -1
        self._is_overlay = False
        self.tree = -1  # its work tree, as long as it lives
        self._held: list[int] = []
        self._begun = 0.0
        self.kind: kept.Kind | None = None  # of the actions that it has served and may serve
        self.since = 0.0  # when it has waited for the next one from
        self._wish: Mapping[str, Any] = {}
        self._uses = 0  # how many actions it has served
        self.deadline: float | None = None
        self.looking_until: float | None = None
        self.overdue = self._asked = self._greedy = False
        self.awaited = False  # whether the service waits for the end of all of it
        self.watch: Watch | None = None
        self.quota: Quota | None = None

    def order(self) -> None:
        """Have it made, with the entrances to its groups and their counters."""
        group = self._group
        network = runner.HOST if self.network == FULL_NETWORK else runner.NEW
        told = (network, len(group.entrances), len(group.exits), self._host.reuse)
        try:
            link.send(self.sock, told, (*group.entrances, *group.exits, *group.counters))
        except BrokenPipeError:
            pass  # it was killed while it had nothing to do: the link says so

    def made(self, fds: list[int]) -> None:
        """It is ready, and the runner has entered its control groups."""
        self.pidfd, self._view, self._runner_fd = fds
        self.state = READY

    def dismiss(self) -> None:
        """Nobody is going to need it, or it is of no use."""
        self.state = ENDING
        try:
            self.sock.shutdown(SHUT_WRITING)
        except OSError:
            pass  # the runner is no more

    def begin(self, run_id: int, wish: "Mapping[str, Any]", answer: int, started: float) -> None:
        """Give it its action, which `answer` is the link for: the service says there what to run,
        and gets the report. Raises OSError; the box must then be destroyed."""
        self.run_id, self._wish = run_id, wish
        link.send_packet(self.sock, LINK, (answer,))  # it listens while we make its work tree
        if self.kind is None:  # else it has these limits
            self._limit(wish)
        limited = time.monotonic()
        if wish["shared"]:
            self.tree, kind = self._host.trees.share(wish["inputs"]), SHARED
        else:
            self.tree, kind = self._host.trees.make(wish["inputs"], wish["scratch"])
        self._held = [self.tree, *self._host.trees.released()]
        self._is_overlay = kind == OVERLAY
        self._attach(self.tree, wish)
        attached = time.monotonic()
        told = (_us(attached - started), _us(attached - limited), int(self._is_overlay))
        link.send(self.sock, told, tuple(self._group.late))
        self._begun = time.monotonic()
        self._host.trees.look_ahead()
        self.state = RUNNING
        asked = wish["disk_bytes"] is not None or wish["disk_files"] is not None
        if asked and self._is_overlay:  # a copy holds the inputs too
            layer = os.path.join(wish["scratch"], LAYER)
            devices = frozenset((os.stat(layer).st_dev, os.stat(self.tree).st_dev))
            own = pid_of(self._runner_fd)
            self.quota = Quota(layer, wish["disk_bytes"], wish["disk_files"], own, devices)
        if wish["backstop_s"] is not None:
            self.deadline = time.monotonic() + wish["backstop_s"] + BACKSTOP_S

    def _limit(self, wish: "Mapping[str, Any]") -> None:
        self.runner.limits = wish["rlimits"]
        self._group.limit(wish["memory"], wish["processes"], wish["cores"])
        if wish["memory"] is not None and self._host.groups.has("memory"):
            self.oom_event = self._group.watch_oom()

    def may_stay(self) -> bool:
        """Whether it is fit for another action, as far as the broker can tell; the runner says
        that of all else."""
        if self.state != RUNNING or self.was_ended or self.watch is not None:
            return False
        return kept.bearable(self._group.charged_bytes(), self._wish["memory"])

    def stay(self) -> None:
        """Its action has ended, and it waits for the next one of the same kind."""
        self.kind, self._uses = kept.kind_of(self._wish), self._uses + 1
        self._host.janitor.let_go(self._held)
        self._held, self.tree, self.run_id = [], -1, -1
        self.awaited, self.quota = False, None
        self.deadline = self.looking_until = None
        self.since = time.monotonic()
        self.state = READY

    def _attach(self, tree: int, wish: "Mapping[str, Any]") -> None:
        if wish["audit"] == CHEAP:
            records = new_file(wish["scratch"], AUDIT, os.O_APPEND)
            self.watch = Watch(records, pid_of(self._runner_fd))
        resolver = -1
        if self.network == FULL_NETWORK and os.path.exists(RESOLVER):
            resolver = mounts.shown_file(RESOLVER)
            self._held.append(resolver)
        identity.set_namespace(self._view, identity.CLONE_NEWNS)
        try:
            mounts.attach(tree, WORK_TREE)
            if self._host.rooted:
                show_as_root(resolver, self._held)
            elif resolver >= 0:
                mounts.attach(resolver, RESOLVER)
            if wish["memory"] is not None and not self._host.groups.has("memory"):
                for place in TEMPORARY:  # a group would count what is in them
                    mounts.resize_tmpfs(place, wish["memory"])
            if self.watch is not None:
                self.watch.mark(self._host.places)
        finally:
            identity.set_namespace(self._host.own_view, identity.CLONE_NEWNS)

    def facts(self) -> "dict[str, Any]":
        """Of an action that did not end by itself."""
        wall_us = int((time.monotonic() - self._begun) * 1e6)
        return {
            "oom_kills": self._group.oom_kills(),
            "overdue": self.overdue,
            "disk_full": self.quota is not None and self.quota.over,
            "greedy": self._greedy,
            "usage": {**self._usage(), "wall_us": wall_us},
            "overlay": int(self._is_overlay),
            "reused": self._uses,
        }

    def _usage(self) -> "Mapping[str, int]":
        """Of this action alone, where the groups have not counted others before."""
        return self._group.usage() if self.kind is None else {}

    @property
    def begun(self) -> bool:
        """Whether its action was set up."""
        return self._begun > 0

    @property
    def was_ended(self) -> bool:
        """Whether the broker has had a hand in it."""
        return self.overdue or self._asked

    def memory_event(self) -> None:
        """Its memory group has run full. The kernel tells before it kills, and kills nobody when
        memory comes free meanwhile: look at the counter for a while (`look_again`)."""
        os.eventfd_read(self.oom_event)
        if self.state == RUNNING:
            self.looking_until = time.monotonic() + LOOK_S

    def look_again(self, now: float) -> None:
        """When a process was killed for memory, the whole action ends."""
        if self.looking_until is None or self.state != RUNNING:
            self.looking_until = None
        elif self._group.oom_kills():
            self.looking_until = None
            self._end()
        elif now >= self.looking_until:
            self.looking_until = None

    def look_at_disk(self, now: float) -> None:
        """When it has written too much, it ends. The look itself is the janitor's."""
        if self.quota is None or self.state != RUNNING or now < self.quota.next:
            return
        if self.quota.over:
            self.quota.next = now + LOOK_S
            self._end()
        elif self.quota.due(now):
            self._host.janitor.do(self.quota.look)

    def namespace(self) -> int:
        """The number of its PID namespace. Raises OSError, ValueError when it has ended."""
        return epolls.namespace(pid_of(self.pidfd))

    def has_taken_all(self) -> None:
        """It has used up what others need, and ends."""
        if self.state == RUNNING:
            self._greedy = True
            self._end()

    def _end(self) -> None:
        """Ask the init to end the action and report."""
        self._asked = True
        try:
            link.send_packet(self.sock, END)
        except OSError:
            self.kill()

    def kill(self) -> None:
        """The init, and with it everything; the runner is told that there is nothing to come."""
        self.dismiss()
        try:
            signals.pidfd_send_signal(self.pidfd, signals.SIGKILL)
        except ProcessLookupError:
            pass

    @property
    def audit_event(self) -> int:
        return -1 if self.watch is None else self.watch.fd

    def descriptors(self) -> list[int]:
        """What the loop watches: its link, and what befalls it; its init when nothing runs, and
        when the runner is no more."""
        first = () if self.state == ORPHANED else (self.sock.fileno(),)
        init = (self.pidfd,) if self.state in (READY, ORPHANED) else ()
        return [fd for fd in (*first, *init, self.oom_event, self.audit_event) if fd >= 0]

    def destroy(self) -> None:
        """Let go of everything but its runner; its processes must have gone. The groups go last."""
        self.state = GONE
        if self.watch is not None:
            self.watch.close()
            self.watch = None
        if self._host.janitor.behind:
            self._group.give_up()
        fds = [*self._held, self.pidfd, self._view, self.oom_event, self._runner_fd]
        self._host.janitor.let_go([fd for fd in fds if fd >= 0], self._group.remove)


def _us(seconds: float) -> int:
    return int(seconds * 1e6)
