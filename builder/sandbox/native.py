"""Actions in namespaces of their own, without any program but this interpreter.

The trio side: it talks to the broker, which does everything that has to do with the kernel (see
`broker.py` for the processes and who talks to whom). When the broker dies, what ran in it ends
with SandboxError and the next action starts a new one.
"""

import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any

import trio

from builder.base.errors import UsageError
from builder.host.obstacles import obstacles
from builder.sandbox import audit, link, outcome, report
from builder.sandbox.interface import (
    Audit,
    AuditLevel,
    Exit,
    Network,
    Sandbox,
    SandboxError,
    SandboxRefusedError,
    SandboxSpec,
)
from builder.sandbox.kernel.groups import sweep_dead_groups
from builder.sandbox.kernel.quota import exceeds
from builder.sandbox.kernel.worktree import LAYER
from builder.sandbox.limits import Cpus, borne
from builder.sandbox.options import ENVIRONMENT, Options, helper, refuse_missing
from builder.sandbox.proxy import Proxy
from builder.sandbox.running import DIRECTORY, LISTENS, REPORT
from builder.sandbox.weak import WeakSandbox

PATIENCE_S = 30.0
SWEEP_S = 0.5
BACKEND, WITH_GROUPS = "namespaces", "namespaces+cgroup"


class Run:
    """One action on its way. Its report comes on `sock`; `facts` are what the broker tells of one
    that did not end by itself."""

    def __init__(self) -> None:
        self.sock, self.far_end = link.pair()
        self.sock.setblocking(False)
        self.gone = trio.Event()
        self.facts: dict[str, Any] | None = None
        self.root_fd = -1
        self.error: str | None = None

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

    async def report(self) -> bytes | None:
        """The init's last word; None when it did not come to that, and all is over."""
        await trio.lowlevel.wait_readable(self.sock)
        packet, fds = link.receive_packet(self.sock)
        if packet[:1] != REPORT or len(fds) != 1 or not report.fits(packet[1:]):
            for fd in fds:
                os.close(fd)
            await self.gone.wait()
            return None
        self._keep(fds[0])
        return packet[1:]

    async def report_through(self, proxy: Proxy) -> bytes | None:
        """The same, of an action that has a proxy meanwhile."""
        await trio.lowlevel.wait_readable(self.sock)
        if self.sock.recv(1, socket.MSG_PEEK) != LISTENS:
            return await self.report()
        _, fds = link.receive_packet(self.sock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.serve, fds[0])
            told = await self.report()
            nursery.cancel_scope.cancel()
        return told

    def close(self) -> None:
        for sock in (self.sock, self.far_end):
            if sock.fileno() >= 0:
                sock.close()


class Broker:
    """A broker process and the link to it; all of `runs` are known to it."""

    def __init__(self, options: Options) -> None:
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
        config = {
            "read_only": list(options.read_only),
            "ready": options.ready,
            "uid": options.action_uid,
            "root": options.root,
        }
        link.send(ours, config, (held,))
        os.close(held)

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
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            with trio.move_on_after(PATIENCE_S):
                await wait_for(self._process.pid)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            with trio.move_on_after(PATIENCE_S):
                await trio.lowlevel.wait_readable(self._life)
            os.close(self._life)
            if self._process.returncode != 0:  # else it has left nothing
                await trio.to_thread.run_sync(sweep_dead_groups, SWEEP_S)
            self._ended.set()


def cannot_start(reason: str) -> str:
    """With what is known to hinder it here, and the commands that help."""
    known = [f"{found.what}: {found.command}" for found in obstacles()[0]]
    return "; ".join([f"the sandbox cannot start: {reason}", *known])


async def wait_for(pid: int) -> None:
    """Until a child of ours has ended; it stays to be reaped."""
    fd = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


class FinishedAction:
    """An action that has ended, with its work tree (`interface.Finished`)."""

    def __init__(self, done: Exit, root_fd: int, gone: trio.Event) -> None:
        self._exit, self._root_fd, self._gone = done, root_fd, gone
        self._scratch = os.path.dirname(done.stdout)

    @property
    def exit(self) -> Exit:
        return self._exit

    @property
    def root_fd(self) -> int:
        return self._root_fd

    async def __aenter__(self) -> "FinishedAction":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE_S):
            await self._gone.wait()
        if os.getuid() != 0:
            unlock_layer(self._scratch)


def unlock_layer(scratch: str) -> None:
    """Let an ordinary user remove what the overlay has made without permissions."""
    with contextlib.suppress(FileNotFoundError):
        path = os.path.join(scratch, "layer")
        for name in ("work", "incompat", "volatile"):
            path = os.path.join(path, name)
            os.chmod(path, 0o700)


