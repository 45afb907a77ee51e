"""The init of one sandbox: PID 1 of its namespace, for one action.

It prepares itself (namespaces, mounts, no privileges, system call filter), says that it is
ready, waits for the action, and runs it (`running`). Its report goes straight to the service, by
a link that came with the action; the broker only sees it end.

Order of giving up privileges: mounts and loopback need those of the zygote's user namespace; a
nested user namespace, which owns nothing, then replaces them; its capabilities are dropped last.
"""

import _socket
import os

from builder.sandbox import link, plan
from builder.sandbox.kernel import identity, landlock, signals
from builder.sandbox.kernel.perform import Prepared, SetupError
from builder.sandbox.kernel.seccomp import Filter
from builder.sandbox.running import Action, Namespace, tell

READY, FAILED, DONE = b"R", b"X", b"D"
NAMESPACES = identity.CLONE_NEWNS | identity.CLONE_NEWIPC | identity.CLONE_NEWUTS
NAMESPACES |= identity.CLONE_NEWCGROUP
PLACE = plan.WORK_TREE.encode()


class Kit:
    """What every sandbox of a zygote has in common, made before the fork. `counted` are the names
    of what the control groups count."""

    def __init__(self, setup: "list[plan.Operation]", counted: "list[str]") -> None:
        self.setups = {True: Prepared(setup), False: Prepared([*setup, ("loopback",)])}
        self.calls = Filter()
        self.counted = counted
        abi = landlock.version()
        self.rules = landlock.Rules(abi, landlock.CHANGE) if abi >= landlock.OLDEST else None
        self.allowed = plan.allowed()


def main(sock: "_socket.socket", fds: list[int], kit: Kit, full_network: bool) -> None:
    """Prepare, run one action, report. Never returns.

    `fds` are the control groups to enter, before their namespace is unshared, and then the files
    in which they count.
    """
    try:
        entrances = len(fds) - len(kit.counted)
        for entrance in fds[:entrances]:
            os.write(entrance, b"0")
            os.close(entrance)
        view = prepare(kit, full_network)
        own = os.pidfd_open(os.getpid())
        tell(sock, READY, (own, view))
        os.close(own)
        os.close(view)
        counters = list(zip(kit.counted, fds[entrances:], strict=True))
        action = Action(sock, Namespace(), PLACE, counters)
        action.rehearse()
        packet, fds = link.receive_packet(sock)
        if packet:
            job, setup_us, overlay = link.value_of(packet, fds)
            action.run(link.value_of(job, []), fds, (setup_us, overlay))
            tell(sock, DONE)
    except (OSError, SetupError, ValueError, KeyError) as error:
        tell(sock, FAILED + f"sandbox: {type(error).__name__}: {error}".encode()[:2000])
    finally:
        os._exit(0)


def prepare(kit: Kit, full_network: bool) -> int:
    """From a fork of the zygote to a locked sandbox; a descriptor of its mount namespace."""
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)
    identity.unshare(NAMESPACES | (0 if full_network else identity.CLONE_NEWNET))
    kit.setups[full_network].perform()
    view = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    identity.unshare(identity.CLONE_NEWUSER)
    identity.map_ids("self", plan.USER_ID, plan.USER_ID, plan.USER_ID)
    identity.drop_bounding_set()
    identity.drop_capabilities()
    identity.prctl(identity.PR_SET_NO_NEW_PRIVS, 1)
    identity.prctl(identity.PR_SET_DUMPABLE, 0)
    if kit.rules is not None:
        kit.rules.put_on(kit.allowed)
    kit.calls.install()
    identity.set_name("bldr-init")
    return view
