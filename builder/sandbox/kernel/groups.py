"""Control groups of sandboxes: made below our own group, limited, read, removed.

One group for each sandbox in each tree (`builder.host.cgroups` says which trees there are):
`<own group>/builder-<PID namespace>-<pid>-<start>/<number>`. The start time tells the groups of
a dead broker from those of another process with the same number; a new broker removes the former.

Version 2 kills the whole group when it runs out of memory; version 1 kills one process, so the
broker watches the counter and ends the rest.
"""

import errno
import os

from builder.host.cgroups import SUPERVISOR, V2, Place, own_places, read_text
from builder.sandbox.kernel.identity import write_file
from builder.sandbox.kernel.leaf import COUNTERS, TCP_FILE, Leaf, Spare, counted, remove_group

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable, Mapping

ON_DEMAND = frozenset({"cpu", "cpuacct"})
PREFIX = "builder-"
REMOVE_PATIENCE_S = 0.5
SPARE = 16  # of each tree


def start_time(pid: int) -> str:
    """In clock ticks since boot: field 22 of /proc/<pid>/stat. Raises OSError when it is gone."""
    return read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[19]


def prefix_of(pid: int) -> str:
    """What the names of a process's groups begin with. Process numbers mean something only in
    one PID namespace, and several may share a group tree, so the namespace is part of it."""
    return f"{PREFIX}{os.stat('/proc/self/ns/pid').st_ino}-{pid}-"


def belongs_to_the_dead(name: str) -> bool:
    """Whether a group is that of a broker of our PID namespace that lives no more."""
    parts = name[len(PREFIX) :].split("-")
    if len(parts) != 3 or not parts[1].isdigit() or not name.startswith(prefix_of(int(parts[1]))):
        return False
    try:
        return start_time(int(parts[1])) != parts[2]
    except OSError:
        return True


