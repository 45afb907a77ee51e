"""One program of an action: started, watched, ended, reported; by the process that begot it.

It carries the program's output into files up to a bound, reaps every orphan, ends what is left,
and reports. Whatever it says is packed integers and text: it runs beside the action, so nobody
trusts it with more.

What can be made before the action is known is made in the constructor, and `rehearse` goes through
the rest: in a forked process whatever is touched first is copied first.
"""

import _socket
import errno
import os
import resource
import select
import time

from builder.sandbox import link
from builder.sandbox.kernel import signals
from builder.sandbox.kernel.cputime import Meter
from builder.sandbox.kernel.programs import Programs
from builder.sandbox.kernel.seccomp import Filter, where_it_is
from builder.sandbox.kernel.syscalls import MACHINE, call
from builder.sandbox.report import EXITED, NOT_STARTED, SIGNALLED, Report
from builder.sandbox.supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Mapping
    from typing import Any

REPORT, LISTENS, STARTED = b"E", b"L", b"S"
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
SPLICE_NONBLOCK = 2
SAME_LAYOUT = 0x0040000  # ADDR_NO_RANDOMIZE: addresses are the same in each run
CHUNK = 65536
SIGNAL_BYTES = 128
FOR_HELPERS = 1024  # two full messages of descriptors, and those of a busy broker
NOWHERE = b"/nonexistent"
BLOCK_BYTES = 512  # of getrusage(2)
REHEARSAL: "dict[str, Any]" = {
    "argv": [NOWHERE], "environment": [(b"a", b"b")], "directory": b"", "parents": [],
    "rlimits": [(resource.RLIMIT_CORE, 0)], "output_bytes": 1, "wall_s": None, "cpu_s": None,
    "audit": False, "sorted": False, "same_layout": False, "cpus": [], "stays": False,
    "programs": [], "proxy": 0, "dialogue": None,
}  # fmt: skip
UNLISTED = "it is none of the programs that the action may execute"
WORDS = {"oom_kills": b"oom_kill ", "refused_processes": b"max "}
RESET = (signals.SIGPIPE, signals.SIGXFSZ, signals.SIGCHLD)  # what the interpreter has changed
TERM, CONT, KILL = signals.SIGTERM, signals.SIGCONT, signals.SIGKILL
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def tell(sock: "_socket.socket", packet: bytes, fds: "tuple[int, ...]" = ()) -> None:
    try:
        link.send_packet(sock, packet, fds)
    except OSError:
        os._exit(1)  # the other end is gone; so is the reason to live


class Stream:
    """One output of the action: a pipe drained into a file, up to a number of bytes."""

    def __init__(self, discard: int) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_end, False)
        self._file, self._left, self._discard = discard, 0, discard
        self.total = 0
        self.failed = 0

    def keep_in(self, file: int, limit: int) -> None:
        """Where the first bytes go, and how many of them."""
        self._file, self._left = file, limit

    def move(self) -> int:
        """Carry one chunk. 0 when nothing is there, or at the end."""
        keep = self._left > 0 and not self.failed
        target, size = (self._file, min(CHUNK, self._left)) if keep else (self._discard, CHUNK)
        try:
            moved = call("splice", self.read_end, None, target, None, size, SPLICE_NONBLOCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return 0
            if not keep:
                raise
            self.failed = error.errno or errno.EIO  # such as a full disk: drop the rest, say so
            return 1
        self.total += moved
        self._left -= moved if keep else 0
        return moved


def find_program(name: bytes, environment: "Mapping[bytes, bytes]") -> bytes:
    """The file to execute: as written when it has a slash, else the first one on the PATH."""
    if b"/" in name:
        return name
    for directory in environment.get(b"PATH", DEFAULT_PATH).split(b":"):
        path = (directory or b".") + b"/" + name
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise FileNotFoundError(errno.ENOENT, "no such program on PATH", os.fsdecode(name))


class Namespace:
    """Reaches every process of an action: all others in this PID namespace."""

    def processes(self) -> list[int]:
        own = os.getpid()
        return [int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) != own]

    def signal(self, number: int) -> bool:
        """Whether there was anybody."""
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return False
        return True


