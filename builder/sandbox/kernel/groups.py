"""Control groups of sandboxes: made below our own group, limited, read, removed.

One group for each sandbox in each tree (`builder.host.cgroups` says which trees there are):
`<own group>/builder-<PID namespace>-<pid>-<start>/<number>`. The start time tells the groups of
a dead broker from those of another process with the same number; a new broker removes the former.

Version 2 kills the whole group when it runs out of memory; version 1 kills one process, so the
broker watches the counter and ends the rest.
"""

import errno
import os
import time

from builder.host.cgroups import SUPERVISOR, V2, Place, own_places, read_text
from builder.sandbox.kernel.identity import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable, Mapping

PERIOD_US = 100_000
ON_DEMAND = frozenset({"cpu", "cpuacct"})
PREFIX = "builder-"
REMOVE_PATIENCE_S = 0.5
# Buffers of TCP have one bound for the whole host, beyond which nobody can send. Version 2 counts
# them as memory; version 1 where they have a limit of their own.
TCP_FILE, TCP_BYTES = "memory.kmem.tcp.limit_in_bytes", 64 << 20
COUNTERS = (  # name, controller, the file in version 1 and 2
    ("oom_kills", "memory", ("memory.oom_control", "memory.events")),
    ("peak_memory_bytes", "memory", ("memory.max_usage_in_bytes", "memory.peak")),
    ("processes", "pids", ("pids.peak", "pids.peak")),
    ("refused_processes", "pids", ("pids.events", "pids.events")),
)
RESETTABLE = frozenset({"peak_memory_bytes"})  # by a write: version 2 since Linux 6.12
TROUBLES = frozenset({"oom_kills", "refused_processes"})  # after which nothing is as before


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


