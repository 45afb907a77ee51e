"""The broker: holds the privileges, keeps sandboxes ready, gives each action its own.

    service --run, kill, await--> broker --fork--> zygote --fork--> runner
            <-------gone---------        --make, action-----------> runner --> init, action
                                         <-----ready, done---------
            <-----------------------------------report-------------

Of an action that ended by itself its report says all, and "gone" is told to who awaits that.
Started as a file by a bare interpreter (see `start.py`), its link as stdin. It never forks after
its start and imports only the core, so neither its own memory nor the service's is ever copied.
One thread, one loop; it lives as long as the service holds the other end of its link.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import os
import select
import sys
import time

from builder.host.descriptors import allow_many
from builder.sandbox import kept, link, runner
from builder.sandbox.box import ENDING, MAKING, ORPHANED, READY, Box, Host, Runner
from builder.sandbox.founding import ROOT, StartError, enter_own_view, owner_map, start_zygote
from builder.sandbox.kernel import epolls, identity, landlock
from builder.sandbox.kernel.groups import Groups
from builder.sandbox.kernel.janitor import Janitor
from builder.sandbox.kernel.perform import SetupError
from builder.sandbox.kernel.worktree import WorkTrees
from builder.sandbox.plan import own_places, template

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    import _socket
    from typing import Any

FIRST_OWN_FD = 3
NONE = "none"  # no network but its own
LOOK_EVERY_S = 0.01
REFILL_AFTER_S = 0.003
AGAIN_AFTER_S = 1.0
MOST_FAILURES = 2
IDLE_FOR_EACH = 2
READY_FDS = 3
MS = 1000  # in a second
BY_ITSELF = (runner.DONE, runner.LAST, runner.AGAIN)  # an action has ended, as its report says


class Wanted:
    """An action that waits for a sandbox. `answer` is its link to the service."""

    def __init__(self, run_id: int, wish: "dict[str, Any]", answer: int) -> None:
        self.run_id, self.wish, self.answer = run_id, wish, answer
        self.network = wish["network"]
        self.kind = kept.kind_of(wish)
        self.since = time.monotonic()
        self.failed = 0  # how many sandboxes could not be made for it

    def can_have(self, box: Box) -> bool:
        if box.kind is not None:
            return box.kind == self.kind
        return box.network == self.network and box.runner.fits(self.wish)

    def drop(self) -> None:
        """Close our copy of the link, whose end the service then sees."""
        os.close(self.answer)


def reason_in(packet: bytes) -> str:
    """What a runner or the zygote said instead of being ready, or instead of a report."""
    return packet[1:].decode(errors="replace") or "the sandbox's runner died"


class Broker:
    """The loop. `ready` sandboxes are kept in number; `waiting` runs take the next ones.

    A sandbox that has been taken is replaced when an action ends, by the same runner, or, when it
    was the last one, a moment after it has begun: the processors are needed for the program's
    start.
    """

    def __init__(self, service: "_socket.socket", host: Host, keep: int) -> None:
        self._service, self._host, self._keep = service, host, keep
        self._poll = select.poll()  # not epoll, whose watches an action may have used up
        self._boxes: dict[int, Box] = {}
        self._by_fd: dict[int, Box] = {}
        self._by_run: dict[int, Box] = {}
        self._waiting: list[Wanted] = []
        self._idle: list[Runner] = []
        self._number = 0
        self._refill_at: float | None = None

    def run(self, told: "dict[str, Any]") -> None:
        """Tell the service what there is, and serve it until it has gone."""
        self._tell(("up", told))
        self._poll.register(self._service, select.POLLIN)
        self._poll.register(self._host.forks, select.POLLIN)
        self._refill()
        while True:
            for fd, _ in self._poll.poll(self._patience() * MS):
                if fd == self._service.fileno():
                    request, fds = link.receive(self._service)
                    if request is None:
                        return
                    self._requested(request, fds)
                elif fd == self._host.forks.fileno():
                    raise StartError("the zygote has died")
                elif fd in self._by_fd:
                    self._happened(self._by_fd[fd], fd)
            self._time_passed()
            if self._host.janitor.failed is not None:
                raise self._host.janitor.failed

    def _patience(self) -> float:
        """Seconds until something has to be looked at; -1 is never."""
        if any(box.looking_until is not None for box in self._boxes.values()):
            return LOOK_EVERY_S
        deadlines = [box.deadline for box in self._by_run.values() if box.deadline is not None]
        deadlines += [box.quota.next for box in self._by_run.values() if box.quota is not None]
        if self._refill_at is not None:
            deadlines.append(self._refill_at)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else -1

    def _time_passed(self) -> None:
        now = time.monotonic()
        for box in self._by_run.values():
            box.look_again(now)
            box.look_at_disk(now)
            if box.deadline is not None and now >= box.deadline:
                box.deadline, box.overdue = None, True
                box.kill()
        if self._refill_at is not None and now >= self._refill_at:
            self._refill()

    def _tell(self, value: object, fds: "tuple[int, ...]" = ()) -> None:
        try:
            link.send(self._service, value, fds)
        except OSError:
            pass  # it has gone: the loop will read the end of its link next

    def _requested(self, request: "tuple[Any, ...]", fds: list[int]) -> None:
        kind, run_id, *rest = request
        if kind in ("kill", "await"):
            if run_id in self._by_run:
                self._by_run[run_id].awaited = True
                if kind == "kill":
                    self._by_run[run_id].kill()
            else:
                for wanted in self._waiting:
                    if wanted.run_id == run_id:
                        wanted.drop()
                self._waiting = [wanted for wanted in self._waiting if wanted.run_id != run_id]
                self._tell(("gone", run_id, None))
            return
        if kind == "exhausted":
            self._end_greediest()
            return
        self._waiting.append(Wanted(run_id, rest[0], fds[0]))
        self._match()

    def _end_greediest(self) -> None:
        """The service was refused a watch of epoll: whoever has them all ends."""
        found: dict[int, Box] = {}
        for box in self._by_run.values():
            try:
                found[box.namespace()] = box
            except (OSError, ValueError):
                continue  # it has just ended
        worst = epolls.greediest(found)
        if worst in found:
            found[worst].has_taken_all()

    def _match(self) -> None:
        """Give ready sandboxes to waiting runs, oldest first, and have the missing ones made."""
        for wanted in list(self._waiting):
            box = self._ready(wanted)
            if box is not None:
                self._waiting.remove(wanted)
                self._begin(box, wanted)
        if self._waiting:
            self._refill()

    def _ready(self, wanted: Wanted) -> Box | None:
        """The latest one, whose runner is the warmest; rather one that has served its kind."""
        boxes = reversed(self._boxes.values())
        fit = (b for b in boxes if b.state == READY and wanted.can_have(b))
        if wanted.kind is None:
            return next(fit, None)
        return max(fit, key=lambda box: box.kind is not None, default=None)

    def _refill(self) -> None:
        """One for each that waits and that none suits which is ready or being made, and some to
        spare; of those that are too many, the oldest go. Runners may have nothing to do, two for
        each that is kept ready: while as many run and as many end, nobody has to be forked."""
        self._refill_at = None
        spare = [b for b in self._boxes.values() if b.state in (MAKING, READY)]
        for wanted in self._waiting:
            box = next((b for b in spare if wanted.can_have(b)), None)
            if box is not None:
                spare.remove(box)
            else:
                self._make(wanted.network, self._runner_for(wanted))
        for box in kept.surplus([b for b in spare if b.state == READY], self._keep):
            box.dismiss()
        spare = [box for box in spare if box.network == NONE and box.kind is None]
        for _ in range(self._keep - len(spare)):
            self._make(NONE, self._idle.pop() if self._idle else Runner(self._host))
        for box in [box for box in spare if box.state == READY][: max(0, len(spare) - self._keep)]:
            box.dismiss()
        while len(self._idle) > IDLE_FOR_EACH * self._keep:
            self._idle.pop(0).sock.close()

    def _runner_for(self, wanted: Wanted) -> Runner:
        """An idle one that suits, which has left the host's network for good, or a new one."""
        for idle in self._idle:
            if wanted.network == NONE and idle.fits(wanted.wish):
                self._idle.remove(idle)
                return idle
        return Runner(self._host)

    def _make(self, network: str, maker: Runner) -> None:
        self._number += 1
        box = Box(self._host, self._number, network, maker)
        box.order()
        self._boxes[box.number] = box
        self._watch(box)

    def _watch(self, box: Box) -> None:
        for fd in box.descriptors():
            if fd not in self._by_fd:
                self._by_fd[fd] = box
                self._poll.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._by_fd.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def _begin(self, box: Box, wanted: Wanted) -> None:
        self._by_run[wanted.run_id] = box
        try:
            box.begin(wanted.run_id, wanted.wish, wanted.answer, wanted.since)
        except OSError as error:
            self._tell(("error", box.run_id, f"setting up the sandbox: {error}"))
            box.state = ENDING
            box.kill()
        finally:
            wanted.drop()
        self._unwatch(box.pidfd)
        self._watch(box)
        if self._refill_at is None and self._ready(wanted) is None:
            self._refill_at = time.monotonic() + REFILL_AFTER_S

    def _happened(self, box: Box, fd: int) -> None:
        if fd == box.pidfd:
            self._unwatch(fd)
            if box.state == ORPHANED:
                self._gone(box)
            else:  # its init was killed
                box.dismiss()
        elif fd == box.oom_event:
            box.memory_event()
        elif fd == box.audit_event and box.watch is not None:
            box.watch.drain()
        else:
            packet, fds = link.receive_packet(box.sock)
            if box.state == MAKING:
                if packet[:1] == runner.READY and len(fds) == READY_FDS:
                    box.made(fds)
                    self._watch(box)
                    self._match()
                else:
                    self._unwatch(fd)
                    self._unmade(box, reason_in(packet))
            elif packet == runner.AGAIN and box.may_stay():
                self._stays(box)
            else:
                self._unwatch(fd)
                self._told_end(box, packet)

    def _stays(self, box: Box) -> None:
        """Its action has ended and left nothing, and it waits for another."""
        del self._by_run[box.run_id]
        if box.awaited:
            self._tell(("gone", box.run_id, None))
        box.stay()
        self._watch(box)
        self._match()
        self._refill()

    def _told_end(self, box: Box, word: bytes) -> None:
        """Its runner has ended it, or is no more, and its init on its way."""
        box.word = word
        if word in (runner.DONE, runner.LAST, runner.KEPT):
            self._gone(box)
        else:
            box.kill()
            box.state = ORPHANED
            self._watch(box)

    def _unmade(self, box: Box, message: str) -> None:
        """It could not be made: another one is, and whoever waits for the second in vain gets the
        error. A runner that has run something does not count: its limits are those of an action,
        and others of the same user may have used them up."""
        del self._boxes[box.number]
        box.destroy()
        box.runner.sock.close()
        if not self._waiting:
            self._refill_at = time.monotonic() + AGAIN_AFTER_S
            return
        self._waiting[0].failed += box.runner.limits is None
        if self._waiting[0].failed == MOST_FAILURES:
            wanted = self._waiting.pop(0)
            wanted.drop()
            self._tell(("error", wanted.run_id, message))
            self._tell(("gone", wanted.run_id, None))
        self._match()

    def _gone(self, box: Box) -> None:
        """Every process of it has ended."""
        facts: dict[str, Any] | None = None
        if box.watch is not None:
            box.watch.finish()
        by_itself = box.word in BY_ITSELF and not box.was_ended
        if box.run_id >= 0:
            if box.word[:1] == runner.FAILED and not box.was_ended:
                self._tell(("error", box.run_id, reason_in(box.word)))
            elif not by_itself and box.begun:  # else it was never set up, as has been told
                facts = box.facts()
        for fd in (*box.descriptors(), box.pidfd):
            self._unwatch(fd)
        del self._boxes[box.number]
        self._by_run.pop(box.run_id, None)
        if box.run_id >= 0 and (box.awaited or not by_itself):  # else its report has said it all
            self._tell(("gone", box.run_id, facts), () if facts is None else (box.tree,))
        box.destroy()
        if box.word == runner.DONE:
            self._idle.append(box.runner)
        else:
            box.runner.sock.close()
        self._match()
        self._refill()