class Action:
    """One program from start to the end of its last descendant.

    `sock` is the link by which its end is asked for, `reach` signals everything that belongs to
    it, its work tree stands at `place`, and `counters` are files that count what it uses.
    """

    def __init__(
        self,
        sock: "_socket.socket",
        reach: Namespace,
        place: bytes,
        counters: "list[tuple[str, int]]",
    ) -> None:
        self._sock, self._reach, self._place, self._counters = sock, reach, place, counters
        discard = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        self._streams = [Stream(discard), Stream(discard)]
        self._deaths = signals.arrivals(signals.SIGCHLD)
        self._poll = select.poll()
        self._by_fd = {stream.read_end: stream for stream in self._streams}
        for fd in (*self._by_fd, self._deaths, sock.fileno()):
            self._poll.register(fd, select.POLLIN)
        self._report = Report()
        self._supervisor: Supervisor | None = None
        self._job: dict[str, Any] = {}
        self._environment: dict[bytes, bytes] = {}
        self._answer = sock
        self._pid = 0
        self._running = False
        self._deadline: float | None = None
        self._ending = False
        self._alone = True  # whether nobody is left who could be waited for
        self._meter: Meter | None = None
        self._programs: Programs | None = None

    def rehearse(self) -> None:
        """Run what cannot be started, so that the copies of all pages that a run touches are made
        beforehand."""
        ours, theirs = link.pair()
        self.learn(link.value_of(link.packed(REHEARSAL), []), [], theirs)
        self._poll.poll(0)
        self._reap()
        self.run((0, 0))
        for fd in link.receive_packet(ours)[1]:
            os.close(fd)
        ours.close()
        theirs.close()
        self._report = Report()

    def learn(self, job: "dict[str, Any]", files: list[int], answer: "_socket.socket") -> None:
        """What it is to run, the files for stdout, stderr and an audit's record, and the link that
        the report goes to; its work tree is made meanwhile."""
        self._job, self._answer = job, answer
        self._environment = dict(job["environment"])
        for stream, file in zip(self._streams, files, strict=False):
            stream.keep_in(file, job["output_bytes"])
        if job["programs"]:
            path = self._environment.get(b"PATH", DEFAULT_PATH)
            self._programs = Programs(job["programs"], self._place, path)
        if job["audit"] or job["sorted"] or self._programs is not None:
            # before the limits, which are not meant for it
            records = files[2] if job["audit"] else -1
            self._supervisor = Supervisor(records, listings=job["sorted"], programs=self._programs)
        for kind, value in job["rlimits"]:
            set_limit(kind, value)
        if job["proxy"]:
            listen(self._answer, job["proxy"])

    def run(self, told: "tuple[int, int]") -> bool:
        """Until the report has been sent; whether the work tree was sent with it. `told` is what
        the broker adds to the report."""
        self._alone = False
        root = os.open(self._place, DIRECTORY)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        try:
            self._enter()
            self._start()
        except OSError as error:
            self._report.not_started(error)
        else:
            self._watch(started)
        ended = time.monotonic()
        self._report.refused_processes = int(self._has_too_many())
        if self._supervisor is not None:
            self._report.message = self._supervisor.finish() or self._report.message
        self._sweep()
        self._report.sweep_us = int((time.monotonic() - ended) * 1e6)
        self._report.wall_us = int((ended - started) * 1e6)
        self._report.setup_us, self._report.overlay = told
        for stream in self._streams:
            while stream.move():
                pass
        self._report.stdout_bytes, self._report.stderr_bytes = (s.total for s in self._streams)
        self._report.output_errno = self._streams[0].failed or self._streams[1].failed
        self._account(before)
        sent = self._tell_end(root)
        os.close(root)
        return sent

    def _tell_end(self, root: int) -> bool:
        """The report, with the work tree; whether that could be sent. The kernel counts
        descriptors on their way for a user, whose other actions may have used them all up."""
        packet = REPORT + self._report.pack()
        try:
            link.send_packet(self._answer, packet, (root,))
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                os._exit(1)
            tell(self._answer, packet)
            return False
        return True

    def _enter(self) -> None:
        """To the place of the action."""
        for parent in self._job["parents"]:
            os.makedirs(os.path.join(self._place, parent), 0o755, exist_ok=True)
        os.chdir(self._place + b"/" + self._job["directory"])
        if self._job["same_layout"]:
            call("personality", SAME_LAYOUT)
        if self._job["cpus"]:
            os.sched_setaffinity(0, self._job["cpus"])
        if self._job["stays"]:
            Filter(where_it_is(MACHINE)).install()
        if self._programs is not None:
            self._programs.put_on()

    def _start(self) -> None:
        argv = self._job["argv"]
        program = find_program(argv[0], self._environment)
        if self._programs is not None and self._programs.refuses(program):
            raise PermissionError(errno.EACCES, UNLISTED, program)
        if self._supervisor is not None:
            self._supervisor.starts(program)
        pipes = [] if self._job["dialogue"] is None else self._own_pipes()
        self._pid = self._spawn(program, argv, pipes)
        for pipe in pipes:
            os.close(pipe)
        for stream in self._streams:
            os.close(stream.write_end)
        self._running = True
        if self._job["dialogue"] is not None:
            tell(self._answer, STARTED, (os.pidfd_open(self._pid),))

    def _own_pipes(self) -> list[int]:
        """Its stdin and stdout, of which somebody has both ends open already. From now on nobody
        else finds them."""
        found = []
        for name, flags in zip(self._job["dialogue"], (os.O_RDONLY, os.O_WRONLY), strict=True):
            path = os.path.join(self._place, name)
            found.append(os.open(path, flags | os.O_CLOEXEC))
            os.unlink(path)
        return found

    def _spawn(self, program: bytes, argv: "list[bytes]", pipes: list[int]) -> int:
        return os.posix_spawn(
            program,
            argv,
            self._environment,
            file_actions=self._standard_files(pipes),
            setsid=True,
            setsigmask=(),
            setsigdef=RESET,
        )

    def _standard_files(self, pipes: list[int]) -> "list[tuple[Any, ...]]":
        out, err = self._streams
        told: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        ends = [*enumerate(pipes)] or [(1, out.write_end)]
        told += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in ends]
        return [*told, (os.POSIX_SPAWN_DUP2, err.write_end, 2)]

    def _watch(self, started: float) -> None:
        """Until the program itself has ended."""
        if self._job["wall_s"] is not None:
            self._deadline = started + self._job["wall_s"]
        if self._job["cpu_s"] is not None:
            self._meter = Meter(self._job["cpu_s"])
        while self._running:
            for fd, events in self._poll.poll(self._patience()):
                if fd in self._by_fd:
                    if not self._by_fd[fd].move() and events & select.POLLHUP:
                        self._poll.unregister(fd)
                elif fd == self._deaths:
                    os.read(fd, SIGNAL_BYTES)
                    self._reap()
                else:
                    self._end_early()
                    self._poll.unregister(fd)
            self._look_at_clocks()

    def _look_at_clocks(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            if self._ending:
                self._reach.signal(KILL)
                self._deadline = None
            else:
                self._report.timed_out = 1
                self._end_with_grace()
        meter = self._meter
        if meter and time.monotonic() >= meter.next and meter.over(self._reach.processes()):
            self._report.cpu_over = 1
            self._end_with_grace()

    def _patience(self) -> int | None:
        times = [] if self._deadline is None else [self._deadline]
        if self._meter is not None:
            times.append(self._meter.next)
        return max(0, int((min(times) - time.monotonic()) * 1000) + 1) if times else None

    def _has_too_many(self) -> bool:
        """Whether a program that failed has left so many that there may be no more, by a limit
        that counts no refusals: it is asked whether it would refuse us."""
        status = self._report.status
        if status == NOT_STARTED or (status == EXITED and self._report.code == 0):
            return False
        allowed = dict(self._job["rlimits"]).get(resource.RLIMIT_NPROC)
        if allowed is None:
            return False
        set_limit(resource.RLIMIT_NPROC, allowed - 1)  # the place of the program that has gone
        try:
            self._spawn(NOWHERE, [NOWHERE], [])
        except OSError as error:
            return error.errno == errno.EAGAIN
        return False

    def _end_early(self) -> None:
        """The broker asks for the end now: an out-of-memory kill, or it is gone itself."""
        packet, _ = link.receive_packet(self._sock)
        self._report.ended_early = 1
        if not packet:
            self._sweep()
            os._exit(1)
        self._reach.signal(KILL)

    def _end_with_grace(self) -> None:
        self._ending, self._meter = True, None
        self._reach.signal(TERM)
        self._reach.signal(CONT)
        self._deadline = time.monotonic() + float(self._job["grace_s"])

    def _sweep(self) -> None:
        """Kill and reap everything that is left. Who has no child, and adopts every orphan, is
        alone: the kernel then need not look at all processes of the host."""
        while not self._alone and self._reach.signal(KILL):
            try:
                while True:
                    os.waitpid(-1, 0)
            except ChildProcessError:
                pass

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._alone = True
                return
            if pid == 0:
                return
            if pid == self._pid:
                self._running = False
                if os.WIFSIGNALED(status):
                    self._report.status, self._report.code = SIGNALLED, os.WTERMSIG(status)
                else:
                    self._report.status, self._report.code = EXITED, os.WEXITSTATUS(status)

    def _account(self, before: "resource.struct_rusage") -> None:
        """Everything has been waited for, so the children's usage is complete."""
        report = self._report
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report.user_us = int((after.ru_utime - before.ru_utime) * 1e6)
        report.system_us = int((after.ru_stime - before.ru_stime) * 1e6)
        report.max_rss_kib = after.ru_maxrss if report.status != NOT_STARTED else 0
        report.read_bytes = (after.ru_inblock - before.ru_inblock) * BLOCK_BYTES
        report.written_bytes = (after.ru_oublock - before.ru_oublock) * BLOCK_BYTES
        fine = report.status == EXITED and report.code == 0
        for name, fd in self._counters:
            if fine and name == "refused_processes":
                continue  # it did without
            setattr(report, name, count_in(os.pread(fd, 4096, 0), name))


def listen(link_out: "_socket.socket", port: int) -> None:
    """Open a port in the action's network for the proxy, which runs outside of it."""
    server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    server.bind(("127.0.0.1", port))
    server.listen()
    link.send_packet(link_out, LISTENS, (server.fileno(),))
    server.close()


def count_in(data: bytes, name: str) -> int:
    """What a counter's file says: a number, or the number behind a word."""
    if name in WORDS:
        return int(data.partition(WORDS[name])[2].split(b"\n", 1)[0] or 0)
    number = int(data)
    return max(0, number - 1) if name == "processes" else number  # less the init


def set_limit(kind: int, value: int) -> None:
    """Both limits, never above what the host's hard limit allows; of open files, which bounds
    those on their way between all of a user's processes too, some are left to the helpers."""
    _, hard = resource.getrlimit(kind)
    if kind == resource.RLIMIT_NOFILE:
        hard = max(hard - FOR_HELPERS, hard // 2)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
