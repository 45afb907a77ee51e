"""The init of one sandbox: PID 1 of its namespace, for one action.

It prepares itself (namespaces, mounts, no privileges, system call filter), says that it is
ready, waits for the action, and runs it (`running`). Its report goes straight to the service, by
a link that came with the action; the broker only sees it end.

Order of giving up privileges: mounts and loopback need those of the zygote's user namespace; a
nested user namespace, which owns nothing, then replaces them; its capabilities are dropped last.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import _socket
import os

from builder.host.cgroups import read_text
from builder.sandbox import link, plan
from builder.sandbox.kernel import identity, landlock, network, signals
from builder.sandbox.kernel.perform import Prepared
from builder.sandbox.kernel.seccomp import Filter, when_made
from builder.sandbox.kernel.syscalls import MACHINE, Steps
from builder.sandbox.running import Action, Namespace, tell

READY, FAILED, DONE = b"R", b"X", b"D"
KEPT = b"K"  # done, but the work tree is with the broker alone
NEW, USED, FULL = b"N", b"U", b"F"  # its network: its own, one used before, or the host's
NAMESPACES = identity.CLONE_NEWNS | identity.CLONE_NEWIPC | identity.CLONE_NEWUTS
NAMESPACES |= identity.CLONE_NEWCGROUP
PLACE = plan.WORK_TREE.encode()
COUNTED = "/proc/sys/user"


class Parts:
    """Of what the kernel counts for a user with all of its user namespaces, and no limit of a
    process bounds: none may have more than a quarter of what the user may."""

    def __init__(self) -> None:
        self._files: list[tuple[bytes, bytes]] = []
        self._place = -1
        if not os.path.isdir(COUNTED):
            return
        self._place = os.open(COUNTED, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in ("instances", "watches"):
            most = int(read_text(f"/proc/sys/fs/inotify/max_user_{name}")) // 4
            path = f"/proc/self/fd/{self._place}/max_inotify_{name}"
            self._files.append((path.encode(), str(most).encode()))

    def take(self) -> None:
        """In a fork, whose user namespace is new; by a view of /proc that can be written."""
        try:
            identity.write_all(self._files)
        except OSError:
            pass  # a security module of the host's lets nobody write there
        if self._place >= 0:
            os.close(self._place)


class Kit:
    """What every sandbox of a zygote has in common, made before the fork. `counted` are the names
    of what the control groups count, `capabilities` is how many there are."""

    def __init__(
        self, setup: "list[plan.Operation]", counted: "list[str]", capabilities: int
    ) -> None:
        self.apart = Steps([("new namespaces", "unshare", (NAMESPACES,))])
        self.setup = Prepared(setup)
        self.nobody = Steps([("a user namespace", "unshare", (identity.CLONE_NEWUSER,))])
        self.mapped = identity.id_map("self", plan.USER_ID, plan.USER_ID, plan.USER_ID)
        self.part_of = Parts()
        self.powerless = identity.powerless(capabilities)
        self.calls = Filter(when_made(MACHINE))
        self.counted = counted
        abi = landlock.version()
        self.rules = landlock.Rules(abi, landlock.CHANGE) if abi >= landlock.OLDEST else None
        self.allowed = plan.allowed()


def main(sock: "_socket.socket", fds: list[int], kit: Kit, order: bytes) -> None:
    """Prepare, run one action, report. Never returns.

    `fds` are the control groups to enter, before their namespace is unshared, then the files in
    which they count, and last a network used before, whose traces follow in the order.
    """
    try:
        used = fds.pop() if order[:1] == USED else -1
        entrances = len(fds) - len(kit.counted)
        for entrance in fds[:entrances]:
            os.write(entrance, b"0")
            os.close(entrance)
        known, traces = prepare(kit, order, used)
        tell(sock, READY + traces, known)
        for fd in known:
            os.close(fd)
        counters = list(zip(kit.counted, fds[entrances:], strict=True))
        action = Action(sock, Namespace(), PLACE, counters)
        action.rehearse()
        perform(action, sock)
    except (OSError, ValueError, KeyError) as error:
        tell(sock, FAILED + f"sandbox: {type(error).__name__}: {error}".encode()[:2000])
    finally:
        os._exit(0)


def perform(action: Action, sock: "_socket.socket") -> None:
    """The action that the broker brings a link for and the service names, in the work tree that
    the broker has made meanwhile; nothing when either of them is gone."""
    _, fds = link.receive_packet(sock)
    if not fds:
        return
    service = _socket.socket(fileno=fds[0])
    job, files = link.receive(service)
    if job is None:
        return
    action.learn(job, files, service)
    told, _ = link.receive(sock)
    if told is not None:
        tell(sock, DONE if action.run(told) else KEPT)


def enter_network(order: bytes, used: int) -> bytes:
    """As ordered; the traces that it has been made with."""
    if order == FULL:
        return b""
    if used < 0:
        return network.make()
    traces = network.take(used, order[1:])
    os.close(used)
    return traces


def prepare(kit: Kit, order: bytes, used: int) -> "tuple[tuple[int, ...], bytes]":
    """From a fork of the zygote to a locked sandbox. Descriptors of its process, of its mounts and
    of its network, and what traces the latter was made with."""
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)
    kit.apart.perform()
    traces = enter_network(order, used)
    kit.setup.perform()
    spaces = ("mnt",) if order == FULL else ("mnt", "net")
    flags = os.O_RDONLY | os.O_CLOEXEC
    known = [os.pidfd_open(os.getpid()), *(os.open(f"/proc/self/ns/{s}", flags) for s in spaces)]
    kit.nobody.perform()
    identity.write_all(kit.mapped)
    kit.part_of.take()
    kit.powerless.perform()
    if kit.rules is not None:
        kit.rules.put_on(kit.allowed)
    kit.calls.install()
    identity.set_name("bldr-init")
    return tuple(known), traces
