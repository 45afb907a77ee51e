"""From a client's request to what the scheduler takes: blobs read, checked, and put together.

What is wrong with a request is said here, before anything is queued. Inputs below the root are the
worker's to find missing: it reads them anyway.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.base.units import format_duration
from builder.net.rpc import Metadata
from builder.reapi.digests import NUMBERS, from_proto, to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.status import missing
from builder.schedule.platform import Properties
from builder.schedule.spec import ActionSpec
from builder.server.specs import spec_of
from builder.stores.interface import BlobStore, InlineStore

METADATA_HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin"
AVOID_HEADER = "builder-avoid-workers"  # names, with commas between them
MOST_AVOIDED = 100
MAX_DESCRIPTION_BYTES = 16 * 1024 * 1024  # of an Action or a Command
MOST_PLATFORMS = 1024
BILLION = 1_000_000_000
MOST_COMMANDS = 4096  # that are known to be right
NO_METADATA = pb.RequestMetadata()  # never changed
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; the first holds for actions that ask for none, the second is the server's limit."""

    default_s: float = 3600.0
    most_s: float = 86400.0


@dataclass(slots=True)  # never changed; frozen takes three times as long to make
class Asked:
    """What a client wants to have executed."""

    instance: str
    action: Digest
    metadata: pb.RequestMetadata
    queued_ns: int
    priority: int = 0
    skip_cache: bool = False
    traceparent: str = ""
    user: str = ""
    avoid: Sequence[str] = ()


class Admission:
    """Reads actions from `blobs`. `absolute_symlinks`: whether inputs and outputs may have such."""

    def __init__(
        self, blobs: BlobStore, timeouts: Timeouts, absolute_symlinks: bool = False
    ) -> None:
        self._blobs = blobs
        self._inline = blobs if isinstance(blobs, InlineStore) else None
        self._absolute_symlinks = absolute_symlinks
        self._timeouts = timeouts
        self._commands: OrderedDict[Digest, Properties] = OrderedDict()  # those that were checked

    async def admit(self, asked: "Asked") -> ActionSpec:
        """Raises InvalidArgumentError, or FailedPreconditionError with the MISSING blobs."""
        digest = asked.action
        _check_size(digest, "Action")
        try:
            action = _parse(pb.Action, await self._blobs.get(digest), digest)
        except NotFoundError:
            raise missing([digest], "Action") from None
        command, root = _beneath(action, digest.function)
        absent = await self._blobs.find_missing([command, root])
        if absent:
            raise missing(absent, "blobs of the action")
        properties = self._known(command)
        if properties is None:
            try:
                properties = self._learn(command, await self._blobs.get(command))
            except NotFoundError:  # evicted just now
                raise missing([command], "Command") from None
        return self._spec(asked, action, properties)

    def admit_nowait(self, asked: "Asked") -> ActionSpec | None:
        """As `admit`; None: the blobs have to be waited for."""
        if self._inline is None:
            return None
        digest = asked.action
        _check_size(digest, "Action")
        data = _had(self._inline, digest, "Action")
        if data is None:
            return None
        action = _parse(pb.Action, data, digest)
        command, root = _beneath(action, digest.function)
        absent = self._inline.absent_nowait(digest.function, (command, root))
        if absent:
            raise missing(absent, "blobs of the action")
        if absent is None:
            return None
        properties = self._known(command)
        if properties is None:
            data = _had(self._inline, command, "Command")
            if data is None:
                return None
            properties = self._learn(command, data)
        return self._spec(asked, action, properties)

    def _spec(self, asked: "Asked", action: pb.Action, of_command: Properties) -> ActionSpec:
        timeout_s = self._timeout(action)
        properties = _properties(action.platform.SerializeToString()) or of_command
        granted = workers_pb2.LeaseGranted(
            instance_name=asked.instance,
            digest_function=NUMBERS[asked.action.function],
            action_digest=to_proto(asked.action),
            action=action,
            request_metadata=asked.metadata,
            absolute_symlinks=self._absolute_symlinks,
            traceparent=asked.traceparent,
            avoid=asked.avoid,
        )
        queued, timeout = granted.queued_timestamp, granted.timeout
        queued.seconds, queued.nanos = divmod(asked.queued_ns, BILLION)
        timeout.seconds, timeout.nanos = divmod(round(timeout_s * BILLION), BILLION)
        return spec_of(granted, properties, asked.priority, asked.skip_cache, asked.user)

    def _known(self, command: Digest) -> Properties | None:
        """The properties of one that was checked before."""
        known = self._commands.get(command)
        if known is not None:
            self._commands.move_to_end(command)
        return known

    def _learn(self, digest: Digest, data: bytes) -> Properties:
        """Of the Command, where an old client put them (REAPI before 2.2)."""
        command = _parse(pb.Command, data, digest)
        _check_command(command)
        self._commands[digest] = properties = _properties(command.platform.SerializeToString())
        if len(self._commands) > MOST_COMMANDS:
            self._commands.popitem(last=False)
        return properties

    def _timeout(self, action: pb.Action) -> float:
        if not action.HasField("timeout"):
            return self._timeouts.default_s
        asked_s = action.timeout.seconds + action.timeout.nanos / 1e9
        if asked_s < 0:
            raise InvalidArgumentError(f"the action's timeout of {asked_s:g} s is negative")
        if asked_s > self._timeouts.most_s:
            raise InvalidArgumentError(
                f"the action's timeout of {format_duration(asked_s)} is over this server's "
                f"maximum of {format_duration(self._timeouts.most_s)} (scheduler.max_timeout)"
            )
        return asked_s or self._timeouts.default_s


