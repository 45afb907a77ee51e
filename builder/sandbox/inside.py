"""The init of one sandbox: PID 1 of its namespace, for one action.

It prepares itself (namespaces, mounts, no privileges, system call filter), says that it is
ready, and waits for the action. It starts the program, carries its output into files up to a
bound, reaps every orphan, ends what is left, and reports. Whatever it says is packed integers
and text: the broker does not trust it, because the action runs beside it.

Order of giving up privileges: mounts and loopback need those of the zygote's user namespace; a
nested user namespace, which owns nothing, then replaces them; its capabilities are dropped last.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import _socket
import errno
import os
import resource
import select
import time

from builder.sandbox import link, plan
from builder.sandbox.auditor import Auditor
from builder.sandbox.kernel import identity, signals
from builder.sandbox.kernel.perform import Prepared, SetupError
from builder.sandbox.kernel.seccomp import Filter
from builder.sandbox.kernel.syscalls import call
from builder.sandbox.report import EXITED, NOT_STARTED, SIGNALLED, Report

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Mapping
    from typing import Any

READY, FAILED, REPORT = b"R", b"X", b"E"
DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
SPLICE_NONBLOCK = 2
CHUNK = 65536
NAMESPACES = identity.CLONE_NEWNS | identity.CLONE_NEWIPC | identity.CLONE_NEWUTS
NAMESPACES |= identity.CLONE_NEWCGROUP
RESET = (signals.SIGPIPE, signals.SIGXFSZ, signals.SIGCHLD)  # what the interpreter has changed
TERM, CONT, KILL = signals.SIGTERM, signals.SIGCONT, signals.SIGKILL


class Kit:
    """What every sandbox of a zygote has in common, made before the fork."""

    def __init__(self, setup: "list[plan.Operation]", calls: Filter) -> None:
        self.setups = {True: Prepared(setup), False: Prepared([*setup, ("loopback",)])}
        self.calls = calls


def main(sock: "_socket.socket", entrances: list[int], kit: Kit, full_network: bool) -> None:
    """Prepare, run one action, report. Never returns.

    `entrances` are the control groups to enter, before their namespace is unshared.
    """
    try:
        for entrance in entrances:
            os.write(entrance, b"0")
            os.close(entrance)
        prepare(sock, kit, full_network)
        packet, fds = link.receive_packet(sock)
        if packet:
            Action(sock, link.value_of(packet, fds), fds, Namespace()).run()
    except (OSError, SetupError, ValueError, KeyError) as error:
        tell(sock, FAILED + f"sandbox: {type(error).__name__}: {error}".encode()[:2000])
    finally:
        os._exit(0)


def tell(sock: "_socket.socket", packet: bytes, fds: "tuple[int, ...]" = ()) -> None:
    try:
        link.send_packet(sock, packet, fds)
    except OSError:
        os._exit(1)  # the broker is gone; so is the reason to live


def prepare(sock: "_socket.socket", kit: Kit, full_network: bool) -> None:
    """From a fork of the zygote to a locked sandbox that waits."""
    signals.signal(signals.SIGCHLD, signals.SIG_DFL)
    identity.unshare(NAMESPACES | (0 if full_network else identity.CLONE_NEWNET))
    kit.setups[full_network].perform()
    mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    identity.unshare(identity.CLONE_NEWUSER)
    identity.map_ids("self", plan.USER_ID, plan.USER_ID, plan.USER_ID)
    identity.drop_bounding_set()
    identity.drop_capabilities()
    identity.prctl(identity.PR_SET_NO_NEW_PRIVS, 1)
    identity.prctl(identity.PR_SET_DUMPABLE, 0)
    kit.calls.install()
    identity.set_name("bldr-init")
    own = os.pidfd_open(os.getpid())
    tell(sock, READY, (own, mounts))
    os.close(own)
    os.close(mounts)
    warm_up()


def warm_up() -> None:
    """Touch what an action will need, so that the copies of its pages are made beforehand."""
    try:
        os.posix_spawn(b"/nonexistent", [b"x"], {}, setsigdef=RESET)
    except OSError:
        pass
    link.value_of(link.packed(({b"a": b"b"}, ["x"], 1.0)), [])
    resource.getrusage(resource.RUSAGE_CHILDREN)


class Stream:
    """One output of the action: a pipe drained into a file, up to a number of bytes."""

    def __init__(self, file: int, limit: int, discard: int) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_end, False)
        self._file, self._left, self._discard = file, limit, discard
        self.total = 0
        self.failed = 0

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

    def signal(self, number: int) -> bool:
        """Whether there was anybody."""
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return False
        return True


class Action:
    """One program from start to the end of its last descendant.

    `reach` signals everything that belongs to it; its work tree stands at `place`.
    """

    def __init__(
        self,
        sock: "_socket.socket",
        job: "dict[str, Any]",
        fds: list[int],
        reach: Namespace,
        place: bytes = plan.WORK_TREE.encode(),
    ) -> None:
        self._sock, self._job, self._reach, self._place = sock, job, reach, place
        discard = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        limit = job["output_bytes"]
        self._streams = [Stream(fd, limit, discard) for fd in fds[:2]]
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signals.signal(signals.SIGCHLD, signals.nothing)
        signals.set_wakeup_fd(wake)
        self._report = Report()
        self._auditor = Auditor(fds[2]) if job["audit"] else None
        self._pid = 0
        self._running = False
        self._deadline: float | None = None
        self._ending = False

    def run(self) -> None:
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
        if self._auditor is not None:
            self._auditor.finish()
        self._sweep()
        self._report.sweep_us = int((time.monotonic() - ended) * 1e6)
        self._report.wall_us = int((ended - started) * 1e6)
        for stream in self._streams:
            while stream.move():
                pass
        self._report.stdout_bytes, self._report.stderr_bytes = (s.total for s in self._streams)
        self._report.output_errno = self._streams[0].failed or self._streams[1].failed
        self._account(before)
        tell(self._sock, REPORT + self._report.pack())

    def _enter(self) -> None:
        """To the place and under the limits of the action."""
        for parent in self._job["parents"]:
            os.makedirs(os.path.join(self._place, parent), 0o755, exist_ok=True)
        os.chdir(os.path.join(self._place, self._job["directory"]))
        for kind, value in self._job["rlimits"]:
            set_limit(kind, value)
        if self._job["cpus"]:
            os.sched_setaffinity(0, self._job["cpus"])

    def _start(self) -> None:
        environment = dict(self._job["environment"])
        argv = self._job["argv"]
        out, err = self._streams
        program = find_program(argv[0], environment)
        if self._auditor is not None:
            self._auditor.starts(program)
        self._pid = os.posix_spawn(
            program,
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out.write_end, 1),
                (os.POSIX_SPAWN_DUP2, err.write_end, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=RESET,
        )
        os.close(out.write_end)
        os.close(err.write_end)
        self._running = True

    def _watch(self, started: float) -> None:
        """Until the program itself has ended."""
        if self._job["wall_s"] is not None:
            self._deadline = started + self._job["wall_s"]
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        by_fd = {stream.read_end: stream for stream in self._streams}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        while self._running:
            ready = poll.poll(self._patience())
            for fd, events in ready:
                if fd in by_fd:
                    if not by_fd[fd].move() and events & select.POLLHUP:
                        poll.unregister(fd)
                elif fd == self._wake:
                    drain(fd)
                    self._reap()
                else:
                    self._end_early()
                    poll.unregister(fd)
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._deadline_passed()

    def _patience(self) -> int | None:
        if self._deadline is None:
            return None
        return max(0, int((self._deadline - time.monotonic()) * 1000) + 1)

    def _end_early(self) -> None:
        """The broker asks for the end now: an out-of-memory kill, or it is gone itself."""
        packet, _ = link.receive_packet(self._sock)
        self._report.ended_early = 1
        if not packet:
            self._sweep()
            os._exit(1)
        self._reach.signal(KILL)

    def _deadline_passed(self) -> None:
        if self._ending:
            self._reach.signal(KILL)
            self._deadline = None
            return
        self._ending = True
        self._report.timed_out = 1
        self._reach.signal(TERM)
        self._reach.signal(CONT)
        self._deadline = time.monotonic() + float(self._job["grace_s"])

    def _sweep(self) -> None:
        """Kill and reap everything that is left."""
        while self._reach.signal(KILL):
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
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._report.user_us = int((after.ru_utime - before.ru_utime) * 1e6)
        self._report.system_us = int((after.ru_stime - before.ru_stime) * 1e6)
        self._report.max_rss_kib = after.ru_maxrss if self._report.status != NOT_STARTED else 0


def drain(fd: int) -> None:
    try:
        os.read(fd, 4096)
    except BlockingIOError:
        pass


def set_limit(kind: int, value: int) -> None:
    """Both limits, never above what the host's hard limit allows."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