def remove_group(path: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise
            time.sleep(0.001)  # the kernel tells nobody when a zombie has left its group
        else:
            return


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
        self.exits: list[str] = []  # of version 2, where who has entered as a process goes back
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
            self.exits.append(os.path.join(place.path, SUPERVISOR))
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


def counter(path: str, resettable: bool) -> int:
    """Open, to be written to as well where that sets it back and is allowed."""
    if resettable:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pass
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class Group:
    """The groups of one sandbox, one in each tree.

    `entrances` are descriptors through which whoever runs the action enters by writing "0": the
    kernel asks who opened them. In version 1 a thread enters alone, which nobody else notices;
    version 2 takes its whole process, which leaves by `exits` when the action has ended. Where few
    need a group it is entered on demand (`limit`). `counters` are descriptors of what it counts,
    in the order of `Groups.counted`, to be read when the action has ended.
    """

    def __init__(self, groups: Groups, number: int) -> None:
        self._paths: list[str] = []
        self._at: dict[str, tuple[int, str]] = {}
        self._name = str(number)
        self.entrances: list[int] = []
        self.exits: list[int] = []
        self.counters: list[int] = []
        self._later: list[Place] = []
        self._groups, self._processes = groups, groups.usual
        try:
            for tree in groups.trees:
                if ON_DEMAND.issuperset(tree.controllers):
                    self._later.append(tree)
                else:
                    self.entrances.append(self._entrance(tree))
            for path in groups.exits:
                self.exits.append(os.open(path + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
            for name, controller, file in groups.counted:
                path = f"{self._at[controller][1]}/{file}"
                self.counters.append(counter(path, name in RESETTABLE))
            if groups.limits_tcp:
                write_file(f"{self._at['memory'][1]}/{TCP_FILE}", str(TCP_BYTES))
            if groups.usual is not None:
                self._allow(groups.usual)
        except OSError:
            self.remove()
            raise

    def _entrance(self, tree: Place) -> int:
        name = "/cgroup.procs" if tree.version == V2 else "/tasks"
        return os.open(self._make(tree) + name, os.O_WRONLY | os.O_CLOEXEC)

    def handed_over(self) -> None:
        """The runner has the descriptors."""
        for opened in (self.entrances, self.exits, self.counters):
            while opened:
                os.close(opened.pop())

    def _allow(self, processes: "int | None") -> None:
        if "pids" in self._at:
            allowed = "max" if processes is None else str(processes + self._groups.runners)
            write_file(self._at["pids"][1] + "/pids.max", allowed)

    def _make(self, tree: Place) -> str:
        path = os.path.join(tree.path, self._name)
        os.mkdir(path, 0o755)
        self._paths.append(path)
        for controller in tree.controllers:
            self._at[controller] = (tree.version, path)
        return path

    def limit(self, memory: int | None, processes: int | None, cores: float | None) -> None:
        """Write the limits that have a controller here. Who runs the action has to enter by
        `entrances` then, if there are any."""
        if cores is not None:
            while self._later:
                self.entrances.append(self._entrance(self._later.pop()))
        if memory is not None and "memory" in self._at:
            version, path = self._at["memory"]
            if version == V2:
                write_file(path + "/memory.oom.group", "1")
                write_file(path + "/memory.max", str(memory))
                if os.path.exists(path + "/memory.swap.max"):
                    write_file(path + "/memory.swap.max", "0")
            else:
                write_file(path + "/memory.limit_in_bytes", str(memory))
                if os.path.exists(path + "/memory.memsw.limit_in_bytes"):
                    write_file(path + "/memory.memsw.limit_in_bytes", str(memory))
        if processes != self._processes:
            self._allow(processes)
            self._groups.usual = processes  # the next action is likely to ask for the same
        if cores is not None and "cpu" in self._at:
            version, path = self._at["cpu"]
            quota = max(1000, int(cores * PERIOD_US))
            if version == V2:
                write_file(path + "/cpu.max", f"{quota} {PERIOD_US}")
            else:
                write_file(path + "/cpu.cfs_period_us", str(PERIOD_US))
                write_file(path + "/cpu.cfs_quota_us", str(quota))

    def oom_kills(self) -> int:
        """How many processes of this group the kernel has killed for memory."""
        if "memory" not in self._at:
            return 0
        version, path = self._at["memory"]
        name = "memory.events" if version == V2 else "memory.oom_control"
        return self._keyed(path, name).get("oom_kill", 0)

    def watch_oom(self) -> int:
        """A descriptor that becomes readable when version 1 runs out of memory; -1 for version 2,
        which ends the group by itself."""
        version, path = self._at["memory"]
        if version == V2:
            return -1
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open(path + "/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write_file(path + "/cgroup.event_control", f"{event} {control}")
        except OSError:
            os.close(event)
            raise
        finally:
            os.close(control)
        return event

    def charged_bytes(self) -> int:
        """Memory that the kernel still counts for this group."""
        if "memory" not in self._at:
            return 0
        version, path = self._at["memory"]
        return self._number(path, "memory.current" if version == V2 else "memory.usage_in_bytes")

    def usage(self) -> "Mapping[str, int]":
        """`peak_memory_bytes`, `processes`, `user_us` and `system_us`, those that there are."""
        found: dict[str, int] = {}
        if "memory" in self._at:
            version, path = self._at["memory"]
            name = "memory.peak" if version == V2 else "memory.max_usage_in_bytes"
            found["peak_memory_bytes"] = self._number(path, name)
        if "pids" in self._at:
            peak = self._number(self._at["pids"][1], "pids.peak")
            found["processes"] = max(0, peak - self._groups.runners)
        if "cpuacct" in self._at:
            path = self._at["cpuacct"][1]
            found["user_us"] = self._number(path, "cpuacct.usage_user") // 1000
            found["system_us"] = self._number(path, "cpuacct.usage_sys") // 1000
        elif "cpu" in self._at and self._at["cpu"][0] == V2:
            numbers = self._keyed(self._at["cpu"][1], "cpu.stat")
            found["user_us"] = numbers.get("user_usec", 0)
            found["system_us"] = numbers.get("system_usec", 0)
        return found

    def _number(self, path: str, name: str) -> int:
        try:
            return int(read_text(f"{path}/{name}"))
        except (FileNotFoundError, ValueError):  # older kernels lack some of the counters
            return 0

    def _keyed(self, path: str, name: str) -> "dict[str, int]":
        try:
            lines = read_text(f"{path}/{name}").splitlines()
        except FileNotFoundError:
            return {}
        return {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}

    def remove(self) -> None:
        """After the last process has gone."""
        self.handed_over()
        for path in self._paths:
            remove_group(path, REMOVE_PATIENCE_S)
        self._paths.clear()
