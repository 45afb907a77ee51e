"""What running one action in isolation is: a spec in, an exit out. Data only.

The work tree that the action sees is the input tree, which it can never change, with a writable
layer of its own above it. It always stands at the same path (`WORK_TREE`), on every worker and
in every mode, so that what a compiler writes down is the same everywhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Protocol

from builder.base.errors import FailedPreconditionError, UnavailableError

WORK_TREE = "/builder/work"


class SandboxError(UnavailableError):
    """The sandbox or its host failed, not the action: it may be tried again, or elsewhere."""


class SandboxRefusedError(FailedPreconditionError):
    """This host cannot give a guarantee that the action requires; says which and how to get it."""


class Network(Enum):
    NONE = "none"  # a network namespace of its own; its loopback works
    HOSTS = "hosts"  # the same, and a proxy that reaches the hosts of the spec only
    FULL = "full"  # the host's network


class Outcome(Enum):
    """How an action ended; each is a cause of its own, never folded into an exit code."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMED_OUT = "timed-out"
    OUT_OF_MEMORY = "out-of-memory"
    DISK_FULL = "disk-full"  # it wrote more than it may
    CPU_TIME = "cpu-time"  # it used more of the processors than it may
    TOO_MANY_PROCESSES = "too-many-processes"  # it was refused one, and failed
    TOO_MANY_WATCHES = "too-many-watches"  # it used up those of epoll that its user may have
    FILE_TOO_LARGE = "file-too-large"  # it wrote a file larger than it may, and failed
    OUTPUT_TOO_LARGE = "output-too-large"  # of which the rest was dropped; the code is its own
    CANCELLED = "cancelled"
    NOT_STARTED = "not-started"  # no such program, not executable: exit code 127 or 126


class AuditLevel(Enum):
    """How much of what an action uses is written down."""

    CHEAP = "cheap"  # what is opened, executed and written, by fanotify; for root only
    FULL = "full"  # also names that are only looked for, existing or not, and connects


class NameClass(Enum):
    INPUT = "input"
    OUTPUT = "output"
    TEMPORARY = "temp"
    SYSTEM = "system"
    OUTSIDE = "outside"  # of all that the action has declared


