"""Workers as child processes of this one, on this machine.

Theory of operation. Every child gets a pipe as its stdin whose other end only this process has.
When this process is gone, however it ended, the kernel closes that end, and the child reads the
end of the file and stops (`builder worker --exit-with-stdin`). PR_SET_PDEATHSIG would not do: it
follows the thread that forked, and ours come and go. Children have a session of their own, so
that Ctrl-C at a terminal reaches this process alone, which then drains them in order.
"""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio

from builder.providers.interface import Instance, ProviderError, RefusedError, TransientError
from builder.telemetry.log import get_logger

log = get_logger()
EXHAUSTED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class LocalProvider:
    """An async context manager; leaving it ends every worker.

    `argv_for(name)` is the command of a worker; `grace_s` is how long one that was told to end
    may take before it is killed; `exited(name, how)` is called after each end. Workers are named
    by `prefix` and their number.
    """

    def __init__(
        self,
        argv_for: Callable[[str], Sequence[str]],
        grace_s: float,
        exited: Callable[[str, str], None] = lambda _name, _how: None,
        environment: Mapping[str, str] | None = None,
        prefix: str = "worker",
    ) -> None:
        self._argv_for = argv_for
        self._grace_s = grace_s
        self._exited = exited
        self._environment = environment
        self._prefix = prefix
        self._launched: dict[str, list[Instance]] = {}
        self._processes: dict[str, trio.Process] = {}
        self._ending: set[str] = set()
        self._count = 0
        self._launching = trio.Lock()
        self._manager: AbstractAsyncContextManager[trio.Nursery] = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> "LocalProvider":
        self._nursery = await self._manager.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._nursery is not None
        try:
            if kind is None:  # else there is no time for manners
                await self.terminate(list(self._processes))
                for process in list(self._processes.values()):
                    await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                for process in list(self._processes.values()):
                    process.kill()
                for process in list(self._processes.values()):
                    await process.wait()
            self._nursery.cancel_scope.cancel()
            await self._manager.__aexit__(None, None, None)

    def pids(self) -> dict[str, int]:
        """Process ids of the workers that are alive."""
        return {name: process.pid for name, process in self._processes.items()}

    async def launch(self, count: int, token: str, *, urgent: bool = False) -> list[Instance]:
        del urgent  # all of them start alike
        async with self._launching:
            if token not in self._launched:
                self._launched[token] = await self._start_many(count, token)
            return self._launched[token]

    async def _start_many(self, count: int, token: str) -> list[Instance]:
        started: list[Instance] = []
        for _ in range(count):
            self._count += 1
            instance = Instance(f"{self._prefix}-{self._count}", token)
            try:
                await self._start(instance)
            except ProviderError:
                if not started:
                    raise
                break
            started.append(instance)
        return started

    async def terminate(self, ids: Iterable[str]) -> None:
        assert self._nursery is not None
        for name in ids:
            if name in self._processes and name not in self._ending:
                self._ending.add(name)
                self._processes[name].terminate()
                self._nursery.start_soon(self._kill_later, self._processes[name])

    async def list(self) -> list[Instance]:
        every = (instance for batch in self._launched.values() for instance in batch)
        return [instance for instance in every if instance.id in self._processes]

    async def _start(self, instance: Instance) -> None:
        assert self._nursery is not None
        argv = list(self._argv_for(instance.id))
        try:
            process = await trio.lowlevel.open_process(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=os.environ if self._environment is None else self._environment,
                start_new_session=True,
            )
        except OSError as error:
            kind = TransientError if error.errno in EXHAUSTED else RefusedError
            raise kind(f"cannot start {argv[0]}: {error.strerror}") from error
        self._processes[instance.id] = process
        self._nursery.start_soon(self._reap, instance.id, process)

    async def _reap(self, name: str, process: trio.Process) -> None:
        code = await process.wait()
        del self._processes[name]
        if process.stdin is not None:
            await process.stdin.aclose()
        if name in self._ending:
            log.debug("Worker ended", worker=name, code=code)
        else:
            log.warning("Worker died", worker=name, how=_how(code))
        self._ending.discard(name)
        self._exited(name, _how(code))

    async def _kill_later(self, process: trio.Process) -> None:
        with trio.move_on_after(self._grace_s):
            await process.wait()
        if process.returncode is None:
            process.kill()


def _how(code: int) -> str:
    """`exit code 1`, `SIGKILL`."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
