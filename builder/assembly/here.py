"""Building in this process: a store in the project's own directory, and the worker's parts.

The sandbox is started by the first action that needs it. Everything lies in `.builder/local`,
which one process at a time may use (others wait); it can be deleted whenever none does.
"""

import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from builder.assembly.stores import Stores, open_stores
from builder.base.errors import StatusError
from builder.client.executor import Executor, Place, Ticket, Watch
from builder.config.settings import Settings
from builder.host.lock import TakenError, take_soon
from builder.host.removal import remove_tree
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.proof import is_whole, succeeded

if TYPE_CHECKING:
    from builder.worker.runner import ActionRunner

GREETING = "Using local execution (the sandbox of this machine)"
WORKER = "this machine"
STATE = "the project's build state"
PATIENCE_S = 0.2  # before it is worth a line


@asynccontextmanager
async def here(
    directory: Path, settings: Settings, say: Callable[[str], None]
) -> AsyncIterator[Place]:
    """The place, for as long as the block lasts; `say` is told when it has to be waited for."""
    store = replace(settings.store, kind="disk", path=str(directory))
    lock = await _turn(directory, say)
    try:
        async with open_stores(store) as stores, trio.open_nursery() as nursery:
            executor = HereExecutor(directory, settings, stores, nursery)
            try:
                yield Place(GREETING, False, stores.blobs, stores.cache, executor)
            finally:
                with trio.CancelScope(shield=True):
                    await executor.close()
                nursery.cancel_scope.cancel()
    finally:
        os.close(lock)


async def _turn(directory: Path, say: Callable[[str], None]) -> int:
    """The directory's lock, when no other build of this project has it any more."""
    try:
        return await take_soon(directory, STATE, PATIENCE_S)
    except TakenError:
        say("Waiting for another build of this project...")
        return await take_soon(directory, STATE, math.inf)


class HereExecutor(Executor):
    """Runs actions by the worker's `ActionRunner`, and stores what succeeded."""

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        stores: Stores,
        nursery: trio.Nursery,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._stores = stores
        self._nursery = nursery
        self._starting = trio.Lock()
        self._runner: ActionRunner | None = None
        self._error: StatusError | None = None
        self._closing = trio.Event()
        self._closed = trio.Event()
        self._closed.set()

    async def execute(self, ticket: Ticket, watch: Watch) -> pb.ExecuteResponse:
        from builder.worker.job import Job, Stage  # late: a hit does not need the worker

        runner = await self._started()
        action = pb.Action.FromString(await self._stores.blobs.get(ticket.action))
        job = Job(ticket.action, action, time.time_ns(), timeout_s=self._timeout_s(action))

        def report(stage: Stage, metadata: pb.ExecutedActionMetadata) -> None:
            del stage  # the metadata tells as much
            watch(metadata)

        response = await runner.run(job, report)
        if succeeded(response) and is_whole(response.result) and not action.do_not_cache:
            await self._stores.cache.store("", ticket.action, response.result)
        return response

    async def close(self) -> None:
        """End the sandbox, if one was started, and wait until it is gone."""
        self._closing.set()
        await self._closed.wait()

    def _timeout_s(self, action: pb.Action) -> float:
        limits = self._settings.scheduler
        if not action.HasField("timeout"):
            return limits.default_timeout
        return min(action.timeout.ToNanoseconds() / 1e9, limits.max_timeout)

    async def _started(self) -> "ActionRunner":
        async with self._starting:
            if self._runner is None:
                up, self._closed = trio.Event(), trio.Event()
                self._nursery.start_soon(self._keep, up)
                await up.wait()
            if self._runner is None:
                assert self._error is not None
                raise self._error
            return self._runner

    async def _keep(self, up: trio.Event) -> None:
        """The sandbox's life; of its own task, because it has to end in the one it began in.

        It is shielded: a cancelled build's actions are ended by the sandbox, which therefore has
        to outlive them.
        """
        with trio.CancelScope(shield=True):
            try:
                async with self._opened() as runner:
                    self._runner = runner
                    up.set()
                    await self._closing.wait()
            except StatusError as error:
                self._runner, self._error = None, error
            finally:
                up.set()
                self._closed.set()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator["ActionRunner"]:
        from builder.assembly.images import open_images
        from builder.assembly.worker import is_best_effort, is_reusing, policy_of, recycling_of
        from builder.sandbox.opening import open_sandbox
        from builder.telemetry.clock import SystemClock
        from builder.worker.inputs import InputCache
        from builder.worker.persistent.workers import open_persistent
        from builder.worker.runner import ActionRunner

        settings = self._settings
        scratch = self._directory / "scratch"
        await trio.to_thread.run_sync(remove_tree, str(scratch))
        inputs = InputCache(self._directory / "inputs", settings.worker.cache_size)
        policy = policy_of(settings)
        async with (
            open_sandbox(
                read_only=settings.sandbox.read_only_paths,
                root=settings.sandbox.root or "",
                runtime=settings.sandbox.runtime,
                best_effort=is_best_effort(settings),
                reuse=is_reusing(settings),
            ) as sandbox,
            open_persistent(sandbox, scratch, recycling_of(settings)) as persistent,
            open_images(settings.sandbox.images) as images,
        ):
            self._nursery.start_soon(self._stores.load)  # from now on it may have to evict
            yield ActionRunner(
                WORKER,
                self._stores.blobs,
                sandbox,
                inputs,
                scratch,
                SystemClock(),
                policy,
                persistent=persistent,
                images=images,
            )