def link_to_service() -> "_socket.socket":
    """Its end came as stdin, which becomes /dev/null."""
    service = link.end(os.dup(0))
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    return service


def main() -> int:
    """Serve until the service goes, then leave nothing behind."""
    identity.close_on_exec_from(FIRST_OWN_FD)
    os.umask(0o022)
    allow_many()
    identity.set_name("bldr-broker")
    service = link_to_service()
    config, _held = link.receive(service)  # a pipe's end, which the keeper is to inherit
    if config is None:
        return 0
    groups = Groups()
    forks: _socket.socket | None = None
    try:
        enter_own_view()
        owner = config["uid"] if os.getuid() == ROOT else None
        owners = owner_map(owner) if owner is not None else 0
        trees = WorkTrees(owner, owners)
        rooted = config["rooted"]
        root = template(config["read_only"], config["root"], config["layers"], rooted)
        counted = [(n, groups.runners if n == "processes" else 0) for n, _, _ in groups.counted]
        forks = start_zygote(service, config, root, counted, owners)
        reuse = config["reuse"] and not rooted
        host = Host(forks, groups, trees, Janitor(), own_places(root), rooted, reuse)
        broker = Broker(service, host, config["ready"])
        features = sorted(groups.at)
        if landlock.version() >= landlock.OLDEST:
            features.append("landlock")
        broker.run({"problems": groups.problems, "features": features})
    except (OSError, SetupError, StartError) as error:
        tell_end(service, str(error))
    finally:
        if forks is not None:
            forks.close()
        clean(groups)
    return 0


def tell_end(service: "_socket.socket", reason: str) -> None:
    try:
        link.send(service, ("down", reason))
    except OSError:
        print(f"sandbox broker: {reason}", file=sys.stderr)  # noqa: T201 - nobody else listens


def clean(groups: Groups) -> None:
    """The zygote's death, which follows from its link's end, takes every sandbox along."""
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        groups.close()
