"""A child process with a time limit, whose output is kept up to a bound: any Unix, and no more.

For the ways of running actions that have no init of their own: what isolates the action is what
the child is made of. Its descendants are reached as its process group, so one that leaves that by
setsid(2) is not.
"""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import IO

import trio

from builder.sandbox.interface import SandboxSpec
from builder.sandbox.report import EXITED, NOT_FOUND, NOT_STARTED, SIGNALLED, Report

Kill = Callable[[int, int], Awaitable[None]]
CHUNK = 65536
KIB = 1024
# getrusage(2): kibibytes on Linux and the BSDs, bytes on macOS
RSS_UNIT = 1 if sys.platform == "darwin" else KIB
GROUP_END_S = 10.0


async def kill_it(pid: int, number: int) -> None:
    kill_group(pid, number)


async def run_child(
    argv: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    spec: SandboxSpec,
    kill: Kill = kill_it,
) -> Report:
    """How it ended. stdout and stderr go to files of the spec's scratch directory, cut after as
    many bytes as its limits say. `kill` sends a signal to a child, and to what it stands for.
    Raises OSError when it cannot be started.

    Cancelled, it kills the group and waits for the child.
    """
    report = Report()
    process = subprocess.Popen(  # noqa: ASYNC220 - a vfork, or posix_spawn
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
    )
    started = time.monotonic()
    ended = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, process.stdout, spec, "stdout", report)
            nursery.start_soon(_keep, process.stderr, spec, "stderr", report)
            nursery.start_soon(_watch_time, process.pid, spec, report, ended, kill)
            nursery.start_soon(_end_with_us, process.pid, ended, kill)
            await _reap(process, report)
            ended.set()
            report.wall_us = int((time.monotonic() - started) * 1e6)
            kill_group(process.pid, signal.SIGKILL)  # what it has left would keep the pipes open
            nursery.cancel_scope.deadline = trio.current_time() + GROUP_END_S
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    return report


async def _reap(process: "subprocess.Popen[bytes]", report: Report) -> None:
    status, usage = await trio.to_thread.run_sync(_wait, process.pid)
    process.returncode = os.waitstatus_to_exitcode(status)
    killed = os.WIFSIGNALED(status)
    report.status = SIGNALLED if killed else EXITED
    report.code = os.WTERMSIG(status) if killed else os.WEXITSTATUS(status)
    report.user_us, report.system_us = int(usage.ru_utime * 1e6), int(usage.ru_stime * 1e6)
    report.max_rss_kib = usage.ru_maxrss * RSS_UNIT // KIB


def _wait(pid: int) -> tuple[int, resource.struct_rusage]:
    _, status, usage = os.wait4(pid, 0)
    return status, usage


async def _end_with_us(pid: int, ended: trio.Event, kill: Kill) -> None:
    """Nobody can leave the thread that waits, so a cancelled child is killed."""
    try:
        await ended.wait()
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await kill(pid, signal.SIGKILL)
        raise


async def _watch_time(
    pid: int, spec: SandboxSpec, report: Report, ended: trio.Event, kill: Kill
) -> None:
    limits = spec.limits
    if limits.wall_s is None:
        return
    with trio.move_on_after(limits.wall_s):
        await ended.wait()
        return
    report.timed_out = 1
    for number in (signal.SIGTERM, signal.SIGCONT):
        await kill(pid, number)
    with trio.move_on_after(limits.grace_s):
        await ended.wait()
        return
    await kill(pid, signal.SIGKILL)


async def _keep(stream: IO[bytes] | None, spec: SandboxSpec, name: str, report: Report) -> None:
    """One output into its file, up to the bound; the rest is counted and dropped."""
    assert stream is not None  # both are pipes
    pipe = trio.lowlevel.FdStream(os.dup(stream.fileno()))
    left, total = spec.limits.output_bytes, 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    file = os.open(os.path.join(spec.scratch, name), flags, 0o600)
    try:
        async with pipe:
            async for data in pipe:
                total += len(data)
                setattr(report, f"{name}_bytes", total)
                try:
                    left -= os.write(file, data[:left]) if left > 0 else 0
                except OSError as error:  # such as a full disk: drop the rest, say so
                    report.output_errno, left = error.errno or errno.EIO, 0
    finally:
        os.close(file)


def kill_group(pid: int, number: int) -> None:
    """Whoever is in it; nobody is no error. macOS says EPERM of a group of zombies."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def not_found(spec: SandboxSpec) -> Report:
    """As if it had been tried: with empty output."""
    report = Report()
    report.status, report.code = NOT_STARTED, NOT_FOUND
    report.message = f"{spec.argv[0]}: no such program"
    for name in ("stdout", "stderr"):
        with open(os.path.join(spec.scratch, name), "xb"):
            pass
    return report