def remove_tree(path: str, patience_s: float = 0.0) -> None:
    """Remove a group and its children. Raises OSError (EBUSY) when processes are in it still."""
    try:
        with os.scandir(path) as entries:
            children = [entry.path for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return
    for child in children:
        remove_tree(child, patience_s)
    remove_group(path, patience_s)


def sweep_dead_groups(patience_s: float = 0.0) -> None:
    """Remove what killed brokers have left below our own groups, where it is empty."""
    for place in own_places():
        for name in os.listdir(place.path):
            if belongs_to_the_dead(name):
                try:
                    remove_tree(os.path.join(place.path, name), patience_s)
                except OSError as error:
                    if error.errno not in (errno.EBUSY, errno.EACCES, errno.EPERM):
                        raise  # else another's, or not empty yet: the next broker tries again


class Groups:
    """The groups of one broker. `problems` are sentences about what could not be had."""

    def __init__(self) -> None:
        self.name = prefix_of(os.getpid()) + start_time(os.getpid())
        self.problems: list[str] = []
        self.trees: list[Place] = []
        self.at: dict[str, Place] = {}  # controller -> our group in its tree
        self.usual: int | None = None  # how many processes the last action was allowed
        self.exits: list[int] = []  # of version 2, where who has entered as a process goes back
        self.spare = Spare(SPARE)
        sweep_dead_groups()
        for place in own_places():
            try:
                self._take(place)
            except OSError as error:
                names = ",".join(place.controllers) or "version 2"
                self.problems.append(f"{names}: {error.strerror}: {error.filename or place.path}")
        self.counted = self._counted()
        memory = self.at.get("memory")
        self.limits_tcp = memory is not None and os.path.exists(f"{memory.path}/{TCP_FILE}")

    def _take(self, place: Place) -> None:
        if not place.controllers:
            return
        controllers = tuple(name for name in place.controllers if name not in self.at)
        if not set(controllers) - {"cpuacct"}:
            return  # it would only count what the processes themselves tell
        if place.version == V2:
            make_room(place.path)
            enable(place.path, controllers)
        ours = Place(place.version, os.path.join(place.path, self.name), controllers)
        os.mkdir(ours.path, 0o755)
        if place.version == V2:
            enable(ours.path, controllers)
            leave = os.path.join(place.path, SUPERVISOR, "cgroup.procs")
            self.exits.append(os.open(leave, os.O_WRONLY | os.O_CLOEXEC))
        self.trees.append(ours)
        for controller in controllers:
            self.at[controller] = ours

    def has(self, controller: str) -> bool:
        return controller in self.at

    @property
    def runners(self) -> int:
        """How many of the tasks in a sandbox's group of processes are the runner's own: in
        version 1 one thread, in version 2 the other one too."""
        return 2 if "pids" in self.at and self.at["pids"].version == V2 else 1

    def _counted(self) -> "list[tuple[str, str, str]]":
        """(name, controller, file) of what groups count here; older kernels lack some."""
        found = []
        for name, controller, files in COUNTERS:
            if controller in self.at:
                file = files[self.at[controller].version - 1]
                if os.path.exists(f"{self.at[controller].path}/{file}"):
                    found.append((name, controller, file))
        return found

    def leaf(self, tree: Place, number: int) -> Leaf:
        """One that is as new, or a new one. Raises OSError."""
        if (spare := self.spare.take(tree)) is not None:
            return spare
        made = Leaf(tree, number, self.counted, self.runners + 1)
        if self.limits_tcp and "memory" in tree.controllers:
            made.bound_tcp()
        return made

    def close(self) -> None:
        """Remove everything; no process may be left in it."""
        for tree in self.trees:
            remove_tree(tree.path, REMOVE_PATIENCE_S)


def parent_of(pid: int) -> int:
    """0 for one that has gone."""
    try:
        return int(read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def one_family(members: "list[int]", own: int, parent: "Callable[[int], int]") -> bool:
    """Whether all members descend from the highest ancestor of `own` among them."""
    top = ancestor = own
    while ancestor := parent(ancestor):
        if ancestor in members:
            top = ancestor
    for member in members:
        while member not in (top, 0):
            member = parent(member)
        if member == 0:
            return False
    return True


def delegated(path: str) -> bool:
    """Whether systemd has given a group away, as it marks by an attribute."""
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def make_room(path: str) -> None:
    """Version 2 lets no group have both processes and limited children: our own processes move
    into a leaf beside the sandboxes'. Raises OSError where the group is not ours to rule."""
    members = [int(pid) for pid in read_text(path + "/cgroup.procs").split()]
    if not members:
        return
    if os.path.isdir("/run/systemd/system") and not delegated(path):
        raise OSError(errno.EPERM, "systemd has not delegated this group", path)
    if not one_family(members, os.getpid(), parent_of):
        raise OSError(errno.EBUSY, "it holds processes that are not ours", path)
    leaf = os.path.join(path, SUPERVISOR)
    os.makedirs(leaf, 0o755, exist_ok=True)
    for pid in members:
        try:
            write_file(leaf + "/cgroup.procs", str(pid))
        except ProcessLookupError:
            continue


def enable(path: str, controllers: tuple[str, ...]) -> None:
    """Give controllers to the children of a version 2 group."""
    have = read_text(path + "/cgroup.subtree_control").split()
    missing = [f"+{name}" for name in controllers if name not in have]
    if missing:
        write_file(path + "/cgroup.subtree_control", " ".join(missing))


def pid_of(pidfd: int) -> int:
    """The process's number in our own PID namespace."""
    lines = read_text(f"/proc/self/fdinfo/{pidfd}").splitlines()
    return next(int(line[4:]) for line in lines if line.startswith("Pid:"))


class Group:
    """The groups of one sandbox, a leaf in each tree: used ones that are as good as new, or new.

    Whoever runs the action enters by `entrances`, descriptors of the leaves, and leaves version 2
    by `exits` when it has ended. Where few need a group it is entered on demand (`limit`), by
    `late`. `counters` are in the order of `Groups.counted`, to be read when the action has ended.
    """

    def __init__(self, groups: Groups, number: int) -> None:
        self._groups, self._number = groups, number
        self._leaves: list[Leaf] = []
        self._at: dict[str, Leaf] = {}
        self.late: list[int] = []
        self._later: list[Place] = []
        try:
            for tree in groups.trees:
                if ON_DEMAND.issuperset(tree.controllers):
                    self._later.append(tree)
                else:
                    self._take(tree)
            if "pids" in self._at:
                self._allow(groups.usual)
        except OSError:
            self.remove()
            raise
        self.entrances = [leaf.entrance for leaf in self._leaves]
        self.exits = groups.exits
        self.counters = [self._at[kind].counters[name] for name, kind, _ in groups.counted]

    def _take(self, tree: Place) -> Leaf:
        leaf = self._groups.leaf(tree, self._number)
        self._leaves.append(leaf)
        for controller in tree.controllers:
            self._at[controller] = leaf
        return leaf

    def _allow(self, processes: "int | None") -> None:
        self._at["pids"].allow(None if processes is None else processes + self._groups.runners)

    def limit(self, memory: int | None, processes: int | None, cores: float | None) -> None:
        """Write the limits that have a controller here. Who runs the action has to enter by
        `late` then, if there are any."""
        if cores is not None:
            while self._later:
                self.late.append(self._take(self._later.pop()).entrance)
        if memory is not None and "memory" in self._at:
            self._at["memory"].limit_memory(memory)
        if "pids" in self._at:
            self._allow(processes)
            self._groups.usual = processes  # the next action is likely to ask for the same
        if cores is not None and "cpu" in self._at:
            self._at["cpu"].limit_cores(cores)

    def watch_oom(self) -> int:
        return self._at["memory"].watch_oom()

    def charged_bytes(self) -> int:
        """Memory that the kernel still counts for this group."""
        return self._at["memory"].charged_bytes() if "memory" in self._at else 0

    def oom_kills(self) -> int:
        """How many processes of this group the kernel has killed for memory."""
        return self._count("oom_kills")

    def usage(self) -> "Mapping[str, int]":
        """`peak_memory_bytes`, `processes`, `user_us` and `system_us`, those that there are."""
        found: dict[str, int] = {}
        if "memory" in self._at:
            found["peak_memory_bytes"] = self._count("peak_memory_bytes")
        if "pids" in self._at:
            found["processes"] = max(0, self._count("processes") - self._groups.runners)
        timed = self._at.get("cpuacct", self._at.get("cpu"))
        if timed is not None and timed.counts_time:
            found["user_us"], found["system_us"] = timed.spent_us()
        return found

    def _count(self, name: str) -> int:
        """0 for what older kernels lack."""
        for (kind, _controller, _), fd in zip(self._groups.counted, self.counters, strict=True):
            if kind == name:
                return counted(fd, name)
        return 0

    def give_up(self) -> None:
        """Serve nobody else, and hold no descriptor until it is removed."""
        self._at.clear()
        for leaf in self._leaves:
            leaf.close()

    def remove(self) -> None:
        """After the last process has gone. What is as good as new serves another sandbox."""
        pids = self._at.get("pids")
        empty = pids is not None and pids.is_left(REMOVE_PATIENCE_S)
        for leaf in self._leaves:
            if not (empty and self._groups.spare.keep(leaf)):
                leaf.remove(REMOVE_PATIENCE_S)
        self._leaves.clear()
