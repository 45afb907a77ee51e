"""The PID namespace of one sandbox, as the runner sees it that has made it.

Its init is this process's child, and so are the program and what else is started from here; all
others are the init's sooner or later. This process is itself the first of a namespace, in which
there is nobody besides; from within the sandbox nobody can see or signal it.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import os
import time

from builder.sandbox.kernel import identity, init, signals

EXITING = 0x4  # PF_EXITING
# fields of /proc/<pid>/stat, behind the name
FLAGS, FAULTS_OF_REAPED, WAITED_FOR, WAITED_END = 6, 8, 13, 15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READ_BYTES = 4096
LAST_BORN = "sys/kernel/ns_last_pid"  # of /proc, in the PID namespace of who reads it

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Callable


def clock_s(pid: int) -> float:
    """What a process has used itself, by its own clock (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


class Namespace:
    """Made by a process in the namespaces that the init is to be in, which stays in its own PID
    namespace, `own`. `program` is the init's, at `fd`, and `seen` the /proc of this process. Raises
    OSError.
    """

    def __init__(self, program: "init.Program", fd: int, seen: int, own: int) -> None:
        self._seen = seen
        identity.unshare(identity.CLONE_NEWPID)
        said, says = os.pipe2(os.O_CLOEXEC)
        try:
            path = b"/proc/self/fd/%d" % fd
            to_us = [(os.POSIX_SPAWN_DUP2, says, 1)]
            self.init = os.posix_spawn(
                path, [b"bldr-init"], {}, file_actions=to_us, setsigdef=signals.EVERY
            )
            os.close(says)
            says = -1
            word = os.read(said, 1)
            if word != init.READY:
                code = os.waitstatus_to_exitcode(os.waitpid(self.init, 0)[1])
                raise OSError(code, os.strerror(code), program.purpose(word))
            self.pidfd = os.pidfd_open(self.init)
            self.spent_s = clock_s(self.init)  # so far, which no action is charged for
        finally:
            for fd in (said, says):
                if fd >= 0:
                    os.close(fd)
            identity.set_namespace(own, identity.CLONE_NEWPID)

    def enter(self) -> None:
        """What this thread starts from now on is born there."""
        identity.set_namespace(self.pidfd, identity.CLONE_NEWPID)

    def processes(self) -> list[int]:
        """By the numbers that they have there, for who sees its /proc."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]

    def signal(self, number: int) -> None:
        """Everybody but the init, which hears nothing that it does not wait for."""
        try:
            os.kill(-1, number)
        except OSError:
            pass  # there is nobody

    def alone(self, program: int) -> bool:
        """Whether nobody is left but our own, and nothing has been used that we are not told of:
        this program, which we have begun last, has had no child or thread; or the init has no
        child and has never waited for any. The former is one short look, by the numbers that all
        of them have in our own namespace too."""
        if self._latest() == program:
            return True
        if self._has_orphans():
            return False
        fields = self._read(f"{self.init}/stat").rpartition(b")")[2].split()
        return fields[FAULTS_OF_REAPED] == b"0"

    def ending(self) -> bool:
        """Whether somebody else has killed the init, and so all of them."""
        try:
            fields = self._read(f"{self.init}/stat").rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return True  # it has been waited for with the program
        return bool(int(fields[FLAGS]) & EXITING)

    def sweep(self, reap: "Callable[[int], int]", program: int, asked: bool) -> float:
        """End the init, and with it everything: the seconds of processor time, where they are
        asked for, that those had used whom nobody waits for then. `reap` waits for one child, with
        these flags; `program` is the one that runs still, 0 for none."""
        left_s = 0.0
        if asked and (program or self._has_orphans()):
            known = (os.getpid(), self.init, program)
            left = [int(name) for name in os.listdir(self._seen) if name.isdigit()]
            left_s = sum(self._used_s(pid) for pid in left if pid not in known)
        signals.pidfd_send_signal(self.pidfd, signals.SIGKILL)
        while reap(0) != self.init:
            pass
        os.close(self.pidfd)
        return left_s

    def _latest(self) -> int:
        """The process that was born last; 0 where the kernel does not tell."""
        try:
            return int(self._read(LAST_BORN))
        except FileNotFoundError:  # it is without CONFIG_CHECKPOINT_RESTORE
            return 0

    def _has_orphans(self) -> bool:
        """Kernels without lists of children do not tell."""
        try:
            return bool(self._read(f"{self.init}/task/{self.init}/children"))
        except FileNotFoundError:
            return True

    def _used_s(self, pid: int) -> float:
        """By its own clock, and for those that it has waited for by the ticks of /proc."""
        try:
            ticks = self._read(f"{pid}/stat").rpartition(b")")[2].split()[WAITED_FOR:WAITED_END]
            return clock_s(pid) + sum(map(int, ticks)) / TICKS_PER_S
        except OSError:
            return 0.0

    def _read(self, path: str) -> bytes:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._seen)
        try:
            return os.read(fd, READ_BYTES)
        finally:
            os.close(fd)
