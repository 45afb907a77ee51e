"""Building one target: look it up, else upload, execute and bring back.

    inputs -> action -> cache --hit--------------------------> land
                          `--miss--> upload -> execute --ok--> land
                                       ^          |
                                       `-MISSING--'

A failure of the command, and everything else that stops a target, is a TargetError; the console
has told of it by then.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from builder.action.difference import notes_of
from builder.action.encode import Prepared, Step, prepare
from builder.action.result import (
    beneath,
    inline_contents,
    outputs_of,
    trees_of,
)
from builder.action.tree import Entry
from builder.base.digest import Digest
from builder.base.errors import (
    BuilderError,
    Code,
    FailedPreconditionError,
    NotFoundError,
    StatusError,
)
from builder.client.audit import audit_of, report
from builder.client.console import NOTHING, Console, Streams
from builder.client.executor import Place, Ticket, proof_of
from builder.client.outputs import by_globs, declared, places, problem
from builder.client.response import Watcher, age_s, failure, stored_at, told_proof
from builder.client.retry import Pauses, patient, pauses
from builder.client.scan import Made
from builder.client.undeclared import undeclared
from builder.client.upload import Uploader, missing_of
from builder.client.workspace import Workspace
from builder.project.model import Target
from builder.reapi.digests import from_proto
from builder.reapi.limits import ActionLimits
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import to_error

RAN, HIT = "ran", "found in the cache"
NONE: Mapping[str, str] = MappingProxyType({})
Answer = TypeVar("Answer")
UPLOAD_TRIES = 4  # how often blobs may vanish between the upload and the execution


class TargetError(BuilderError):
    """One target could not be built. `exit_code` is its command's, None when it did not end."""

    def __init__(
        self,
        reason: str,
        proof: str = "",
        streams: Streams | None = None,
        attempts: int = 1,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
        self.attempts = attempts
        self.reason = reason
        self.proof = proof
        self.streams = streams or Streams()


@dataclass(frozen=True, slots=True)
class Built:
    """`action` is its digest, `entries` what it made, by path; `stored_at`: when, in seconds since
    1970, None when the server does not say; `streams` what the command wrote; `proof` where it
    ran, if it did; `attempts` how often, for a test; `is_here`: whether its outputs landed."""

    action: Digest
    entries: Mapping[str, Entry]
    cached: bool
    stored_at: float | None = None
    streams: Streams = NOTHING
    proof: str = ""
    attempts: int = 1
    is_here: bool = True

    @property
    def landed(self) -> Mapping[str, Entry]:
        """What of it lies in the project."""
        return self.entries if self.is_here else {}


@dataclass(frozen=True, slots=True)
class Choices:
    """Of the whole build. `platform` says what kind of machine its results are for; `fresh` are
    targets that are run whatever the cache holds, with these `variables` where they have none of
    that name, and if possible not on the workers to `avoid`; `audit`: the level at which all are
    audited; `landed`: targets whose outputs are wanted here, None for all."""

    platform: tuple[tuple[str, str], ...] = ()
    use_cache: bool = True
    function: str = "sha256"
    fresh: frozenset[str] = frozenset()
    audit: str | None = None
    landed: frozenset[str] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    avoid: tuple[str, ...] = ()

    def uses_cache(self, target: Target) -> bool:
        return self.use_cache and target.name not in self.fresh


def step_of(
    target: Target, platform: tuple[tuple[str, str], ...], tools: Mapping[str, str] = NONE
) -> Step:
    """What REAPI has a field for, and what goes into properties (`reapi.limits`)."""
    hermetic = target.hermetic
    limits = ActionLimits(
        hermetic.max_memory_bytes,
        hermetic.max_cpu_cores,
        hermetic.network,  # always said: the worker's own default must not matter
        hermetic.audit,
        processes=hermetic.processes,
        deterministic=hermetic.deterministic,
        programs=hermetic.programs,
        clock=hermetic.clock,
    )
    return Step(
        arguments=target.arguments,
        output_paths=tuple(target.own(path) for path in places(target.outputs)),
        environment=target.environment,
        platform=tuple({**dict(platform), **target.platform, **dict(limits.properties())}.items()),
        timeout_s=hermetic.timeout_s,
        cacheable=target.cache,
        tools=tools,
        directory=target.package,
    )


@dataclass(frozen=True, slots=True)
class _Work:
    """A target with what it is made of by now."""

    target: Target
    step: Step
    inputs: Mapping[str, Entry]
    prepared: Prepared


@dataclass(slots=True)
class TargetBuilder:
    """Builds targets in one place, several at once."""

    place: Place
    workspace: Workspace
    console: Console
    choices: Choices
    pauses: Pauses = pauses
    _uploader: Uploader = field(init=False)

    def __post_init__(self) -> None:
        self._uploader = Uploader(self.place.blobs)

    async def build(self, target: Target, made: Made) -> Built:
        """Raises TargetError, or another BuilderError for what is not the command's fault."""
        work = await self._work(target, made)
        built = await self._found(work)
        if built is not None:
            return built
        started = time.monotonic()
        try:
            built = await self._attempt(work)
        except TargetError as error:
            seconds = time.monotonic() - started
            self._note(work, how=f"failed: {error.reason}", where=error.proof, seconds=seconds)
            raise
        how, seconds = HIT if built.cached else RAN, time.monotonic() - started
        self._note(work, how=how, where=built.proof, seconds=seconds)
        return built

    async def find(self, target: Target, made: Made) -> Built | None:
        """Its result from the cache, if it is there. Raises as `build` does."""
        return await self._found(await self._work(target, made))

    async def _work(self, target: Target, made: Made) -> "_Work":
        inputs = await self.workspace.inputs(target, made)
        if self.choices.audit is not None:
            hermetic = replace(target.hermetic, audit=self.choices.audit)
            target = replace(target, hermetic=hermetic)
        if target.name in self.choices.fresh and self.choices.variables:
            environment = {**self.choices.variables, **target.environment}
            target = replace(target, environment=environment)
        step = step_of(target, self.choices.platform, await self.workspace.tools(target))
        return _Work(target, step, inputs, prepare(step, inputs, self.choices.function))

    async def _found(self, work: "_Work") -> Built | None:
        built = await self._from_cache(work)
        if built is not None:
            history = self.workspace.history
            if not history.is_last(work.target.name, work.prepared.action.hash):
                self._note(work, how=HIT)
        return built

    async def _attempt(self, work: "_Work") -> Built:
        """As often as a test's retries allow."""
        target = work.target
        attempts = 1
        while True:
            try:
                built = await self._execute(work, again=attempts > 1)
            except TargetError as error:
                if attempts > target.retries:
                    error.attempts = attempts
                    raise
                self.console.again(target.name, error.reason, attempts, target.retries)
                attempts += 1
            else:
                return replace(built, attempts=attempts)

    def _note(self, work: "_Work", **how: object) -> None:
        notes = notes_of(work.step, work.inputs)
        self.workspace.history.note(work.target.name, work.prepared.action.hash, notes, **how)

    async def _from_cache(self, work: "_Work") -> Built | None:
        target = work.target
        if not (target.cache and self.choices.uses_cache(target)):
            return None
        place = self.place
        result = await self._patient(
            lambda: place.results.lookup(place.instance, work.prepared.action)
        )
        if result is None or result.exit_code != 0:
            return None
        try:
            streams = await self._streams(result)
            built = await self._land(work, result, streams, cached=True)
        except NotFoundError:
            return None  # a blob of it is gone since: as if it had not been there
        self.console.hit(target.name, age_s(built.stored_at))
        self.console.wrote(target.name, streams)
        return built

    async def _execute(self, work: "_Work", *, again: bool = False) -> Built:
        target = work.target
        started = time.monotonic()
        self.console.greet(self.place.greeting)
        watcher = Watcher(self.console, target.name)
        response = await self._respond(work, watcher, again=again)
        result = response.result
        proof, detail = told_proof(response)
        if response.cached_result and result.exit_code == 0:
            self.console.hit(target.name, age_s(stored_at(result.execution_metadata)))
        else:
            watcher.say(proof)
        streams = await self._streams(result)
        if reason := failure(response, detail):
            code = result.exit_code or None
            if code:
                reason += undeclared(target, streams, work.inputs, self.workspace.has_file)
            raise TargetError(reason, proof, streams, exit_code=code)
        self.console.wrote(target.name, streams)
        built = await self._land(work, result, streams, cached=response.cached_result)
        self._tell_unkept(target, result.execution_metadata)
        built = replace(built, proof=proof)
        if not response.cached_result:
            seconds = time.monotonic() - started
            self.console.built(target.name, seconds, stored=target.cache)
        return built

    def _tell_unkept(self, target: Target, metadata: pb.ExecutedActionMetadata) -> None:
        """Of a test nobody keeps what it leaves; an audit tells all that was written."""
        paths = proof_of(metadata).undeclared
        if paths and not target.test and audit_of(metadata) is None:
            self.console.unkept(target.name, [target.own(path) for path in paths])

    async def _respond(self, work: "_Work", watcher: Watcher, *, again: bool) -> pb.ExecuteResponse:
        target, prepared = work.target, work.prepared
        ticket = Ticket(
            action=prepared.action,
            target=target.name,
            priority=int(target.priority),
            skip_cache_lookup=again or not self.choices.uses_cache(target),
            avoid=self.choices.avoid if target.name in self.choices.fresh else (),
        )
        tries = 0
        while True:
            await self._upload(work)
            tries += 1
            try:
                response = await self.place.executor.execute(ticket, watcher.hear)
                if response.status.code == Code.FAILED_PRECONDITION:
                    raise to_error(response.status)
            except FailedPreconditionError as error:
                lost = missing_of(error)
                if not lost or tries == UPLOAD_TRIES:
                    raise
                # The server names what it has come across; ask about everything again.
                self._uploader.forget(prepared.digests)
            else:
                return response

    async def _upload(self, work: "_Work") -> None:
        prepared = work.prepared
        missing = await self._patient(lambda: self._uploader.missing(prepared.digests))
        if not missing:
            return
        if self.place.remote:
            self.console.uploading(work.target.name, sum(digest.size_bytes for digest in missing))
        files = self.workspace.paths(work.inputs)
        await self._patient(lambda: self._uploader.send(missing, prepared.blobs, files))

    async def _land(
        self, work: "_Work", result: pb.ActionResult, streams: Streams, *, cached: bool
    ) -> Built:
        target = work.target
        function = self.choices.function
        blobs = self.place.blobs
        trees = {digest: await blobs.get(digest) for digest in trees_of(result, function)}
        found = beneath(target.package, outputs_of(result, trees, function))
        outputs = declared(target.outputs, found, work.inputs)
        if reason := problem(target.outputs, outputs):
            raise TargetError(reason)
        listed = by_globs(target.outputs, outputs)
        wanted = self.choices.landed is None or target.name in self.choices.landed
        if wanted:
            await self.workspace.land(outputs, blobs, inline_contents(result, function), listed)
        if audit := audit_of(result.execution_metadata):
            said = list(report(audit, self.workspace.has, target.own))
            if target.hermetic.audit or len(said) > 1:  # a sample that is clean is no news
                self.console.audited(target.name, said)
        entries, at = outputs.entries, stored_at(result.execution_metadata)
        return Built(work.prepared.action, entries, cached, at, streams, is_here=wanted)

    async def _patient(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        return await patient(ask, self.pauses)

    async def _streams(self, result: pb.ActionResult) -> Streams:
        return Streams(
            await self._stream(result.stdout_raw, result.stdout_digest),
            await self._stream(result.stderr_raw, result.stderr_digest),
        )

    async def _stream(self, raw: bytes, digest: pb.Digest) -> bytes:
        if raw or not digest.size_bytes:
            return raw
        return await self.place.blobs.get(from_proto(digest, self.choices.function))


def explain(error: BuilderError) -> str:
    """One reason for a person: of a gRPC status also its name."""
    if isinstance(error, StatusError):
        return f"{error.message} ({error.code.name})"
    return str(error)
