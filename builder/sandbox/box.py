"""One sandbox as the broker sees it.

    MAKING --ready--> READY --begin--> RUNNING --gone--> GONE

From every state the death of its init leads to GONE: the kernel ends every process of a PID
namespace with its init, and `pidfd` becomes readable only when the last one has left. A running
action reports to the service itself; what the broker knows besides is in `facts`.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import os
import time

from builder.sandbox import inside, link
from builder.sandbox.kernel import identity, mounts, signals
from builder.sandbox.kernel.fanotify import Watch
from builder.sandbox.kernel.groups import Group, Groups, pid_of
from builder.sandbox.kernel.janitor import Janitor
from builder.sandbox.kernel.quota import Quota
from builder.sandbox.kernel.worktree import LAYER, OVERLAY, SHARED, WorkTrees, new_file
from builder.sandbox.plan import RESOLVER, TEMPORARY, WORK_TREE

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    import _socket
    from collections.abc import Mapping
    from typing import Any

MAKING, READY, RUNNING, GONE = "making", "ready", "running", "gone"
END, LINK = b"K", b"L"
AUDIT, CHEAP = "audit", "cheap"
FULL_NETWORK = "full"
SPARE_NETWORKS = 16
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
    ) -> None:
        self.forks = forks  # the link to the zygote
        self.networks: list[tuple[int, bytes]] = []  # used ones, with the traces they began with
        self.places = places  # of a sandbox's own mounts
        self.groups = groups
        self.trees = trees
        self.janitor = janitor
        self.own_view = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


class Box:
    """`sock` and, when ready, `pidfd` and `oom_event` are what the broker's loop watches."""

    def __init__(self, host: Host, number: int, network: str) -> None:
        self._host = host
        self.number = number
        self.network = network
        self.sock, self.far_end = link.pair()
        self.state = MAKING
        self.pidfd = self._view = self.oom_event = self._net = -1
        self._traces = b""
        self._group = Group(host.groups, number)
        self.run_id = -1
        self._is_overlay = False
        self.tree = -1  # its work tree, as long as it lives
        self._held: list[int] = []
        self.deadline: float | None = None
        self.looking_until: float | None = None
        self.overdue = self._asked = False
        self.watch: Watch | None = None
        self.quota: Quota | None = None

    def order(self) -> None:
        """Have it made. Its init is born with its link, the entrances to its groups, the counters
        of those, and a network if there is one that may be as good as new."""
        fds = [self.far_end.fileno(), *self._group.entrances, *self._group.counters]
        order, spare = inside.FULL, -1
        if self.network != FULL_NETWORK:
            order = inside.NEW
            if self._host.networks:
                spare, traces = self._host.networks.pop()
                fds.append(spare)
                order = inside.USED + traces
        link.send_packet(self._host.forks, order, tuple(fds))
        self.far_end.close()
        if spare >= 0:
            self._host.janitor.let_go([spare])

    def made(self, fds: list[int], traces: bytes) -> None:
        """The init has prepared itself, and entered its control groups."""
        self.pidfd, self._view, *rest = fds
        if rest:
            self._net, self._traces = rest[0], traces
        self._group.entered(self.pidfd)
        self.state = READY

    def begin(self, run_id: int, wish: "Mapping[str, Any]", answer: int, started: float) -> None:
        """Give it its action, which `answer` is the link for: the service says there what to run,
        and gets the report. Raises OSError; the box must then be destroyed."""
        self.run_id = run_id
        link.send_packet(self.sock, LINK, (answer,))  # it listens while we make its work tree
        self._group.limit(wish["memory"], wish["processes"], wish["cores"])
        if wish["memory"] is not None and self._host.groups.has("memory"):
            self.oom_event = self._group.watch_oom()
        if wish["shared"]:
            self.tree, kind = self._host.trees.share(wish["inputs"]), SHARED
        else:
            self.tree, kind = self._host.trees.make(wish["inputs"], wish["scratch"])
        self._held = [self.tree, *self._host.trees.released()]
        self._is_overlay = kind == OVERLAY
        self._attach(self.tree, wish)
        setup_us = int((time.monotonic() - started) * 1e6)
        link.send(self.sock, (setup_us, int(self._is_overlay)))
        self._host.trees.look_ahead()
        self.state = RUNNING
        asked = wish["disk_bytes"] is not None or wish["disk_files"] is not None
        if asked and self._is_overlay:  # a copy holds the inputs too
            layer = os.path.join(wish["scratch"], LAYER)
            devices = frozenset((os.stat(layer).st_dev, os.stat(self.tree).st_dev))
            own = pid_of(self.pidfd)
            self.quota = Quota(layer, wish["disk_bytes"], wish["disk_files"], own, devices)
        if wish["backstop_s"] is not None:
            self.deadline = time.monotonic() + wish["backstop_s"] + BACKSTOP_S

    def _attach(self, tree: int, wish: "Mapping[str, Any]") -> None:
        if wish["audit"] == CHEAP:
            records = new_file(wish["scratch"], AUDIT, os.O_APPEND)
            self.watch = Watch(records, pid_of(self.pidfd))
        resolver = -1
        if self.network == FULL_NETWORK and os.path.exists(RESOLVER):
            resolver = mounts.shown_file(RESOLVER)
            self._held.append(resolver)
        identity.set_namespace(self._view, identity.CLONE_NEWNS)
        try:
            mounts.attach(tree, WORK_TREE)
            if resolver >= 0:
                mounts.attach(resolver, RESOLVER)
            if wish["memory"] is not None and not self._host.groups.has("memory"):
                for place in TEMPORARY:  # a group would count what is in them
                    mounts.resize_tmpfs(place, wish["memory"])
            if self.watch is not None:
                self.watch.mark(self._host.places)
        finally:
            identity.set_namespace(self._host.own_view, identity.CLONE_NEWNS)

    def last_word(self) -> bytes:
        """What its init has said before it ended; nothing when it was killed."""
        self.sock.setblocking(False)
        try:
            packet, fds = link.receive_packet(self.sock)
        except BlockingIOError:
            return b""
        for fd in fds:
            os.close(fd)
        return packet

    def facts(self) -> "dict[str, Any]":
        """Of an action that did not end by itself."""
        return {
            "oom_kills": self._group.oom_kills(),
            "overdue": self.overdue,
            "disk_full": self.quota is not None and self.quota.over,
            "usage": dict(self._group.usage()),
            "overlay": int(self._is_overlay),
        }

    @property
    def was_ended(self) -> bool:
        """Whether the broker has had a hand in it."""
        return self.overdue or self._asked

    def memory_event(self) -> None:
        """Its memory group has run full. The kernel tells before it kills, and kills nobody when
        memory comes free meanwhile: look at the counter for a while (`look_again`)."""
        os.eventfd_read(self.oom_event)
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

    def _end(self) -> None:
        """Ask the init to end the action and report."""
        self._asked = True
        try:
            link.send_packet(self.sock, END)
        except OSError:
            self.kill()

    def kill(self) -> None:
        """The init, and with it everything."""
        try:
            signals.pidfd_send_signal(self.pidfd, signals.SIGKILL)
        except ProcessLookupError:
            pass

    @property
    def audit_event(self) -> int:
        return -1 if self.watch is None else self.watch.fd

    def descriptors(self) -> list[int]:
        """What the loop watches: its link until it is ready, then its end and what befalls it."""
        if self.pidfd < 0:
            return [self.sock.fileno()]
        return [fd for fd in (self.pidfd, self.oom_event, self.audit_event) if fd >= 0]

    def destroy(self) -> None:
        """Let go of everything; its processes must have gone. The groups go last."""
        self.state = GONE
        self.sock.close()
        self.far_end.close()
        if self.watch is not None:
            self.watch.close()
            self.watch = None
        fds = [*self._held, self.pidfd, self._view, self.oom_event]
        if self._traces and len(self._host.networks) < SPARE_NETWORKS:
            self._host.networks.append((self._net, self._traces))
        else:
            fds.append(self._net)
        self._host.janitor.let_go([fd for fd in fds if fd >= 0], self._group.remove)
