"""One action from its digest to its result.

    fetch inputs -> sandbox.run(spec) -> collect outputs -> upload

What an action did, or what is wrong with it, is an ExecuteResponse: its status is OK for every
program that ended, whatever its exit code; DEADLINE_EXCEEDED when its time was over, with what it
had written by then; FAILED_PRECONDITION and INVALID_ARGUMENT when it could not be run as it was
asked for. What this worker, its host or the storage did wrong is raised as another StatusError,
so that the action can be given to another worker without being charged for it.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import trio
from google.protobuf.message import DecodeError, Message

from builder.base.clock import Clock
from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    StatusError,
)
from builder.base.units import format_duration
from builder.host.removal import remove_tree
from builder.images.interface import ImageStore
from builder.reapi.digests import from_proto, to_proto
from builder.reapi.limits import action_limits
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.persistent import Persistent, persistent
from builder.reapi.runtime import is_wasm
from builder.reapi.status import missing as missing_error
from builder.reapi.status import to_status
from builder.sandbox.interface import (
    AuditLevel,
    Exit,
    Finished,
    Limits,
    Network,
    Outcome,
    Sandbox,
    SandboxSpec,
)
from builder.sandbox.wasm import WasmSandbox
from builder.stores.interface import BlobStore
from builder.worker.auditing import Auditing
from builder.worker.closing import Close, at_once
from builder.worker.command import Plan, plan
from builder.worker.imaged import in_image, wanted_image
from builder.worker.inputs import InputCache, InputRoot
from builder.worker.job import Job, Report, Stage
from builder.worker.metadata import Timeline, is_hermetic, proof, server_log
from builder.worker.outputs import Bounds, Collected, collect
from builder.worker.persistent.workers import PersistentWorkers
from builder.worker.streams import add_streams
from builder.worker.tree import Found
from builder.worker.undeclared import undeclared
from builder.worker.upload import upload

# A sandbox without mounts of its own lets actions run here, as another user.
PASSABLE = 0o711
LEAST_MEMORY = 64 << 10  # the sandbox itself takes some of it, before there is a program in it
AnyMessage = TypeVar("AnyMessage", bound=Message)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds where the action says nothing, and what it may not pass.

    `limits.memory_bytes` and `limits.cpu_cores` are both the default and the most that an action
    gets. `network` is that of actions that say nothing themselves. `auditing` is of those that
    have not asked for an audit. With `inputs_as_root` every action has its inputs as its root.
    `own_image` is what this worker itself runs in, as it declares:
    who asks for that gets its own system.
    """

    limits: Limits = field(default_factory=Limits)
    network: Network = Network.NONE
    required: frozenset[str] = frozenset()
    max_output_bytes: int = 64 * 1024**3
    auditing: Auditing = field(default_factory=Auditing)
    own_image: str = ""
    inputs_as_root: bool = False


