"""A runner: makes sandboxes, one after the other, and runs one action in each.

    runner    make -> thread .................................. end -> make -> thread ...
    init            | shows /proc, reaps orphans ............ |
    thread           enter, lock -> ready -> action -> report |

No mount, process, file or right of one sandbox is in the next; only this process stays, whose
memory no action has ever seen, and the user namespace that it shares with no other runner.
Namespaces belong to a thread in Linux, and so do capabilities, the system call filter and
Landlock's rules: the runner makes new namespaces, in which it executes their init
(`kernel/init.py`), and starts a thread. That enters the control groups, gives up every privilege
for good, says that it is ready, and starts the action when there is one; program and thread end
together. The runner, whom the action cannot even name, because no process of it is in the action's
PID namespace, then ends the init, and the kernel everything else with it.

An action that is trusted and has left nothing may leave its sandbox to another of the same kind
(`reset.py`): then there is a new thread in the same namespaces.

Its report goes straight to the service, by a link that came with the action. What is unusual, such
as an action that had to be ended or that has changed this process's limits, ends the runner too.
"""

import _thread
import fcntl
import os

from builder.host.descriptors import ASIDE, aside
from builder.sandbox import link, plan, reset
from builder.sandbox.kernel import identity, init, landlock, mounts, shares, signals
from builder.sandbox.kernel.network import Network
from builder.sandbox.kernel.perform import steps_of
from builder.sandbox.kernel.seccomp import Filter, when_made
from builder.sandbox.kernel.syscalls import MACHINE, Steps
from builder.sandbox.namespace import Namespace
from builder.sandbox.running import Action, set_limits, tell

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    import _socket
    from collections.abc import Sequence

READY, FAILED = b"R", b"X"
DONE, LAST = b"D", b"L"  # the action has been reported, and there may be another one or not
KEPT = b"K"  # the same as the last, but the work tree is with the broker alone
AGAIN = b"A"  # the action has been reported, and its sandbox is ready for another
NEW, HOST = "new", "host"  # its network: its own, or the host's
NAMESPACES = identity.CLONE_NEWNS | identity.CLONE_NEWIPC | identity.CLONE_NEWUTS
OWN = identity.CLONE_NEWUSER | identity.CLONE_NEWNS | identity.CLONE_NEWPID
NOTHING_SPECIAL = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
PLACE = plan.WORK_TREE.encode()
MOST = 1000  # sandboxes of one runner: what leaks, leaks no longer
Word = tuple[bytes, tuple[int, ...]]  # what is told, with descriptors
VIEW = 1  # which of them is that of the mounts
CLOSED_ON_EXEC = os.O_RDONLY | os.O_CLOEXEC


class Kit:
    """What all runners of a zygote have in common, made before the fork. `counted` are the names
    of what the control groups count, and how much of it is the runner's own; `rooted` is whether
    the inputs of each action are its root."""

    def __init__(
        self, setup: "list[plan.Operation]", counted: "list[tuple[str, int]]", rooted: bool
    ) -> None:
        self.apart = Steps([("new namespaces", "unshare", (NAMESPACES,))])
        self.places = reset.Places(setup)
        self.init = init.Program(step for operation in setup for step in steps_of(operation))
        self.own_place = Steps([("a place", "unshare", (identity.CLONE_FS,))])
        self.own_groups = Steps([("a view of groups", "unshare", (identity.CLONE_NEWCGROUP,))])
        self.powerless = identity.powerless()
        self.calls = Filter(when_made(MACHINE))
        self.counted, self.rooted = counted, rooted
        abi = landlock.version()
        self.rules = landlock.Rules(abi, landlock.CHANGE) if abi >= landlock.OLDEST else None
        self.allowed = plan.allowed()

    def give_up(self) -> None:
        """Every privilege of this thread, for good. The work tree becomes its root before, where
        that is asked for: Landlock's rules are on what is outside of it then."""
        if self.rules is not None:
            self.rules.put_on(self.allowed)
        if self.rooted:
            os.chroot(plan.ROOT_TREE)
        self.powerless.perform()
        self.calls.install()


def main(sock: "_socket.socket", kit: Kit) -> None:
    """In a fork of the zygote: be the first of a user namespace and of a PID namespace, and make
    and run until the broker wants no more. Never returns."""
    try:
        identity.unshare(OWN)
        identity.map_ids("self", plan.USER_ID, plan.USER_ID, plan.USER_ID)
        if os.fork():
            os._exit(0)  # who unshares a PID namespace is not in it
        runner = Runner(sock, kit)
        sock = runner.sock
        while runner.turn():
            pass
    except (OSError, ValueError, KeyError) as error:
        tell(sock, FAILED + f"sandbox: {type(error).__name__}: {error}".encode()[:2000])
    finally:
        os._exit(0)


class Order:
    """What the broker wants to be made, and whether it may serve more than one action. The
    descriptors are the control groups' entrances, exits and counters, in this order."""

    def __init__(self, told: "tuple[str, int, int, bool]", fds: list[int]) -> None:
        self.network, entrances, exits, self.may_stay = told
        self.entrances, rest = fds[:entrances], fds[entrances:]
        self.exits, self.counters = rest[:exits], rest[exits:]
        self._entered: list[int] = []

    def enter(self, more: "Sequence[int]" = ()) -> None:
        """The control groups, and more of them, which all that come later have to enter as well:
        unless nobody comes, their entrances are kept, where they are in nobody's way."""
        for entrance in (*self._entered, *self.entrances, *more):
            os.write(entrance, b"0")
        for entrance in (*self.entrances, *more):
            try:
                if self.may_stay:
                    self._entered.append(fcntl.fcntl(entrance, fcntl.F_DUPFD_CLOEXEC, ASIDE))
            except OSError:  # the action's limit is too low for that
                self.may_stay = False
            os.close(entrance)
        self.entrances = []

    def close(self) -> None:
        for fd in (*self._entered, *self.exits, *self.counters):
            os.close(fd)


