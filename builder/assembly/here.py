"""Building in this process: a store in the project's own directory, and the worker's parts.

The sandbox is started by the first action that needs it. Everything lies in `.builder/local`,
which one process at a time may use; it can be deleted whenever none does.
"""

import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from builder.base.errors import UsageError
from builder.client.executor import Executor, Place, Ticket, Watch
from builder.config.settings import Sandbox as SandboxSettings
from builder.config.settings import Settings
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.sandbox.interface import Limits
from builder.stores.action_cache import CheckedActionCache
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import ActionCache
from builder.stores.records import DiskRecords

if TYPE_CHECKING:
    from builder.worker.runner import ActionRunner, Policy

GREETING = "Using local execution (the sandbox of this machine)"
WORKER = "local"


@asynccontextmanager
async def here(directory: Path, settings: Settings) -> AsyncIterator[Place]:
    """The place, for as long as the block lasts. Raises UsageError when another build has it."""
    try:
        blobs = DiskBlobStore(directory / "blobs", settings.store.max_size)
    except UsageError as error:
        raise UsageError(f"{error} (another build of this project?)") from error
    records = DiskRecords(directory / "results", settings.store.max_results_size)
    results = CheckedActionCache(blobs, records)
    try:
        async with trio.open_nursery() as nursery:
            executor = HereExecutor(directory, settings, blobs, results, nursery)
            try:
                yield Place(GREETING, False, blobs, results, executor)
            finally:
                with trio.CancelScope(shield=True):
                    await executor.close()
                nursery.cancel_scope.cancel()
    finally:
        records.close()
        blobs.close()


class HereExecutor(Executor):
    """Runs actions by the worker's `ActionRunner`, and stores what succeeded."""

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        blobs: DiskBlobStore,
        results: ActionCache,
        nursery: trio.Nursery,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._blobs = blobs
        self._results = results
        self._nursery = nursery
        self._starting = trio.Lock()
        self._runner: ActionRunner | None = None
        self._closing = trio.Event()
        self._closed = trio.Event()
        self._closed.set()

    async def execute(self, ticket: Ticket, watch: Watch) -> pb.ExecuteResponse:
        from builder.worker.job import Job, Stage  # late: a hit does not need the worker

        async with self._starting:
            if self._runner is None:
                self._runner = await self._nursery.start(self._keep)
        action = pb.Action.FromString(await self._blobs.get(ticket.action))
        job = Job(ticket.action, action, time.time_ns(), timeout_s=self._timeout_s(action))

        def report(stage: Stage, metadata: pb.ExecutedActionMetadata) -> None:
            del stage  # the metadata tells as much
            watch(metadata)

        response = await self._runner.run(job, report)
        good = not response.status.code and response.result.exit_code == 0
        if good and not action.do_not_cache:
            await self._results.store("", ticket.action, response.result)
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

    async def _keep(self, task_status: "trio.TaskStatus[ActionRunner]") -> None:
        """The sandbox's life; of its own task, because it has to end in the one it began in."""
        from builder.sandbox.native import open_sandbox
        from builder.telemetry.clock import SystemClock
        from builder.worker.inputs import InputCache
        from builder.worker.runner import ActionRunner

        settings = self._settings
        scratch = self._directory / "scratch"
        await trio.to_thread.run_sync(partial(shutil.rmtree, scratch, ignore_errors=True))
        inputs = InputCache(self._directory / "inputs", settings.worker.cache_size)
        self._closed = trio.Event()
        try:
            async with open_sandbox(read_only=settings.sandbox.read_only_paths) as sandbox:
                self._nursery.start_soon(self._blobs.load)  # from now on it may have to evict
                runner = ActionRunner(
                    WORKER,
                    self._blobs,
                    sandbox,
                    inputs,
                    scratch,
                    SystemClock(),
                    policy_of(settings.sandbox),
                )
                task_status.started(runner)
                await self._closing.wait()
        finally:
            self._closed.set()


def policy_of(sandbox: SandboxSettings) -> "Policy":
    """What holds where an action says nothing, and what it may not pass."""
    from builder.worker.runner import Policy

    given = sandbox.limits
    limits = Limits(
        grace_s=given.grace,
        memory_bytes=given.memory,
        cpu_cores=given.cpu_cores,
        processes=given.processes,
        open_files=given.open_files,
        file_bytes=given.file_size,
        output_bytes=given.output_size,
    )
    return Policy(limits, required=frozenset(sandbox.required))
