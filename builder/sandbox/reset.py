"""Reset or retire: a sandbox whose action was trusted is made what it was, for the next such one.

Its init, its namespaces of processes, mounts, names and network and its control groups stay. All
that an action can leave in them is looked at when it has been reported and has left nobody, and
whatever is not as it was made is made anew, or the sandbox ends as any other does:

    work tree                      its mount goes; the next action's comes in its place
    /tmp, /dev/shm, /dev/pts       mounted anew, unless nothing has happened to them
    System V IPC, message queues   none may be left; the next action gets a new namespace
    network                        must be what it was when it was made (`kernel/network.py`)
    processes                      none may be left but the init
    control groups                 must have refused and killed nobody; they go on counting

A thread that has given up its rights has them no more, and its call filter and Landlock's rules for
good: each action has a new one, and so its directory, umask, processors and personality are nobody
else's. What stays visible is how many processes there have been, by the next one's number.
"""

import os

from builder.sandbox.kernel import identity, mounts
from builder.sandbox.kernel.leaf import RESETTABLE, TROUBLES, counted
from builder.sandbox.kernel.network import Network
from builder.sandbox.kernel.perform import steps_of
from builder.sandbox.kernel.syscalls import Steps
from builder.sandbox.plan import WORK_TREE

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from builder.sandbox.namespace import Namespace
    from builder.sandbox.plan import Operation

MOST_USES = 100  # of one sandbox
INIT = 1
TERMINALS = "devpts"
OWN = ("tmpfs", TERMINALS)  # mounts that an action can write to
NOBODYS = ("shm", "sem", "msg")  # of System V, which outlive who has made them
QUEUES = "mqueue"
READ_BYTES = 65536
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
Mark = tuple[int, ...]


class DirtyError(Exception):
    """Something that another action must not find; the sentence says what."""


class Places:
    """What actions can write to outside of their work trees, and how each is made anew."""

    def __init__(self, setup: "list[Operation]") -> None:
        self.again: dict[str, Steps] = {}
        self.marked: dict[str, tuple[str, ...]] = {}
        for operation in setup:
            kind, place = operation[:2]
            if kind in OWN:
                away = (f"unmounting {place}", "umount2", (place.encode(), mounts.MNT_DETACH))
                self.again[place] = Steps([away, *steps_of(operation)])
                self.marked[place] = (place, place + "/ptmx") if kind == TERMINALS else (place,)


def mark(paths: "tuple[str, ...]") -> Mark:
    """What differs when anything has been done to these. The kernel alone sets the time of change,
    and a file of a tmpfs, an extended attribute too, is counted. Raises OSError."""
    found: list[int] = []
    for path in paths:
        info, room = os.lstat(path), os.statvfs(path)
        found += (info.st_ino, info.st_dev, info.st_mode, info.st_uid, info.st_nlink, info.st_size)
        found += (info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns)
        found += (room.f_blocks - room.f_bfree, room.f_files - room.f_ffree)
    return tuple(found)


class Made:
    """A sandbox as it is when it has just been made, by the thread that has made it and is in its
    namespaces. `seen` is a /proc."""

    def __init__(self, places: Places, seen: int, net: Network) -> None:
        self._places, self._seen, self._network = places, seen, net
        self._marks = {place: mark(paths) for place, paths in places.marked.items()}
        self._beneath = os.stat(WORK_TREE).st_dev
        self._with_init = True  # the namespace of IPC, which then stays as long as that
        self.uses = 0  # how many actions have been in it before

    def reset(self, namespace: "Namespace", counters: "list[tuple[str, int, int]]") -> None:
        """Make it so again, when the action's thread has ended. Raises DirtyError or OSError: then
        nobody may have it."""
        self.uses += 1
        if self.uses == MOST_USES:
            raise DirtyError("it has served its time")
        if namespace.processes() != [INIT]:
            raise DirtyError("a process is left")
        mounts.unmount_lazily(WORK_TREE)
        if os.stat(WORK_TREE).st_dev != self._beneath:
            raise DirtyError("a mount is left")
        if not self._network.is_as_made():
            raise DirtyError("the network was used")
        for name, _, fd in counters:
            if name in TROUBLES and counted(fd, name):
                raise DirtyError("a limit was reached")
        self._renew_places()
        self._renew_ipc()

    def _renew_places(self) -> None:
        """All or none: in which order they were mounted can be seen."""
        marked = self._places.marked
        if any(mark(paths) != self._marks[place] for place, paths in marked.items()):
            for place in marked:
                self._places.again[place].perform()
            self._marks = {place: mark(paths) for place, paths in marked.items()}

    def _renew_ipc(self) -> None:
        for kind in NOBODYS:
            told = content("sysvipc/" + kind, self._seen)
            if told.count(b"\n") > 1:  # the first line is a heading
                raise DirtyError("System V IPC is left")
        if self._with_init and message_queues():
            raise DirtyError("a message queue is left")
        identity.unshare(identity.CLONE_NEWIPC)
        self._with_init = False


def content(path: str, proc: int) -> bytes:
    """Of a file below a /proc, in one piece."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return os.read(fd, READ_BYTES)
    finally:
        os.close(fd)


def message_queues() -> list[str]:
    """POSIX message queues in this thread's namespace. Raises OSError where nobody can tell."""
    context = mounts.new_context(QUEUES)
    try:
        tree = mounts.new_filesystem(context, mounts.ATTR_NOSUID)
    finally:
        os.close(context)
    try:
        inside = os.open(".", DIRECTORY, dir_fd=tree)
    finally:
        os.close(tree)
    try:
        return os.listdir(inside)
    finally:
        os.close(inside)


def begin_again(counters: "list[tuple[str, int, int]]") -> "dict[str, int]":
    """Have the control groups count from here on where the kernel can: peak memory for who has
    this descriptor since Linux 6.12, in version 1 always. What a counter that cannot still says
    is told: a count that is no more than that is of an earlier action."""
    known: dict[str, int] = {}
    for name, own, fd in counters:
        if name in RESETTABLE:
            try:
                os.pwrite(fd, b"0", 0)
                continue
            except OSError:
                known[name] = counted(fd, name)
        elif name not in TROUBLES:
            told = counted(fd, name)
            if told > own + 1:  # one is what every action has at least
                known[name] = told
    return known