class ActionRunner:
    """Runs actions, several at once. `scratch` is a directory of this runner's alone; `close`
    gets what is to be tidied up after each action; `persistent` are the programs that stay, shared
    by all runners, and `instance` is whose actions these are; `images` are None where it takes
    none."""

    def __init__(
        self,
        name: str,
        blobs: BlobStore,
        sandbox: Sandbox,
        inputs: InputCache,
        scratch: Path,
        clock: Clock,
        policy: Policy | None = None,
        close: Close = at_once,
        persistent: PersistentWorkers | None = None,
        instance: str = "",
        images: ImageStore | None = None,
    ) -> None:
        self._name = name
        self._blobs = blobs
        self._sandbox = sandbox
        self._inputs = inputs
        self._scratch = scratch
        self._clock = clock
        self._policy = policy or Policy()
        self._close = close
        self._persistent = persistent
        self._wasm = WasmSandbox()
        self._instance = instance
        self._images = images
        scratch.mkdir(parents=True, exist_ok=True)
        scratch.chmod(PASSABLE)

    async def run(self, job: Job, report: Report) -> pb.ExecuteResponse:
        """The answer, whatever the action did. Raises a StatusError for a fault that is not its.

        Cancelling it kills the action and leaves nothing behind.
        """
        timeline = Timeline(self._clock, self._name, job.queued_ns)
        stack = AsyncExitStack()
        try:
            return await self._run(job, timeline, report, stack)
        except (InvalidArgumentError, FailedPreconditionError) as error:
            return self._refusal(error, job, timeline)
        except OSError as error:
            raise ResourceExhaustedError(f"worker {self._name}: {error}") from error
        finally:
            with trio.CancelScope(shield=True):
                await self._close(stack)

    async def _run(
        self, job: Job, timeline: Timeline, report: Report, stack: AsyncExitStack
    ) -> pb.ExecuteResponse:
        timeline.mark("input_fetch_start")
        action, todo = await self._messages(job)
        spec = self._spec(job, action, todo)
        properties = _properties(action, todo)
        sandbox = self._wasm if is_wasm(properties, todo.argv[0]) else self._sandbox
        mnemonic = "" if job.client is None else job.client.action_mnemonic
        wish = None
        if sandbox is self._sandbox:
            wish = persistent(properties, self._instance, mnemonic)
        if spec.audit is None and sandbox is self._sandbox:
            spec = replace(spec, audit=self._policy.auditing.of(job.digest))
        image = wanted_image(properties, self._policy.own_image)
        root = from_proto(action.input_root_digest, job.digest.function)
        if not (self._inputs.has(root) and self._has_image(image)):
            report(Stage.FETCHING, timeline.partial())
        spec = await in_image(spec, image, self._images, stack)
        inputs = await stack.enter_async_context(
            self._inputs.checkout(self._blobs, root, job.absolute_links)
        )
        _check_places(todo, inputs)
        scratch = tempfile.mkdtemp(prefix="action-", dir=self._scratch)
        os.chmod(scratch, PASSABLE)
        stack.push_async_callback(trio.to_thread.run_sync, remove_tree, scratch)
        spec = replace(spec, input_root=inputs.path, scratch=scratch)
        timeline.mark("input_fetch_completed")
        timeline.mark("execution_start")
        job.began(scratch)
        fresh = wish is None  # what stays is not called hermetic, neither now nor later
        beginning = _beginning(sandbox, spec, timeline) if fresh else timeline.partial()
        report(Stage.EXECUTING, beginning)
        finished = await stack.enter_async_context(await self._perform(sandbox, spec, wish, inputs))
        timeline.mark("execution_completed")
        if finished.exit.outcome is Outcome.CANCELLED:
            raise CancelledError(f"the action was cancelled on worker {self._name}")
        timeline.mark("output_upload_start")
        if todo.outputs:
            report(Stage.UPLOADING, timeline.partial())
        response = await self._bring_back(job, todo, finished)
        timeline.mark("output_upload_completed")
        timeline.mark("worker_completed")
        unkept = undeclared(finished.root_fd, todo, inputs.tree)
        return self._finish(response, job, spec, finished.exit, timeline, unkept)

    async def _perform(
        self, sandbox: Sandbox, spec: SandboxSpec, wish: Persistent | None, inputs: InputRoot
    ) -> Finished:
        if wish is None or self._persistent is None:
            return await sandbox.run(spec)
        return await self._persistent.run(spec, wish, self._instance, inputs)

    def _has_image(self, image: str) -> bool:
        """Whether a stage of fetching is not worth a message: it takes no time."""
        return not image or (self._images is not None and self._images.has(image))

    async def _bring_back(self, job: Job, todo: Plan, finished: Finished) -> pb.ExecuteResponse:
        """Outputs, stdout and stderr, stored. A refused output keeps the streams."""
        function, done = job.digest.function, finished.exit
        response = pb.ExecuteResponse()
        collected = Collected()
        try:
            if todo.outputs:
                bounds = Bounds(self._policy.max_output_bytes, job.absolute_outputs)
                collected = await trio.to_thread.run_sync(
                    collect, finished.root_fd, todo, function, bounds
                )
        except FailedPreconditionError as error:
            response.status.CopyFrom(to_status(error))
        await add_streams(collected, done.stdout, done.stderr, function)
        if log := server_log(done):
            digest = digest_of(log, function)
            collected.blobs[digest] = log
            response.server_logs["sandbox"].digest.CopyFrom(to_proto(digest))
            response.server_logs["sandbox"].human_readable = True
        await upload(self._blobs, finished.root_fd, collected.blobs)
        response.result.CopyFrom(collected.result)
        return response

    def _finish(
        self,
        response: pb.ExecuteResponse,
        job: Job,
        spec: SandboxSpec,
        done: Exit,
        timeline: Timeline,
        unkept: Sequence[str],
    ) -> pb.ExecuteResponse:
        result = response.result
        result.exit_code = _exit_code(done.outcome, done.exit_code)
        result.execution_metadata.CopyFrom(timeline.metadata())
        virtual = result.execution_metadata.virtual_execution_duration
        virtual.FromNanoseconds(round(done.usage.wall_s * 1e9))
        told = proof(done, job.attempt, unkept)
        told.image = spec.image
        result.execution_metadata.auxiliary_metadata.add().Pack(told)
        if job.client is not None and job.client.ByteSize():
            result.execution_metadata.auxiliary_metadata.add().Pack(job.client)
        response.message = f"{self._name} ({_kind(spec, done)}: {done.backend})"
        if done.outcome is Outcome.TIMED_OUT:
            limit = format_duration(job.timeout_s or done.usage.wall_s)
            error = DeadlineExceededError(f"execution timeout exceeded: {limit}")
            response.status.CopyFrom(to_status(error))
        elif done.message or done.outcome is not Outcome.EXITED:
            response.message += f": {done.message or done.outcome.value}"
        if done.served is not None and done.served.fell_back:
            response.message += f"; no persistent worker served it: {done.served.fell_back}"
        if job.note:
            response.message += f"; it {job.note}"
        return response

    async def _messages(self, job: Job) -> tuple[pb.Action, Plan]:
        action = job.action
        if action is None:
            action = await self._get(pb.Action, job.digest, "action")
        digest = from_proto(action.command_digest, job.digest.function)
        return action, plan(await self._get(pb.Command, digest, "command"))

    async def _get(self, kind: type[AnyMessage], digest: Digest, what: str) -> AnyMessage:
        try:
            data = await self._blobs.get(digest)
        except NotFoundError:
            raise missing_error([digest], what) from None
        try:
            return kind.FromString(data)
        except DecodeError:
            name = kind.DESCRIPTOR.name
            raise InvalidArgumentError(f"{what} {digest} is not a {name} message") from None

    def _spec(self, job: Job, action: pb.Action, todo: Plan) -> SandboxSpec:
        asked = action_limits(_properties(action, todo))
        network = self._policy.network
        if isinstance(asked.network, tuple):
            network = Network.HOSTS
        elif asked.network is not None:
            network = Network.FULL if asked.network else Network.NONE
        limits = self._policy.limits
        return SandboxSpec(
            argv=todo.argv,
            input_root="",
            scratch="",
            environment=todo.environment,
            working_directory=todo.working_directory,
            output_parents=todo.output_parents,
            network=network,
            hosts=asked.network if isinstance(asked.network, tuple) else (),
            deterministic=asked.deterministic,
            clock=asked.clock,
            programs=asked.programs,
            inputs_as_root=asked.inputs_as_root or self._policy.inputs_as_root,
            reuse=f"{self._instance}:{asked.reuse}" if asked.reuse else "",
            limits=replace(
                limits,
                wall_s=_least(job.timeout_s, limits.wall_s),
                memory_bytes=_most(
                    _least(asked.memory_bytes, _most(limits.memory_bytes, job.memory_bytes)),
                    LEAST_MEMORY,
                ),
                cpu_cores=_least(asked.cpu_cores, limits.cpu_cores),
                disk_bytes=_least(asked.disk_bytes, limits.disk_bytes),
                processes=_least(asked.processes, limits.processes),
                cpu_s=_least(asked.cpu_s, limits.cpu_s),
            ),
            required=self._policy.required,
            audit=None if asked.audit is None else AuditLevel(asked.audit),
            outputs=tuple(output.path for output in todo.outputs),
        )

    def _refusal(self, error: StatusError, job: Job, timeline: Timeline) -> pb.ExecuteResponse:
        """The action never ran; who found out, when, and what would have held it in."""
        timeline.mark("worker_completed")
        metadata = timeline.metadata()
        would = workers_pb2.ExecutionProof(
            backend=self._sandbox.backend,
            guarantees=self._sandbox.guarantees,
            outcome="refused",
            attempt=job.attempt,
        )
        metadata.auxiliary_metadata.add().Pack(would)
        return pb.ExecuteResponse(
            status=to_status(error),
            message=self._name,
            result=pb.ActionResult(execution_metadata=metadata),
        )