class NativeSandbox:
    """See `interface.Sandbox`. Make it by `open_sandbox`."""

    def __init__(self, options: Options, nursery: trio.Nursery) -> None:
        self._options, self._nursery = options, nursery
        self._broker: Broker | None = None
        self._starting = trio.Lock()
        self._number = 0
        self._cpus = Cpus(sorted(os.sched_getaffinity(0)))
        self.features: tuple[str, ...] = ()
        self.problems: tuple[str, ...] = ()

    @property
    def backend(self) -> str:
        return WITH_GROUPS if "memory" in self.features else BACKEND

    @property
    def guarantees(self) -> tuple[str, ...]:
        return outcome.guarantees(self.features, Network.NONE)

    @property
    def broker_pid(self) -> int:
        """For operators and tests; 0 when none runs."""
        return self._broker.pid if self._broker is not None and self._broker.alive else 0

    async def start(self) -> Broker:
        """The live broker, started if need be. Raises SandboxError."""
        async with self._starting:
            if self._broker is None or not self._broker.alive:
                broker = Broker(self._options)
                try:
                    await broker.come_up()
                except trio.Cancelled:  # whoever wanted it first does not any more
                    await broker.end()
                    raise
                self._broker = broker
                self.features, self.problems = broker.features, broker.problems
                self._nursery.start_soon(broker.listen)
            return self._broker

    async def close(self) -> None:
        """End everything that runs and wait until it is gone."""
        if self._broker is not None and self._broker.alive:
            await self._broker.end()

    async def run(self, spec: SandboxSpec) -> FinishedAction:
        """See `interface.Sandbox.run`."""
        wish, job = outcome.wish(spec), outcome.job(spec)
        proxy = Proxy(spec.hosts if spec.network is Network.HOSTS else ())
        broker = await self.start()
        held = outcome.guarantees(broker.features, spec.network)
        refuse_missing(spec, held, broker.problems)
        if spec.audit is AuditLevel.CHEAP and os.getuid() != 0:
            raise SandboxRefusedError(
                "the cheap audit needs root (fanotify on mounts); ask for audit=full, "
                "which every user has"
            )
        enforced, job["rlimits"], job["cpus"] = borne(
            wish, broker.features.__contains__, self._cpus
        )
        self._number += 1
        run_id, run = self._number, Run()
        broker.runs[run_id] = run
        try:
            request = ("run", run_id, wish, link.packed(job))
            await broker.send(request, (run.far_end.fileno(),))
            run.far_end.close()
            told = await (run.report_through(proxy) if job["proxy"] else run.report())
            if told is None or report.unpack(told).ended_early or spec.audit is AuditLevel.CHEAP:
                await run.gone.wait()
            if told is None and run.facts is None:
                raise SandboxError(run.error or "the sandbox gave no answer")
            facts = outcome.facts(told, run.facts) | {"enforced": enforced}
            done = await self._conclude(spec, facts, held, proxy)
        except BaseException:
            await abandon(broker, run_id, run)
            raise
        finally:
            run.close()
        return FinishedAction(done, run.root_fd, run.gone)

    async def _conclude(
        self, spec: SandboxSpec, facts: dict[str, Any], held: tuple[str, ...], proxy: Proxy
    ) -> Exit:
        limits = spec.limits
        if facts["overlay"] and (limits.disk_bytes, limits.disk_files) != (None, None):
            facts["enforced"]["disk"] = "watched"
            facts["disk_full"] |= await self._is_over(spec)
        found, blocked = await self._audit(spec), tuple(proxy.filter.blocked)
        return outcome.conclude(spec, facts, self.backend, held, found, blocked)

    async def _is_over(self, spec: SandboxSpec) -> bool:
        limits, layer = spec.limits, os.path.join(spec.scratch, LAYER)
        return await trio.to_thread.run_sync(exceeds, layer, limits.disk_bytes, limits.disk_files)

    async def _audit(self, spec: SandboxSpec) -> Audit | None:
        if spec.audit is None:
            return None
        return await trio.to_thread.run_sync(audit.read, spec, self._options.read_only)


async def abandon(broker: Broker, run_id: int, run: Run) -> None:
    """Kill a run that nobody waits for any more and see it gone."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE_S):
        if broker.alive:
            with contextlib.suppress(SandboxError):
                await broker.send(("kill", run_id))
            await run.gone.wait()
    if run.root_fd >= 0:
        os.close(run.root_fd)


@contextlib.asynccontextmanager
async def open_sandbox(
    *,
    read_only: Sequence[str] = (),
    ready: int = 2,
    action_uid: int = 60999,
    root: str = "",
    best_effort: bool = False,
) -> AsyncIterator[Sandbox]:
    """A sandbox for as long as the context lasts.

    `root` is a host directory whose system directories actions see instead of the host's.
    Raises SandboxError when this host has none; with `best_effort` actions then run with no more
    than rlimits, and every result says so.
    """
    options = Options(tuple(read_only), ready, action_uid, checked_root(root))
    try:
        async with trio.open_nursery() as nursery:
            native = NativeSandbox(options, nursery)
            try:
                yield await best(native, options, best_effort)
            finally:
                await native.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # the body's own error, as it was raised
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def checked_root(root: str) -> str:
    """Raises UsageError for a directory that is no system."""
    if not root:
        return ""
    root = os.path.realpath(root)
    if not any(os.path.isdir(os.path.join(root, name)) for name in ("usr", "bin")):
        raise UsageError(
            f"sandbox.root {root} holds no system: it has neither usr nor bin; make one by "
            "`debootstrap stable DIR`, or unpack an image there"
        )
    return "" if root == "/" else root


async def best(native: NativeSandbox, options: Options, best_effort: bool) -> Sandbox:
    """The native sandbox where it starts, else what the caller accepts instead."""
    try:
        await native.start()
    except SandboxError as error:
        if not best_effort or options.root:  # without mounts the host's own is all there is
            raise
        return WeakSandbox(options, str(error))
    return native
