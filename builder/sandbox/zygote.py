"""The zygote: a small process, already in the template root, that forks runners.

Broker -> keeper -> zygote -> runners. The keeper exists because a process enters a new PID
namespace only by being born in it; it waits and dies with the broker. The zygote is PID 1 of that
outer namespace, so whatever ends it ends every sandbox. It keeps capabilities over its user
namespace and never leaves it; its runners (`runner`) have one of their own each. What no sandbox
needs to be made is denied to itself already.
"""

import gc
import os

from builder.sandbox import link, plan, runner
from builder.sandbox.kernel import identity, mounts, signals
from builder.sandbox.kernel.image import image_root
from builder.sandbox.kernel.perform import SetupError, lay, open_trees, put
from builder.sandbox.kernel.seccomp import Filter, while_making
from builder.sandbox.kernel.syscalls import MACHINE
from builder.sandbox.running import NO_CORES, set_limits

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    import _socket

PLACES = ("/tmp", "/usr")  # noqa: S108 - where the new root is built, in a namespace of its own
UP, DOWN = b"U", b"X"
NEW = identity.CLONE_NEWUSER | identity.CLONE_NEWNS | identity.CLONE_NEWPID


def become_unprivileged(uid: int) -> None:
    """From root to `uid`, in a user namespace of its own where it is the action's user."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    identity.prctl(identity.PR_SET_DUMPABLE, 1)  # else /proc/self belongs to root
    identity.unshare(NEW)
    identity.map_ids("self", plan.USER_ID, uid, uid)


def start(
    channel: "_socket.socket",
    root: "list[plan.Operation]",
    uid: int | None,
    counted: "list[tuple[str, int]]",
    owners: int,
    rooted: bool,
) -> None:
    """In a child of the broker: become the keeper and give birth to the zygote. Never returns.

    `root` is the template's plan; `uid` the kernel's user id for actions when this process is
    root's, else None, and `owners` the user namespace that gives it root's files, else 0;
    `counted` are the names of what the control groups count, and how much of it is not the
    action's; `rooted` is whether the inputs of each action are its root.
    """
    code = 1
    try:
        trees = open_trees(root)
        if layers := plan.layers(root):
            trees[plan.LAYERS] = image_root(root, layers, trees, owners)
        if uid is None:
            identity.unshare(identity.CLONE_NEWNS | identity.CLONE_NEWPID)
        else:
            become_unprivileged(uid)
        child = os.fork()
        code = (
            keep(channel, trees, child) if child else serve(channel, root, trees, counted, rooted)
        )
    except (OSError, SetupError) as error:
        link.send_packet(channel, DOWN + str(error).encode())
    finally:
        os._exit(code)


def keep(channel: "_socket.socket", trees: "dict[str, int]", child: int) -> int:
    """Wait for the zygote's end, which is the end of everything below it.

    When the broker dies the kernel tells the keeper, which ends the zygote and still waits:
    whoever holds the other end of the pipe that it has inherited learns when all is over.
    """
    signals.signal(signals.SIGTERM, lambda _number, _frame: os.kill(child, signals.SIGKILL))
    identity.die_with_parent(signals.SIGTERM)
    identity.set_name("bldr-keeper")
    channel.close()
    for tree in trees.values():
        os.close(tree)
    os.waitpid(child, 0)
    return 0


def enter_template(root: "list[plan.Operation]", trees: "dict[str, int]") -> None:
    """Build the template and make it this process's root."""
    mounts.make_private()
    place = next(path for path in PLACES if os.path.isdir(path))
    if plan.LAYERS in trees:
        mounts.attach(trees[plan.LAYERS], place)
    else:
        mounts.mount("tmpfs", place, "tmpfs", mounts.MS_NOSUID, "mode=0755,size=16m")
        lay(root, place, trees)
    put(root, place, trees)
    for tree in trees.values():
        os.close(tree)
    mounts.pivot_into(place)


def serve(
    channel: "_socket.socket",
    root: "list[plan.Operation]",
    trees: "dict[str, int]",
    counted: "list[tuple[str, int]]",
    rooted: bool,
) -> int:
    """As PID 1: fork one runner for each request, until the broker goes."""
    enter_template(root, trees)
    identity.die_with_parent()
    identity.set_name("bldr-zygote")
    identity.hide_command_line()
    identity.drop_bounding_set()
    identity.prctl(identity.PR_SET_NO_NEW_PRIVS, 1)
    set_limits([NO_CORES])
    Filter(while_making(MACHINE)).install()
    signals.signal(signals.SIGCHLD, signals.SIG_IGN)  # runners are not waited for
    kit = runner.Kit(plan.sandbox(), counted, rooted)
    gc.freeze()
    gc.disable()  # a collection in a fork would write to, and so copy, every page
    link.send_packet(channel, UP)
    while True:
        request, fds = link.receive_packet(channel)
        if not request:
            return 0
        fork_runner(channel, fds[0], kit)
        os.close(fds[0])


def fork_runner(channel: "_socket.socket", fd: int, kit: "runner.Kit") -> None:
    """`fd` is its link to the broker."""
    try:
        if os.fork() == 0:
            channel.close()
            runner.main(link.end(fd), kit)
    except OSError as error:
        broken = link.end(os.dup(fd))
        link.send_packet(broken, DOWN + f"the zygote cannot fork: {error}".encode())
        broken.close()
