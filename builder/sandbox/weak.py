"""Actions without namespaces: only where the configuration accepts that, and every result says so.

Inputs are copied, never linked, because nothing else would keep an action from changing them.
What holds is no new privileges, the system call filter, limits by rlimit, and by Landlock that
nothing is opened but what a sandbox would show; as root the action still runs as another user.
There is no network isolation, no private /tmp, the names of the host's files are in sight, and a
helper killed with SIGKILL leaves its action's orphans behind.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
from typing import Any

import trio

from builder.host.removal import remove_tree
from builder.sandbox import link, outcome, plan, report, running
from builder.sandbox.finished import OpenTree
from builder.sandbox.interface import (
    Exit,
    Network,
    SandboxError,
    SandboxRefusedError,
    SandboxSpec,
)
from builder.sandbox.kernel import landlock
from builder.sandbox.kernel.worktree import copy_tree
from builder.sandbox.limits import AFFINITY, without_groups
from builder.sandbox.options import ENVIRONMENT, Options, helper, programs_kept, refuse_missing

BACKEND = "rlimits-only"
HELD = (
    "fresh-process",
    "read-only-inputs",
    "unprivileged-user",
    "no-new-privileges",
    "seccomp",
)
BACKSTOP_S = 10.0


class FinishedWeakly(OpenTree):
    """An action in a place that has to be removed after it."""

    def __init__(self, done: Exit, root_fd: int, place: str) -> None:
        super().__init__(done, root_fd)
        self._place = place

    async def release(self) -> None:
        await remove(self._place)


async def remove(place: str) -> None:
    """Only root's work trees lie outside of the scratch directory, and root can remove them."""
    if place:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, place)


class WeakSandbox:
    """See `interface.Sandbox`. `reason` is why there is no better one on this host."""

    backend = BACKEND

    def __init__(self, options: Options, reason: str) -> None:
        self._uid = options.action_uid if os.getuid() == 0 else None
        self._read_only = options.read_only
        has_landlock = landlock.version() >= landlock.OLDEST
        self.guarantees = (*HELD, "landlock") if has_landlock else HELD
        self.reason = reason

    async def run(self, spec: SandboxSpec) -> FinishedWeakly:
        """See `interface.Sandbox.run`."""
        wish, job = outcome.wish(spec), outcome.job(spec)
        refuse_missing(spec, self.guarantees, [self.reason])
        kept = programs_kept(spec, self.guarantees)
        self._refuse(spec)
        started = trio.current_time()
        # another user's action cannot reach into directories that are root's alone
        place = "" if self._uid is None else tempfile.mkdtemp(prefix="builder-action-")
        tree = os.path.join(place or spec.scratch, "tree")
        try:
            await trio.to_thread.run_sync(self._lay_out, wish["inputs"], tree)
            uid = os.getuid() if self._uid is None else self._uid
            enforced, job["rlimits"], job["cpus"] = without_groups(
                wish, sorted(os.sched_getaffinity(0)), processes_of(uid)
            )
            job |= {"uid": self._uid, "place": os.fsencode(tree)}
            enforced |= kept
            job["stays"] = enforced.get("cpu") == AFFINITY
            job["allowed"] = plan.allowed_on_host(self._read_only, tree)
            setup_us = int((trio.current_time() - started) * 1e6)
            told = await perform(spec, job)
        except BaseException:
            await remove(place)
            raise
        facts: dict[str, Any] = {
            "report": told,
            "oom_kills": 0,
            "overdue": told is None,
            "usage": {},
            "disk_full": False,  # nobody watches
            "greedy": False,
            "enforced": enforced,
            "setup_us": setup_us,
        }
        done = outcome.conclude(spec, facts, BACKEND, self.guarantees)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return FinishedWeakly(done, os.open(tree, flags), place)

    def _refuse(self, spec: SandboxSpec) -> None:
        """Raises SandboxRefusedError for what cannot be had without namespaces."""
        only = {
            "an action can only have an image or its inputs as its root": (
                spec.layers != () or spec.inputs_as_root
            ),
            "an action's wall clock can only stand still": spec.clock is not None,
            "an action can only be audited": spec.audit is not None,
            "an action can only be kept to some hosts": spec.network is Network.HOSTS,
            "a program can only stay and be spoken to": spec.dialogue is not None,
        }
        for what, asked in only.items():
            if asked:
                raise SandboxRefusedError(
                    f"{what} in a sandbox, which this host does not have ({self.reason}); "
                    "`builder doctor` says how to enable it"
                )

    def _lay_out(self, inputs: str, tree: str) -> None:
        os.mkdir(tree, 0o755)
        if self._uid is not None:
            os.chmod(os.path.dirname(tree), 0o711)  # noqa: S103 - to pass, not to look
            os.chown(tree, self._uid, self._uid)
        copy_tree(inputs, tree, self._uid)


async def perform(spec: SandboxSpec, job: dict[str, Any]) -> report.Report | None:
    """The report; None when the helper had to be killed. Raises SandboxError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, contextlib.ExitStack() as stack:
        outputs = []
        for name in ("stdout", "stderr"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            outputs.append(os.open(os.path.join(spec.scratch, name), flags, 0o600))
            stack.callback(os.close, outputs[-1])
        with theirs:
            process = subprocess.Popen(  # noqa: ASYNC220 - a vfork: about a millisecond
                helper("bare"),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
            )
        try:
            link.send(ours, job, tuple(outputs))
            ours.setblocking(False)
            with trio.move_on_after(patience(spec)) as scope:
                await trio.lowlevel.wait_readable(ours)
            packet, fds = (b"", []) if scope.cancelled_caught else link.receive_packet(ours)
            for fd in fds:  # the work tree, which is at a place of our own
                os.close(fd)
        finally:
            with trio.CancelScope(shield=True):
                await end(process, ours)
    if packet[:1] == running.REPORT:
        return report.unpack(packet[1:])
    if scope.cancelled_caught:
        return None
    raise SandboxError(packet[1:].decode(errors="replace") or "the action's helper died")


def processes_of(uid: int) -> int:
    """How many threads a user has on this host."""
    count = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


def patience(spec: SandboxSpec) -> float:
    """Seconds until even the helper must have answered."""
    limits = spec.limits
    return float("inf") if limits.wall_s is None else limits.wall_s + limits.grace_s + BACKSTOP_S


async def end(process: "subprocess.Popen[bytes]", link_to_it: socket.socket) -> None:
    """Closing the link makes it end its action; then it is reaped."""
    trio.lowlevel.notify_closing(link_to_it)
    link_to_it.close()
    pidfd = os.pidfd_open(process.pid)
    try:
        with trio.move_on_after(BACKSTOP_S):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    process.kill()
    process.wait()
