"""The broker as the service sees it: a process, the link to it, and the actions on their way.

The broker does everything that has to do with the kernel (see `broker.py` for the processes and
who talks to whom). A report comes straight from the sandbox's init, by a link of the action's own;
the broker tells when all of an action is over, of one that did not end by itself, and to who
asks. When it dies, what ran in it ends with SandboxError.
"""

import contextlib
import errno
import os
import select
import socket
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from builder.host.descriptors import allow_many
from builder.host.obstacles import obstacles
from builder.sandbox import link
from builder.sandbox.interface import SandboxError
from builder.sandbox.kernel.groups import pid_of, sweep_dead_groups
from builder.sandbox.kernel.worktree import new_file
from builder.sandbox.options import ENVIRONMENT, Options, helper
from builder.sandbox.proxy import Proxy
from builder.sandbox.report import Report, fits, unpack
from builder.sandbox.running import DIRECTORY, LISTENS, REPORT, STARTED

PATIENCE_S = 30.0
FILES = (("stdout", 0), ("stderr", 0), ("audit", os.O_APPEND))  # the last one where it is asked for
SWEEP_S = 0.5
LOOK_S = 0.02
Link = tuple[socket.SocketType, socket.SocketType]


class Run:
    """One action on its way, which the broker knows by its number. Its report comes on `sock`;
    `facts` are what the broker tells of one that did not end by itself."""

    def __init__(self, broker: "Broker", number: int) -> None:
        self._broker, self._number = broker, number
        self.sock, self.far_end = broker.next_link()
        self.gone = trio.Event()
        self.facts: dict[str, Any] | None = None
        self.root_fd = -1
        self.error: str | None = None
        broker.runs[number] = self

    async def begin(self, wish: dict[str, Any]) -> None:
        """Ask for a sandbox. Raises SandboxError."""
        await self._broker.send(("run", self._number, wish), (self.far_end.fileno(),))

    def tell(self, job: dict[str, Any], scratch: str) -> None:
        """What it is to run, and the files that it fills; its init reads that when it has got the
        other end of this link. Raises SandboxError when the files cannot be made."""
        self.far_end.close()
        files: list[int] = []
        try:
            for name, flags in FILES[: len(FILES) if job["audit"] else -1]:
                files.append(new_file(scratch, name, flags))
        except OSError as error:
            raise SandboxError(f"setting up the sandbox: {error}") from None
        else:
            self._tell_job(job, files)
        finally:
            for file in files:
                os.close(file)

    def _tell_job(self, job: dict[str, Any], files: list[int]) -> None:
        try:
            link.send(self.sock, job, tuple(files))
        except OSError as error:  # else nobody has it any more: `report` has the reason
            if error.errno == errno.ETOOMANYREFS:
                raise SandboxError(f"setting up the sandbox: {error.strerror}") from None

    def fail(self, message: str) -> None:
        if self.error is None:
            self.error = message
        self.gone.set()

    def end(self, facts: dict[str, Any] | None, trees: list[int]) -> None:
        """All is over; with facts comes the work tree."""
        self.facts = facts
        for tree in trees:
            self._keep(os.open(".", DIRECTORY, dir_fd=tree))
            os.close(tree)
        self.gone.set()

    def _keep(self, root_fd: int) -> None:
        """It may come with the report and from the broker."""
        if self.root_fd >= 0:
            os.close(root_fd)
        else:
            self.root_fd = root_fd

    async def report(self) -> Report | None:
        """The init's last word; None when it did not come to that, and all is over."""
        await readable(self.sock.fileno(), self._exhausted)
        packet, fds = link.receive_packet(self.sock)
        whole = packet[:1] == REPORT and fits(packet[1:])
        if not whole or len(fds) != 1:  # without the work tree, which comes from the broker then
            for fd in fds:
                os.close(fd)
            await self.over()
            return unpack(packet[1:]) if whole and self.root_fd >= 0 else None
        self._keep(fds[0])
        return unpack(packet[1:])

    async def started(self) -> int:
        """The process id, on this host, of a program that is spoken to; 0 when it never ran."""
        await readable(self.sock.fileno(), self._exhausted)
        if self.sock.recv(1, socket.MSG_PEEK) != STARTED:
            return 0
        _, fds = link.receive_packet(self.sock)
        try:
            return pid_of(fds[0])
        except ValueError:  # it has ended meanwhile, and has none any more
            return 0
        finally:
            for fd in fds:
                os.close(fd)

    async def report_through(self, proxy: Proxy) -> Report | None:
        """The same, of an action that has a proxy meanwhile."""
        await readable(self.sock.fileno(), self._exhausted)
        if self.sock.recv(1, socket.MSG_PEEK) != LISTENS:
            return await self.report()
        _, fds = link.receive_packet(self.sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.serve, fds[0])
            told = await self.report()
            nursery.cancel_scope.cancel()
        return told

    async def _exhausted(self) -> None:
        await self._broker.send(("exhausted", self._number))

    async def over(self) -> None:
        """Until nothing is left of it. Of what has ended by itself the broker tells who asks."""
        await self._ask("await")

    async def _ask(self, what: str) -> None:
        with contextlib.suppress(SandboxError):  # it is no more, and then this has failed
            await self._broker.send((what, self._number))
        await self.gone.wait()

    async def abandon(self) -> None:
        """Kill what nobody waits for any more and see it gone."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE_S):
            if self._broker.alive:
                await self._ask("kill")
        if self.root_fd >= 0:
            os.close(self.root_fd)

    def close(self) -> None:
        self._broker.runs.pop(self._number, None)
        for sock in (self.sock, self.far_end):
            if sock.fileno() >= 0:
                sock.close()


class Broker:
    """A broker process and the link to it; all of `runs` are known to it."""

    def __init__(self, options: Options) -> None:
        # The kernel sends no descriptor when more of a user's are on their way than the sender may
        # have open; actions, of the same user, can have fewer on their way than the helpers.
        allow_many()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock = ours
        with theirs:
            self._process = subprocess.Popen(
                helper("broker"),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C in a terminal is the service's to obey
            )
        ours.setblocking(False)
        # held by the keeper, which outlives every process of every sandbox: its end is theirs
        self._life, held = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.pid = self._process.pid
        self.runs: dict[int, Run] = {}
        self.alive = True
        self.features: tuple[str, ...] = ()
        self.problems: tuple[str, ...] = ()
        self.reason = "the sandbox's broker died"
        self._ending, self._ended = False, trio.Event()
        self._next: Link | None = new_link()
        config = {
            "read_only": list(options.read_only),
            "ready": options.ready,
            "uid": options.action_uid,
            "root": options.root,
            "layers": list(options.layers),
            "rooted": options.rooted,
            "reuse": options.reuse,
        }
        link.send(ours, config, (held,))
        os.close(held)

    def next_link(self) -> Link:
        """One that was made while nobody waited for it."""
        made, self._next = self._next, None
        return made or new_link()

    def look_ahead(self) -> None:
        """Make the link of the next action."""
        if self._next is None and self.alive:
            with contextlib.suppress(OSError):  # `next_link` has it too, and says so
                self._next = new_link()

    async def send(self, value: object, fds: tuple[int, ...] = ()) -> None:
        while True:
            try:
                return link.send(self._sock, value, fds)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)
            except OSError as error:
                raise SandboxError(f"{self.reason} ({error.strerror})") from None

    async def receive(self) -> tuple[Any, list[int]]:
        while True:
            try:
                return link.receive(self._sock)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._sock)
            except OSError:
                if self._sock.fileno() < 0:
                    raise trio.ClosedResourceError from None
                raise

    async def come_up(self) -> None:
        """Raises SandboxError with the reason why it does not."""
        with trio.move_on_after(PATIENCE_S):
            answer, _ = await self.receive()
            if answer is not None and answer[0] == "up":
                self.features = tuple(answer[1]["features"])
                self.problems = tuple(answer[1]["problems"])
                return
            reason = answer[1] if answer is not None else "its broker died at the start"
            await self.end()
            raise SandboxError(cannot_start(reason))
        await self.end()
        raise SandboxError(f"the sandbox did not start within {PATIENCE_S:g} s")

    async def listen(self) -> None:
        """Hand out what it tells, until it is gone; then fail what still runs.

        Shielded: runs that are being cancelled wait to hear of their end; `end` stops it.
        """
        with (
            trio.CancelScope(shield=True),
            contextlib.suppress(trio.ClosedResourceError),  # closed by `end`
        ):
            while True:
                value, fds = await self.receive()
                if value is None:
                    break
                self._told(value, fds)
        await self.end()
        for run in self.runs.values():
            run.fail(self.reason)
        self.runs.clear()

    def _told(self, value: tuple[Any, ...], fds: list[int]) -> None:
        if value[0] == "down":
            self.reason = f"the sandbox's broker ended: {value[1]}"
            return
        kind, run_id, said = value
        run = self.runs.get(run_id)
        if run is None:  # it was killed just as it ended, and has been told of already
            for fd in fds:
                os.close(fd)
        elif kind == "error":
            run.error = said
        else:
            run.end(said, fds)
            del self.runs[run_id]

    async def end(self) -> None:
        """Close the link, which ends the broker and everything below it; then tidy up."""
        self.alive = False
        with trio.CancelScope(shield=True):
            if self._ending:
                await self._ended.wait()
                return
            self._ending = True
            for unused in self._next or ():
                unused.close()
            self._next = None
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            with trio.move_on_after(PATIENCE_S):
                await wait_for(self._process.pid)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            with trio.move_on_after(PATIENCE_S):
                await readable(self._life)
            os.close(self._life)
            if self._process.returncode != 0:  # else it has left nothing
                await trio.to_thread.run_sync(sweep_dead_groups, SWEEP_S)
            self._ended.set()


def new_link() -> Link:
    """Our end, which blocks nobody, and the other one."""
    ours, theirs = link.pair()
    ours.setblocking(False)
    return ours, theirs


def cannot_start(reason: str) -> str:
    """With what is known to hinder it here, and the commands that help."""
    known = [f"{found.what}: {found.command}" for found in obstacles()[0]]
    return "; ".join([f"the sandbox cannot start: {reason}", *known])


async def readable(source: int, exhausted: Callable[[], Awaitable[None]] | None = None) -> None:
    """Until there is something to be read, also when the user has no watches of epoll left: who
    can do something against that (`exhausted`) is told, and it is looked now and then."""
    try:
        await trio.lowlevel.wait_readable(source)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    else:
        return
    if exhausted is not None:
        await exhausted()
    look = select.poll()
    look.register(source, select.POLLIN)
    while not look.poll(0):  # noqa: ASYNC110 - nothing can tell
        await trio.sleep(LOOK_S)


async def wait_for(pid: int) -> None:
    """Until a child of ours has ended; it stays to be reaped."""
    fd = os.pidfd_open(pid)
    try:
        await readable(fd)
    finally:
        os.close(fd)
