"""One sandbox's control group in one tree: entered, limited, read, and used again.

Making a group and ending it are dear: 0.4 ms for one that counts memory, half of it by the kernel's
own threads. One that is again as it was made may serve the next sandbox: nobody is in it, it has
refused and killed nobody, and what it counts says the same as a new one's, or can be set back. Only
memory may still be charged to it, for caches that its action has filled, and little of that.
"""

import errno
import os
import time

from builder.host.cgroups import V2, Place, read_text
from builder.sandbox.kernel.identity import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable

PERIOD_US = 100_000
COUNTER_BYTES = 4096
LEFT_BYTES = 1 << 20
LOOK_S = 0.001
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
WORDS = {"oom_kills": b"oom_kill ", "refused_processes": b"max "}
CHARGED = ("memory.usage_in_bytes", "memory.current")  # in version 1 and 2


def count_in(data: bytes, name: str) -> int:
    """What a counter's file says: a number, or the number behind a word."""
    if name in WORDS:
        return int(data.partition(WORDS[name])[2].split(b"\n", 1)[0] or 0)
    return int(data)


def counted(fd: int, name: str) -> int:
    """What a counter says now."""
    return count_in(os.pread(fd, COUNTER_BYTES, 0), name)


def remove_group(path: str, patience_s: float) -> None:
    """Raises OSError (EBUSY) when somebody is in it for longer than that."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise
            time.sleep(LOOK_S)  # the kernel tells nobody when a zombie has left its group
        else:
            return


def counter(path: str, resettable: bool) -> int:
    """Open, to be written to as well where that sets it back and is allowed."""
    if resettable:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pass
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class Leaf:
    """A group below that of the broker, by its number there.

    `entrance` is a descriptor through which whoever runs the action enters by writing "0": the
    kernel asks who opened it. In version 1 a thread enters alone, which nobody else notices;
    version 2 takes its whole process. `counters` are descriptors of what it counts, by name;
    `least` is how many tasks have been in it when the action had one process. Raises OSError.
    """

    def __init__(
        self, tree: Place, number: int, names: "Iterable[tuple[str, str, str]]", least: int
    ) -> None:
        self.tree, self._least = tree, least
        self.path = os.path.join(tree.path, str(number))
        self.counters: dict[str, int] = {}
        self.entrance = self._inside = self._charged = -1
        self.allowed: int | None = None  # tasks
        self._has_memory_limit = self._has_cores_limit = False
        self._spent = (0, 0)  # by those before: user and system time
        os.mkdir(self.path, 0o755)
        try:
            self._open(names)
        except OSError:
            self.remove(0)
            raise

    def _open(self, names: "Iterable[tuple[str, str, str]]") -> None:
        entrance = "cgroup.procs" if self.tree.version == V2 else "tasks"
        self.entrance = os.open(f"{self.path}/{entrance}", os.O_WRONLY | os.O_CLOEXEC)
        for name, controller, file in names:
            if controller in self.tree.controllers:
                self.counters[name] = counter(f"{self.path}/{file}", name in RESETTABLE)
        if "pids" in self.tree.controllers:
            self._inside = counter(f"{self.path}/pids.current", resettable=False)
        if "memory" in self.tree.controllers:
            self._charged = counter(f"{self.path}/{CHARGED[self.tree.version - 1]}", False)

    def bound_tcp(self) -> None:
        self._write(TCP_FILE, TCP_BYTES)

    def allow(self, tasks: int | None) -> None:
        """So many at once, or any number."""
        if tasks != self.allowed:
            self._write("pids.max", "max" if tasks is None else tasks)
            self.allowed = tasks

    def limit_memory(self, size: int) -> None:
        self._has_memory_limit = True
        if self.tree.version == V2:
            self._write("memory.oom.group", 1)
            self._write("memory.max", size)
            self._write_if_there("memory.swap.max", 0)
        else:
            self._write("memory.limit_in_bytes", size)
            self._write_if_there("memory.memsw.limit_in_bytes", size)

    def limit_cores(self, cores: float) -> None:
        self._has_cores_limit = True
        quota = max(1000, int(cores * PERIOD_US))
        if self.tree.version == V2:
            self._write("cpu.max", f"{quota} {PERIOD_US}")
        else:
            self._write("cpu.cfs_period_us", PERIOD_US)
            self._write("cpu.cfs_quota_us", quota)

    def _write(self, file: str, value: object) -> None:
        write_file(f"{self.path}/{file}", str(value))

    def _write_if_there(self, file: str, value: object) -> None:
        if os.path.exists(f"{self.path}/{file}"):
            self._write(file, value)

    def watch_oom(self) -> int:
        """A descriptor that becomes readable when version 1 runs out of memory; -1 for version 2,
        which ends the group by itself."""
        if self.tree.version == V2:
            return -1
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._write("cgroup.event_control", f"{event} {self.counters['oom_kills']}")
        except OSError:
            os.close(event)
            raise
        return event

    def charged_bytes(self) -> int:
        """Memory that the kernel counts for it now."""
        return counted(self._charged, "")

    @property
    def counts_time(self) -> bool:
        controllers = self.tree.controllers
        return "cpuacct" in controllers or ("cpu" in controllers and self.tree.version == V2)

    def spent_us(self) -> "tuple[int, int]":
        """User and system time of those who have been in it since it was made or renewed."""
        user, system = self._all_spent_us()
        return user - self._spent[0], system - self._spent[1]

    def _all_spent_us(self) -> "tuple[int, int]":
        if self.tree.version == V2:
            lines = read_text(f"{self.path}/cpu.stat").splitlines()
            told = {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}
            return told.get("user_usec", 0), told.get("system_usec", 0)
        user, system = (read_text(f"{self.path}/cpuacct.usage_{name}") for name in ("user", "sys"))
        return int(user) // 1000, int(system) // 1000

    def is_left(self, patience_s: float) -> bool:
        """Whether everybody has who was in it, as far as it counts that."""
        deadline = time.monotonic() + patience_s
        while self._inside < 0 or counted(self._inside, "") > 0:
            if self._inside < 0 or time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_S)  # as above
        return True

    def renew(self) -> bool:
        """Make it as it was made, when everybody has left it; whether it is. Raises OSError."""
        if self._has_cores_limit or (self._charged >= 0 and self.charged_bytes() > LEFT_BYTES):
            return False
        for name, fd in self.counters.items():
            if name in RESETTABLE:
                os.pwrite(fd, b"0", 0)  # or it was opened to be read only: OSError
            elif counted(fd, name) > (0 if name in TROUBLES else self._least):
                return False
        if self._has_memory_limit:
            self._lift_memory_limit()
        if self.counts_time:
            self._spent = self._all_spent_us()
        return True

    def _lift_memory_limit(self) -> None:
        if self.tree.version == V2:
            self._write("memory.max", "max")
            self._write_if_there("memory.swap.max", "max")
            self._write("memory.oom.group", 0)
        else:
            self._write_if_there("memory.memsw.limit_in_bytes", -1)
            self._write("memory.limit_in_bytes", -1)
        self._has_memory_limit = False

    def close(self) -> None:
        """Let go of its descriptors: nobody uses it again."""
        for fd in (self.entrance, self._inside, self._charged, *self.counters.values()):
            if fd >= 0:
                os.close(fd)
        self.entrance = self._inside = self._charged = -1
        self.counters.clear()

    def remove(self, patience_s: float) -> None:
        """After the last process has gone."""
        self.close()
        remove_group(self.path, patience_s)


class Spare:
    """Leaves that are as good as new, some of each tree."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[str, list[Leaf]] = {}

    def take(self, tree: Place) -> Leaf | None:
        found = self._found.get(tree.path)
        return found.pop() if found else None

    def keep(self, leaf: Leaf) -> bool:
        """Whether it is as new, everybody having left it, and wanted."""
        found = self._found.setdefault(leaf.tree.path, [])
        try:
            if len(found) >= self._most or not leaf.renew():
                return False
        except OSError:
            return False
        found.append(leaf)
        return True