@dataclass(frozen=True, slots=True)
class Access:
    """`name` is a path inside the sandbox, or an address; `use` is read, write, execute, look or
    connect; `there` is whether it existed before."""

    name: str
    use: str
    kind: NameClass
    program: str
    there: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """Each use of each name by each program, once. `complete` is whether nothing is missing."""

    level: AuditLevel
    complete: bool
    accesses: tuple[Access, ...]

    @property
    def outside(self) -> tuple[Access, ...]:
        """What the action did not declare."""
        return tuple(one for one in self.accesses if one.kind is NameClass.OUTSIDE)


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit. Wall time counts from the program's start; after it, or after the
    processor time of all processes together, SIGTERM, then, `grace_s` later, everything is
    killed."""

    wall_s: float | None = None
    cpu_s: float | None = None
    grace_s: float = 2.0
    memory_bytes: int | None = None
    cpu_cores: float | None = None
    processes: int | None = 512
    open_files: int | None = None
    file_bytes: int | None = None
    disk_bytes: int | None = None  # of everything that it writes in its work tree
    disk_files: int | None = None  # and how many files and directories
    output_bytes: int = 64 * 1024 * 1024  # of stdout and of stderr, each


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Of a program that stays and is spoken to, as a persistent worker is.

    `input_root` is then the work tree itself: what the program writes is seen there at once, and
    what is moved there is seen by the program. Its stdin and stdout are the named pipes of these
    paths, relative to the work tree, which are gone when it starts. `started` hears of the
    program's process id on the host.
    """

    stdin: str
    stdout: str
    started: Callable[[int], None] = field(compare=False)


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One action.

    `input_root` is a host directory that is only ever read. `scratch` is an empty host directory
    of the worker's own, on the disk that takes what the action writes; the sandbox may leave
    anything in it and the worker removes it. Paths of `output_parents` and `working_directory`
    are relative to the work tree; the former are made before the start.
    """

    argv: tuple[str, ...]
    input_root: str
    scratch: str
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""
    output_parents: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()  # host directories, the lowest first: an image as the whole root
    image: str = ""  # what they are, for people
    inputs_as_root: bool = False  # what it sees is its input root and nothing of this host's system
    network: Network = Network.NONE
    hosts: tuple[str, ...] = ()  # `example.org`, `*.example.org:8443`; for Network.HOSTS
    limits: Limits = field(default_factory=Limits)
    deterministic: bool = False  # what differs between two runs is made the same where it can be
    programs: tuple[str, ...] = ()  # which alone it may execute; see `kernel/programs.py`
    required: frozenset[str] = frozenset()  # guarantees without which it must not run
    audit: AuditLevel | None = None
    outputs: tuple[str, ...] = ()  # relative to the work tree; only an audit asks for them
    dialogue: Dialogue | None = None
    clock: int | None = None  # seconds since 1970, where its wall clock stands; see `wallclock.py`
    reuse: str = ""  # a trust domain: it may have a sandbox that another of the same has left clean


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all of the action's processes, as far as the host can tell (0 where it cannot)."""

    wall_s: float = 0.0
    user_s: float = 0.0
    system_s: float = 0.0
    peak_memory_bytes: int = 0
    processes: int = 0
    setup_s: float = 0.0
    inputs_s: float = 0.0  # of that, until its work tree was there; 0 where it is not made apart
    cleanup_s: float = 0.0
    read_bytes: int = 0  # from disks, that were not in memory
    written_bytes: int = 0  # to disks, sooner or later
    reused: int = 0  # how many actions of its trust domain had the same sandbox before


@dataclass(frozen=True, slots=True)
class Served:
    """By a program that stays for many actions: `request` counts them, this one included.
    `fell_back` is why it did not come to that, and the action ran by itself."""

    key: str
    request: int = 0
    fell_back: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """How it went. `exit_code` is the program's own, or 128 + signal when it was killed by one.

    `stdout` and `stderr` are host files in the spec's scratch directory, kept in every outcome.
    `limits` are sentences such as `memory=2GiB (cgroup)`.
    """

    outcome: Outcome
    exit_code: int
    stdout: str
    stderr: str
    backend: str
    guarantees: tuple[str, ...]
    limits: tuple[str, ...]
    usage: Usage
    message: str = ""
    signal: int = 0
    audit: Audit | None = None
    blocked: tuple[str, ...] = ()  # hosts that it asked the proxy for, and must not reach
    served: Served | None = None  # where a persistent worker was to do it
    spec: str = ""  # which held: its digest (`canonical`)
    output_cut: bool = False  # not all of stdout and stderr was kept; the message says how much


class Finished(Protocol):
    """A finished action whose work tree can still be read.

    `root_fd` is a directory descriptor of the work tree as the action left it, inputs included.
    It is hostile ground: open beneath it, follow no link, open regular files only.
    """

    @property
    def exit(self) -> Exit: ...

    @property
    def root_fd(self) -> int: ...

    async def __aenter__(self) -> "Finished": ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the work tree. Every process of the action has gone by then; its mounts and
        control groups are removed right behind."""
        ...


class Sandbox(Protocol):
    """Runs actions, several at once. Cancelling `run` kills the action and cleans up."""

    @property
    def backend(self) -> str:
        """For people: `namespaces+cgroup`."""
        ...

    @property
    def guarantees(self) -> tuple[str, ...]: ...

    async def run(self, spec: SandboxSpec) -> Finished:
        """Raises SandboxError (ours or the host's fault, never the action's), or
        SandboxRefusedError when `spec.required` names what this host cannot give."""
        ...
