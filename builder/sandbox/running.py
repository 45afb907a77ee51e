"""One program of an action: started, watched, ended, reported; by the process that begot it.

It carries the program's output into files up to a bound, ends what is left of its processes, and
reports. Whatever it says is packed integers and text: it runs beside the action, so nobody trusts
it with more.
"""

import _socket
import errno
import os
import resource
import select
import time

from builder.sandbox import link
from builder.sandbox.kernel import leaf, signals
from builder.sandbox.kernel.cputime import Meter
from builder.sandbox.kernel.programs import Programs
from builder.sandbox.kernel.seccomp import Filter, where_it_is
from builder.sandbox.kernel.syscalls import MACHINE, call
from builder.sandbox.report import EXITED, NOT_STARTED, SIGNALLED, Report
from builder.sandbox.stream import Stream
from builder.sandbox.supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Reach(Protocol):
        """What reaches every process of an action."""

        spent_s: float  # of the time of those that are reaped, what is not the action's

        def processes(self) -> list[int]: ...

        def signal(self, number: int) -> object: ...

        def alone(self, program: int) -> bool: ...

        def ending(self) -> bool: ...

        def sweep(self, reap: "Callable[[int], int]", program: int, asked: bool) -> float: ...


REPORT, LISTENS, STARTED = b"E", b"L", b"S"
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
SAME_LAYOUT = 0x0040000  # ADDR_NO_RANDOMIZE: addresses are the same in each run
FOR_HELPERS = 1024  # two full messages of descriptors, and those of a busy broker
NOWHERE = b"/nonexistent"
NOBODY = -1
OF_THIS_THREAD = 0x20000000  # __WNOTHREAD of waitpid(2)
BLOCK_BYTES = 512  # of getrusage(2)
UNLISTED = "it is none of the programs that the action may execute"
# One byte, into which no core fits; with none the kernel would still hand it to a host's collector
# of cores (core(5)), a program of root's to which no limit of the action applies.
NO_CORES = (resource.RLIMIT_CORE, 1)
TERM, CONT, KILL = signals.SIGTERM, signals.SIGCONT, signals.SIGKILL
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def tell(sock: "_socket.socket", packet: bytes, fds: "tuple[int, ...]" = ()) -> None:
    try:
        link.send_packet(sock, packet, fds)
    except OSError:
        os._exit(1)  # the other end is gone; so is the reason to live


def find_program(name: bytes, environment: "Mapping[bytes, bytes]") -> bytes:
    """The file to execute: as written when it has a slash, else the first one on the PATH."""
    if b"/" in name:
        return name
    for directory in environment.get(b"PATH", DEFAULT_PATH).split(b":"):
        path = (directory or b".") + b"/" + name
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise FileNotFoundError(errno.ENOENT, "no such program on PATH", os.fsdecode(name))