def _beginning(
    sandbox: Sandbox, spec: SandboxSpec, timeline: Timeline
) -> pb.ExecutedActionMetadata:
    """What clients can show while it runs: where, and what holds it in."""
    metadata = timeline.partial()
    if spec.network is Network.NONE and is_hermetic(sandbox.guarantees):
        held = workers_pb2.ExecutionProof(backend=sandbox.backend, guarantees=sandbox.guarantees)
        metadata.auxiliary_metadata.add().Pack(held)
    return metadata


def _properties(action: pb.Action, todo: Plan) -> list[tuple[str, str]]:
    own = [(p.name, p.value) for p in action.platform.properties]
    return own or list(todo.properties)


def _kind(spec: SandboxSpec, done: Exit) -> str:
    """What people are told of the isolation."""
    if done.served is not None and not done.served.fell_back:
        return "isolated, by a persistent worker"
    if is_hermetic(done.guarantees):
        return "hermetic"
    if spec.network is Network.FULL:
        return "with the host's network"
    if spec.network is Network.HOSTS:
        return f"with the network of {', '.join(spec.hosts)}"
    return "not hermetic"


Number = TypeVar("Number", int, float)


def _least(asked: Number | None, allowed: Number | None) -> Number | None:
    given = [value for value in (asked, allowed) if value]
    return min(given) if given else None


