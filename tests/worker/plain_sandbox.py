"""A sandbox that isolates nothing: a plain subprocess in a copy of the input root.

For tests of what comes before and after the sandbox. It keeps the interface's promises (outcomes,
streams in files, a work tree that can be read until the block ends) but no guarantee.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

import trio

from builder.sandbox.interface import Exit, Outcome, SandboxSpec, Usage


class PlainFinished:
    def __init__(self, exit_: Exit, root_fd: int) -> None:
        self._exit = exit_
        self._root_fd = root_fd

    @property
    def exit(self) -> Exit:
        return self._exit

    @property
    def root_fd(self) -> int:
        return self._root_fd

    async def __aenter__(self) -> "PlainFinished":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._root_fd)


class PlainSandbox:
    backend = "plain"
    guarantees = ()

    def __init__(self) -> None:
        self.specs: list[SandboxSpec] = []

    async def run(self, spec: SandboxSpec) -> PlainFinished:
        self.specs.append(spec)
        scratch = Path(spec.scratch)
        work = scratch / "work"
        shutil.copytree(spec.input_root, work, symlinks=True)
        for parent in spec.output_parents:
            (work / parent).mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        with open(scratch / "stdout", "wb") as out, open(scratch / "stderr", "wb") as err:
            process = await trio.lowlevel.open_process(
                list(spec.argv),
                cwd=work / spec.working_directory,
                env={"PATH": os.defpath, **spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            timed_out = await _ended(process, spec.limits.wall_s)
        code = process.returncode
        assert code is not None
        outcome = Outcome.EXITED if code >= 0 else Outcome.SIGNALLED
        return PlainFinished(
            Exit(
                Outcome.TIMED_OUT if timed_out else outcome,
                code if code >= 0 else 128 - code,
                str(scratch / "stdout"),
                str(scratch / "stderr"),
                self.backend,
                self.guarantees,
                (),
                Usage(wall_s=time.monotonic() - start),
                signal=max(0, -code),
            ),
            os.open(work, os.O_RDONLY | os.O_DIRECTORY),
        )


async def _ended(process: trio.Process, wall_s: float | None) -> bool:
    """Wait for it, killing its group when the time is over; True then."""
    try:
        with trio.move_on_after(wall_s if wall_s is not None else float("inf")) as scope:
            await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
    return scope.cancelled_caught