def request_metadata(headers: Metadata) -> pb.RequestMetadata:
    """Who asks, as far as the client tells. Without it, or when it is broken: nothing."""
    raw = headers.get(METADATA_HEADER)
    if raw is None:
        return NO_METADATA
    message = pb.RequestMetadata()
    if isinstance(raw, bytes):
        try:
            message.ParseFromString(raw)
        except DecodeError:  # only for people's eyes, so no reason to refuse the action
            return pb.RequestMetadata()
    return message


def avoided(headers: Metadata) -> list[str]:
    """Workers that the client wants this not to run on, as long as there are others."""
    told = headers.get(AVOID_HEADER)
    if told is None:
        return []
    names = told.split(",", MOST_AVOIDED)[:MOST_AVOIDED] if isinstance(told, str) else []
    return [name for one in names if (name := one.strip())]


@lru_cache(MOST_PLATFORMS)
def _properties(platform: bytes) -> Properties:
    """Of a serialized Platform; most actions have one of a few."""
    every = pb.Platform.FromString(platform).properties
    return tuple((pair.name, pair.value) for pair in every)


def _had(blobs: InlineStore, digest: Digest, what: str) -> bytes | None:
    """The blob, or None when it has to be waited for. Raises FailedPreconditionError."""
    try:
        return blobs.get_nowait(digest)
    except NotFoundError:
        raise missing([digest], what) from None


def _beneath(action: pb.Action, function: str) -> tuple[Digest, Digest]:
    """Command and input root: both are looked for, so that all that is missing is named at once."""
    command = from_proto(action.command_digest, function)
    root = from_proto(action.input_root_digest, function)
    _check_size(command, "Command")
    return command, root


def _check_size(digest: Digest, what: str) -> None:
    if digest.size_bytes > MAX_DESCRIPTION_BYTES:
        raise InvalidArgumentError(
            f"{what} {digest} is larger than {MAX_DESCRIPTION_BYTES} bytes; pass long argument "
            f"lists in a file"
        )


def _parse(kind: type[M], data: bytes, digest: Digest) -> M:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise InvalidArgumentError(f"blob {digest} is no {kind.DESCRIPTOR.name} message") from None
    return message


def _check_command(command: pb.Command) -> None:
    """What is wrong at first sight; the worker checks every path."""
    if not command.arguments or not command.arguments[0]:
        raise InvalidArgumentError("the command has no program: `arguments` is empty")
    paths: Sequence[str] = [
        command.working_directory,
        *command.output_paths,
        *command.output_files,
        *command.output_directories,
    ]
    for path in paths:
        if path.startswith("/"):
            raise InvalidArgumentError(
                f"the command's path {path[:200]!r} is absolute; paths are relative to the "
                f"input root or to the working directory"
            )