def _most(usual: int | None, slot: int) -> int | None:
    """A larger slot raises the usual limit, if there is one."""
    return usual if usual is None else max(usual, slot)


def _exit_code(outcome: Outcome, exit_code: int) -> int:
    """Never 0 for what did not end by itself: a shell may exit 0 though its child was killed."""
    if exit_code != 0 or outcome in (Outcome.EXITED, Outcome.OUTPUT_TOO_LARGE):
        return exit_code
    return 137 if outcome is Outcome.OUT_OF_MEMORY else 1


def _check_places(todo: Plan, inputs: InputRoot) -> None:
    """Raises InvalidArgumentError for a working directory or output that cannot be there. As REAPI
    has it, an output may lie in a directory of the input root, or be one of its files, which the
    command then leaves or replaces; it cannot lie beneath a file."""
    where = todo.working_directory
    if inputs.tree.look(where) in (Found.NOTHING, Found.FILE):
        raise InvalidArgumentError(f"working directory {where!r} is no directory of the input root")
    for output in todo.outputs:
        parts = output.path.split("/")[:-1]
        for parent in accumulate(parts, "{}/{}".format):
            if inputs.tree.look(parent) is Found.FILE:
                raise InvalidArgumentError(
                    f"output {output.name!r}: the input {parent!r}, a file, stands in its way"
                )