class Action:
    """One program, from its start (`run`) to the end of its last descendant (`conclude`).

    `sock` is the link by which its end is asked for, `reach` signals everything that belongs to
    it, its work tree stands at `place`, `counters` are names, files that count what it uses, and
    how much of that is not its own; `deaths` is readable when a child has ended. `descend` is
    called when the work tree is there, by who makes it its root: where it stands then. Where others
    have been in the same sandbox, `use` is how many, and `before` is what counters said then that
    could not be set back.
    """

    def __init__(
        self,
        sock: "_socket.socket",
        reach: "Reach",
        place: bytes,
        counters: "list[tuple[str, int, int]]",
        deaths: int,
        descend: "Callable[[], bytes] | None" = None,
        before: "Mapping[str, int] | None" = None,
        use: int = 0,
    ) -> None:
        self._descend = descend
        self._sock, self._reach, self._place, self._counters = sock, reach, place, counters
        self._deaths = deaths
        discard = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        self._streams = [Stream(discard), Stream(discard)]
        self._own = [discard, *(stream.read_end for stream in self._streams)]
        self._poll = select.poll()
        self._by_fd = {stream.read_end: stream for stream in self._streams}
        for fd in (*self._by_fd, self._deaths, sock.fileno()):
            self._poll.register(fd, select.POLLIN)
        self._report = Report()
        self._report.reused, self._before = use, before or {}
        self._supervisor: Supervisor | None = None
        self._job: dict[str, Any] = {}
        self._environment: dict[bytes, bytes] = {}
        self._answer = sock
        self._pid = self._root = NOBODY
        self._running = self._over = self._deserted = self._probed = False
        self._started = self._ended = 0.0
        self._told = (0, 0, 0)
        self._sent: bool | None = None
        self._deadline: float | None = None
        self._ending = False
        self._meter: Meter | None = None
        self._programs: Programs | None = None

    @property
    def begun(self) -> bool:
        """Whether there was anything to be run."""
        return self._root != NOBODY

    @property
    def ordinary(self) -> bool:
        """Whether it has ended by itself, and nothing beside it was needed."""
        told, job = self._report, self._job
        ended = told.timed_out or told.ended_early or told.cpu_over or told.refused_processes
        return not (ended or self._probed or job["dialogue"])

    @property
    def traceless(self) -> bool:
        """Whether it has been reported, left nobody, and was to leave its sandbox to another."""
        return self._sent is True and self.ordinary and bool(self._job.get("reuse"))

    def put_away(self) -> None:
        """What has nothing left to be concluded."""
        signals.forget(self._deaths)
        self._close()

    def learn(self, job: "dict[str, Any]", files: list[int], answer: "_socket.socket") -> None:
        """What it is to run, the files for stdout, stderr and an audit's record, and the link that
        the report goes to; its work tree is made meanwhile."""
        self._job, self._answer = job, answer
        self._own += files
        self._environment = dict(job["environment"])
        for stream, file in zip(self._streams, files, strict=False):
            stream.keep_in(file, job["output_bytes"])
        if job["programs"]:
            path = self._environment.get(b"PATH", DEFAULT_PATH)
            self._programs = Programs(job["programs"], self._place, path)
        if job["audit"] or job["sorted"] or self._programs is not None:
            records = files[2] if job["audit"] else -1
            self._supervisor = Supervisor(records, listings=job["sorted"], programs=self._programs)
        if job["proxy"]:
            listen(self._answer, job["proxy"])

    def run(self, told: "tuple[int, int, int]") -> None:
        """Until the program itself has ended, or has to be ended; reports at once when nobody else
        is left. `told` is what the broker adds to the report."""
        self._told = told
        self._root = os.open(self._place, DIRECTORY)
        self._started = time.monotonic()
        try:
            self._enter()
            self._start()
        except OSError as error:
            self._report.not_started(error)
        else:
            self._watch(self._started)
        self._ended = time.monotonic()
        supervisor = self._supervisor
        if supervisor is not None:
            self._report.message = supervisor.finish() or self._report.message
        self._report.refused_processes = int(self._has_too_many())
        if supervisor is not None:
            supervisor.close()
        elif self._is_alone():
            self._sent = self._tell_all()

    def _is_alone(self) -> bool:
        """Whether the program has ended by itself, and left nobody."""
        if self._running or self._over or self._report.status != EXITED:
            return False
        self._account()
        if self._report.processes == 1:
            return True  # it has never had a child
        ours = os.WNOHANG | OF_THIS_THREAD  # else the init is one of them
        return self._reap(ours) == NOBODY and self._reach.alone(self._pid)

    def conclude(self) -> bool:
        """End everything that is left, and report; whether the work tree was sent with that."""
        report = self._report
        killed = report.status == SIGNALLED and report.code == KILL
        if (killed or report.status == NOT_STARTED) and self._reach.ending():
            os._exit(1)  # whoever has ended us all has something to say of it
        program = self._pid if self._running else 0
        left_s = self._reach.sweep(self._reap, program, self._sent is None)
        signals.forget(self._deaths)
        if self._deserted:
            os._exit(1)
        if self._sent is None:
            report.user_us += int(left_s * 1e6)
            report.system_us = max(0, report.system_us - int(self._reach.spent_s * 1e6))
            report.sweep_us = int((time.monotonic() - self._ended) * 1e6)
            self._account()
            self._sent = self._tell_all()
        self._close()
        return self._sent

    def _tell_all(self) -> bool:
        """The report; whether the work tree was sent with it."""
        report = self._report
        report.wall_us = int((self._ended - self._started) * 1e6)
        report.setup_us, report.inputs_us, report.overlay = self._told
        for stream in self._streams:
            stream.drain()
        report.stdout_bytes, report.stderr_bytes = (s.total for s in self._streams)
        report.output_errno = self._streams[0].failed or self._streams[1].failed
        return self._tell_end(self._root)

    def _close(self) -> None:
        self._answer.close()
        for stream in self._streams:
            stream.close_write_end()
        for fd in (*self._own, self._root):
            os.close(fd)

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
        if self._descend is not None:
            self._place = self._descend()
        for parent in self._job["parents"]:
            os.makedirs(os.path.join(self._place, parent), 0o755, exist_ok=True)
        os.chdir(self._place + b"/" + self._job["directory"])
        if self._job["same_layout"]:
            call("personality", SAME_LAYOUT)
        if self._job["cpus"]:
            os.sched_setaffinity(0, self._job["cpus"])
        if self._job["stays"]:
            Filter(where_it_is(MACHINE)).install()
        if self._job["preload"] is not None:
            write_anew(*self._job["preload"])
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
            stream.close_write_end()
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
            setsigdef=signals.EVERY,
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
        while self._running and not self._over:
            for fd, events in self._poll.poll(self._patience()):
                if fd in self._by_fd:
                    self._by_fd[fd].heard(events)
                    if self._by_fd[fd].ended:
                        self._poll.unregister(fd)
                elif fd == self._deaths:
                    signals.forget(fd)
                    while self._running and self._reap(os.WNOHANG) > 0:
                        pass
                else:
                    self._end_early()
                    self._poll.unregister(fd)
            self._look_at_clocks()

    def _look_at_clocks(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            if self._ending:
                self._over = True
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
        self._probed = True
        set_limit(resource.RLIMIT_NPROC, allowed - 1)  # the place of the program that has gone
        try:
            os.posix_spawn(NOWHERE, [NOWHERE], {})
        except OSError as error:
            return error.errno == errno.EAGAIN
        return False

    def _end_early(self) -> None:
        """The broker asks for the end now: an out-of-memory kill, or it is gone itself."""
        packet, _ = link.receive_packet(self._sock)
        self._report.ended_early = 1
        self._deserted = not packet
        self._over = True

    def _end_with_grace(self) -> None:
        self._ending, self._meter = True, None
        self._reach.signal(TERM)
        self._reach.signal(CONT)
        self._deadline = time.monotonic() + float(self._job["grace_s"])

    def _reap(self, flags: int) -> int:
        """Wait for one child: its number, 0 when none has ended, NOBODY when there is none."""
        try:
            pid, status, used = os.wait4(-1, flags)
        except ChildProcessError:
            return NOBODY
        if pid == 0:
            return 0
        self._charge(used)
        if pid == self._pid:
            self._running = False
            if os.WIFSIGNALED(status):
                self._report.status, self._report.code = SIGNALLED, os.WTERMSIG(status)
            else:
                self._report.status, self._report.code = EXITED, os.WEXITSTATUS(status)
        return pid

    def _charge(self, used: "resource.struct_rusage") -> None:
        """What a child and all that it has waited for have used."""
        report = self._report
        report.user_us += int(used.ru_utime * 1e6)
        report.system_us += int(used.ru_stime * 1e6)
        report.max_rss_kib = max(report.max_rss_kib, used.ru_maxrss)
        report.read_bytes += used.ru_inblock * BLOCK_BYTES
        report.written_bytes += used.ru_oublock * BLOCK_BYTES

    def _account(self) -> None:
        """What the control groups have counted, when everything has been waited for."""
        report = self._report
        if report.status == NOT_STARTED:
            report.max_rss_kib = 0
        fine = report.status == EXITED and report.code == 0
        for name, not_its_own, fd in self._counters:
            if fine and name == "refused_processes":
                continue  # it did without
            told = leaf.counted(fd, name)
            if told == self._before.get(name):
                continue  # whatever its own was, it was not more than an earlier action's
            setattr(report, name, max(0, told - not_its_own))


def write_anew(path: str, data: bytes) -> None:
    """A file of the action's, for it to read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    os.write(fd, data)
    os.close(fd)


def listen(link_out: "_socket.socket", port: int) -> None:
    """Open a port in the action's network for the proxy, which runs outside of it."""
    server = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    server.bind(("127.0.0.1", port))
    server.listen()
    link.send_packet(link_out, LISTENS, (server.fileno(),))
    server.close()


def set_limits(limits: "list[tuple[int, int]]") -> None:
    """For this process and all of its children, for good."""
    for kind, value in limits:
        set_limit(kind, value)


def set_limit(kind: int, value: int) -> None:
    """Both limits, never above what the host's hard limit allows; of open files, which bounds
    those on their way between all of a user's processes too, some are left to the helpers."""
    _, hard = resource.getrlimit(kind)
    if kind == resource.RLIMIT_NOFILE:
        hard = max(hard - FOR_HELPERS, hard // 2)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
