"""Actions by programs that stay, where that is asked for and can be; by themselves otherwise.

An action can always run by itself: that is what its command says. So whenever no program can
serve it, or one has failed, it does, and its result says why.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from builder.reapi.persistent import Persistent
from builder.sandbox.interface import Finished, Sandbox, SandboxSpec, Served
from builder.worker.inputs import InputRoot
from builder.worker.persistent.command import (
    UnfitError,
    check_parents,
    files_of,
    work_request,
    worker_command,
)
from builder.worker.persistent.errand import Errand
from builder.worker.persistent.finished import FellBack
from builder.worker.persistent.pool import NoRoomError, Programs, Recycling
from builder.worker.persistent.process import LostError

NEEDED = "mount-namespace"
BACKEND = "+worker"


class PersistentWorkers:
    """Make it by `open_persistent`."""

    def __init__(self, sandbox: Sandbox, programs: Programs | None) -> None:
        self._sandbox, self._programs = sandbox, programs

    @property
    def names(self) -> tuple[str, ...]:
        """Of each program that there is at the moment."""
        return () if self._programs is None else self._programs.names

    async def run(
        self, spec: SandboxSpec, wish: Persistent, instance: str, inputs: InputRoot
    ) -> Finished:
        """As `Sandbox.run`."""
        served = Served("")
        try:
            errand = self._errand(spec, wish, instance, inputs)
            served = Served(errand.command.key)
            return await errand.run()
        except (UnfitError, LostError, NoRoomError) as error:
            why = str(error)
        done = await self._sandbox.run(spec)
        return FellBack(done, Served(served.key, fell_back=why))

    def _errand(
        self, spec: SandboxSpec, wish: Persistent, instance: str, inputs: InputRoot
    ) -> Errand:
        if self._programs is None:
            raise UnfitError("this worker keeps none (worker.persistent.processes is 0)")
        if NEEDED not in self._sandbox.guarantees:
            raise UnfitError("this host has no sandbox that a program could stay in")
        files = files_of(inputs.tree)
        command = worker_command(wish, instance, spec, files)
        check_parents(spec.output_parents, inputs.tree)
        self._programs.check(command.key)
        return Errand(
            self._programs,
            spec,
            command,
            work_request(spec, files, inputs.path),
            inputs.path,
            self._sandbox.backend + BACKEND,
            self._sandbox.guarantees,
        )


@asynccontextmanager
async def open_persistent(
    sandbox: Sandbox, scratch: Path, recycling: Recycling
) -> AsyncIterator[PersistentWorkers]:
    """For as long as the context lasts; then every program is gone."""
    if not recycling.processes:
        yield PersistentWorkers(sandbox, None)
        return
    try:
        async with trio.open_nursery() as nursery:
            yield PersistentWorkers(sandbox, Programs(sandbox, scratch, recycling, nursery))
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # the body's own error, as it was raised
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