class Runner:
    """`turn` is one sandbox; `sock` is the link to the broker."""

    def __init__(self, sock: "_socket.socket", kit: Kit) -> None:
        mounts.mount("proc", "/proc", "proc", NOTHING_SPECIAL)
        shares.take()
        identity.hand_down(identity.CAP_SYS_ADMIN)  # for the inits' first call
        identity.drop_bounding_set()
        identity.prctl(identity.PR_SET_DUMPABLE, 0)
        identity.set_name("bldr-runner")
        self._kit = kit
        self.sock = link.end(aside(sock.detach()))
        self._init = aside(kit.init.fd)
        signals.signal(signals.SIGCHLD, signals.SIG_DFL)
        self._deaths = aside(signals.arrivals(signals.SIGCHLD))
        self._mounts = aside(os.open("/proc/self/ns/mnt", CLOSED_ON_EXEC))
        self._pids = aside(os.open("/proc/self/ns/pid", CLOSED_ON_EXEC))
        self._seen = aside(os.open("/proc", CLOSED_ON_EXEC | os.O_DIRECTORY))
        self._self = aside(os.pidfd_open(os.getpid()))
        self._network = Network()
        self._limits: list[tuple[int, int]] | None = None  # that this process has
        self._left = MOST
        self._action: Action
        self._made: reset.Made | None = None  # of a sandbox that others may have, too

    def turn(self) -> bool:
        """Make one, run the action that comes, and leave it; whether there may be another."""
        told, fds = link.receive(self.sock)
        if told is None:
            return False
        order = Order(told, fds)
        if order.network == NEW:
            self._network.refresh()
        self._kit.apart.perform()
        view = os.open("/proc/self/ns/mnt", CLOSED_ON_EXEC)
        namespace = Namespace(self._kit.init, self._init, self._seen, self._pids)
        counters = zip(self._kit.counted, order.counters, strict=True)
        counted = [(name, own, fd) for (name, own), fd in counters]
        descend = self._descend if self._kit.rooted else None
        self._made = None
        if order.may_stay:
            self._made = reset.Made(self._kit.places, self._seen, self._network)
        ready: Word = (READY, (namespace.pidfd, view, self._self))
        before: dict[str, int] = {}
        while True:
            use = 0 if self._made is None else self._made.uses
            self._action = Action(
                self.sock, namespace, PLACE, counted, self._deaths, descend, before, use
            )
            self._on_a_thread(order, namespace, ready)
            if not self._action.begun:
                return False
            if not (order.may_stay and self._is_as_made(namespace, counted)):
                break
            self._action.put_away()
            before, ready = reset.begin_again(counted), (AGAIN, ())
        sent = self._action.conclude()
        self._leave(order)
        self._left -= 1
        again = sent and self._left > 0 and self._action.ordinary and order.network == NEW
        tell(self.sock, DONE if again else LAST if sent else KEPT)
        return again

    def _is_as_made(self, namespace: Namespace, counted: "list[tuple[str, int, int]]") -> bool:
        """Whether the sandbox is such that another action may have it."""
        if self._made is None or not self._action.traceless:
            return False
        try:
            self._made.reset(namespace, counted)
        except (OSError, reset.DirtyError):
            return False
        return True

    def _on_a_thread(self, order: Order, namespace: Namespace, ready: Word) -> None:
        """Until the action's program has ended; `ready` is told before. Raises what is raised
        there."""
        ended = _thread.allocate_lock()
        ended.acquire()
        failed: list[BaseException] = []

        def body() -> None:
            try:
                self._lock_in(order, namespace)
                tell(self.sock, *ready)
                if ready[0] == READY:
                    os.close(ready[1][VIEW])
                self._attend(order)
            except BaseException as error:  # whatever it is, it is for who waits
                failed.append(error)
            finally:
                ended.release()

        _thread.start_new_thread(body, ())
        ended.acquire()
        if failed:
            raise failed[0]

    def _lock_in(self, order: Order, namespace: Namespace) -> None:
        """This thread, and whatever it starts. The control groups are entered before their
        namespace is made, whose root they become."""
        kit = self._kit
        kit.own_place.perform()
        order.enter()
        kit.own_groups.perform()
        namespace.enter()
        if not kit.rooted:
            kit.give_up()

    def _descend(self) -> bytes:
        """Into the inputs of the action, which are its root; they have come only now."""
        self._kit.give_up()
        return b"/"

    def _attend(self, order: Order) -> None:
        """Run the action that the broker brings a link for and the service names, in the work tree
        that the broker has made meanwhile; nothing when either of them is gone."""
        _, fds = link.receive_packet(self.sock)
        if not fds:
            return
        service = link.end(fds[0])
        job, files = link.receive(service)
        if job is None:
            return
        self._action.learn(job, files, service)
        if job["rlimits"] != self._limits:  # else this process has them already
            set_limits(job["rlimits"])
            self._limits = job["rlimits"]
        told, entrances = link.receive(self.sock)
        if told is not None:
            order.enter(entrances)
            self._action.run(told)

    def _leave(self, order: Order) -> None:
        """The sandbox's namespaces, and so the mounts of its work tree."""
        identity.set_namespace(self._mounts, identity.CLONE_NEWNS)
        for way_out in order.exits:
            os.write(way_out, b"0")
        order.close()
