"""One action in full, and why it was a miss: what the history keeps and the blobs tell.

Nothing here renews or changes anything on purpose; a blob that is gone is a note in the answer and
no error, because people look at old actions.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from builder.action.compare import Described
from builder.base.digest import Digest
from builder.base.errors import StatusError
from builder.base.units import format_duration
from builder.reapi.digests import from_proto
from builder.reapi.pb import control_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.times import nanoseconds
from builder.server.operation_messages import digest_of_key, response_of
from builder.server.shelf import Record
from builder.stores.interface import BlobsOf, BlobStore

MOST_INPUTS = 1000  # told one by one
MOST_DIRECTORIES = 20_000  # read for one question
MOST_OUTPUT_BYTES = 1024 * 1024  # of stdout and of stderr each
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Parts:
    """An action's own messages, as far as they are still there."""

    function: str
    action: pb.Action | None
    command: pb.Command | None
    reader: "Reader"


class Reader:
    """Reads what the actions of one instance are made of from its `blobs`."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def parts(self, record: Record) -> Parts:
        digest = digest_of_key(record.spec.key)
        granted = workers_pb2.LeaseGranted.FromString(record.spec.payload)
        action: pb.Action | None = granted.action
        if not granted.HasField("action"):
            action = await self.message(pb.Action, digest)
        command = None
        if action is not None:
            wanted = from_proto(action.command_digest, digest.function)
            command = await self.message(pb.Command, wanted)
        return Parts(digest.function, action, command, self)

    async def small(self, digest: Digest) -> bytes | None:
        """A blob of at most a mebibyte, or None for one that is larger or gone."""
        if digest.size_bytes > MOST_OUTPUT_BYTES:
            return None
        try:
            return await self._blobs.get(digest)
        except StatusError:
            return None

    async def end_of(self, digest: Digest) -> bytes | None:
        """The last mebibyte of a blob, or None for one that is gone."""
        offset = max(digest.size_bytes - MOST_OUTPUT_BYTES, 0)
        try:
            return b"".join([piece async for piece in self._blobs.read(digest, offset)])
        except StatusError:
            return None

    async def inputs(self, root: Digest) -> AsyncIterator[control_pb2.Input]:
        """Files and links by path, then a nameless one for each directory that is gone."""
        read = 0
        waiting = [("", root)]
        while waiting and read < MOST_DIRECTORIES:
            prefix, digest = waiting.pop()
            read += 1
            directory = await self.message(pb.Directory, digest)
            if directory is None:
                yield control_pb2.Input()
                continue
            for entry in _entries(prefix, directory):
                yield entry
            waiting += [
                (f"{prefix}{node.name}/", from_proto(node.digest, digest.function))
                for node in reversed(directory.directories)
            ]

    async def changed(
        self, after: Digest, earlier: "Reader", before: Digest
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Inputs of both by path, those before first, without those in directories that are equal.

        `earlier` reads those before.
        """
        old: dict[str, str] = {}
        new: dict[str, str] = {}
        waiting: list[tuple[str, Digest | None, Digest | None]] = [("", before, after)]
        read = 0
        while waiting and read < MOST_DIRECTORIES:
            prefix, one, two = waiting.pop()
            if one == two:
                continue
            read += 1
            left = await earlier.below(prefix, one, old)
            right = await self.below(prefix, two, new)
            names = sorted(left.keys() | right.keys(), reverse=True)
            waiting += [(f"{prefix}{name}/", left.get(name), right.get(name)) for name in names]
        return old, new

    async def below(
        self, prefix: str, digest: Digest | None, into: dict[str, str]
    ) -> dict[str, Digest]:
        """The directories in this one; its files and links come `into` that by path."""
        if digest is None:
            return {}
        directory = await self.message(pb.Directory, digest)
        if directory is None:
            into[prefix] = f"{digest} (no longer stored)"
            return {}
        for entry in _entries(prefix, directory):
            into[entry.path] = shown(entry)
        return {
            node.name: from_proto(node.digest, digest.function) for node in directory.directories
        }

    async def message(self, kind: type[M], digest: Digest) -> M | None:
        """None for one that is gone, or no message of this kind."""
        try:
            data = await self._blobs.get(digest)
            return kind.FromString(data)
        except (StatusError, DecodeError):
            return None


class Readers:
    """For each action one that reads where its instance has its blobs."""

    def __init__(self, blobs_of: BlobsOf) -> None:
        self._blobs_of = blobs_of

    def of(self, record: Record) -> Reader:
        return Reader(self._blobs_of(record.key.instance))


def shown(entry: control_pb2.Input) -> str:
    if entry.target:
        return f"-> {entry.target}"
    executable = " executable" if entry.executable else ""
    return f"{entry.digest.hash}/{entry.digest.size_bytes}{executable}"


def _entries(prefix: str, directory: pb.Directory) -> list[control_pb2.Input]:
    found = [
        control_pb2.Input(
            path=prefix + node.name, digest=node.digest, executable=node.is_executable
        )
        for node in directory.files
    ]
    found += [
        control_pb2.Input(path=prefix + node.name, target=node.target)
        for node in directory.symlinks
    ]
    return found


def outputs_of(command: pb.Command) -> tuple[str, ...]:
    """By whichever field the client declares them (REAPI 2.1 replaced two by one)."""
    return tuple(
        sorted({*command.output_paths, *command.output_files, *command.output_directories})
    )


def described(parts: Parts) -> Described:
    """Without its inputs."""
    action = parts.action or pb.Action()
    command = parts.command or pb.Command()
    properties = (action.platform if action.platform.properties else command.platform).properties
    platform: dict[str, str] = {}
    for pair in properties:
        known = platform.get(pair.name)
        platform[pair.name] = pair.value if known is None else f"{known}, {pair.value}"
    timeout_s = nanoseconds(action.timeout) / 1e9
    return Described(
        arguments=tuple(command.arguments),
        variables={pair.name: pair.value for pair in command.environment_variables},
        platform=platform,
        outputs=outputs_of(command),
        settings={
            "working directory": command.working_directory,
            "timeout": format_duration(timeout_s) if timeout_s else "",
            "do not cache": "yes" if action.do_not_cache else "",
            "salt": action.salt.hex(),
            "output node properties": ", ".join(command.output_node_properties),
            "digest function": parts.function,
        },
    )


async def fill(reader: Reader, record: Record, details: control_pb2.ActionDetails) -> None:
    """Everything but the summary and the timeline."""
    parts = await reader.parts(record)
    if parts.action is None:
        details.notes.append("the action is no longer stored")
    else:
        details.action.CopyFrom(parts.action)
        await _fill_inputs(
            reader, from_proto(parts.action.input_root_digest, parts.function), details
        )
    if parts.command is not None:
        details.command.CopyFrom(parts.command)
    elif parts.action is not None:
        details.notes.append("the command is no longer stored")
    if record.ending is None:
        return
    details.response.ParseFromString(response_of(record.ending))
    result = details.response.result
    for any_ in result.execution_metadata.auxiliary_metadata:
        any_.Unpack(details.proof)
    details.stdout = await _output(reader, result, "stdout", parts.function, details)
    details.stderr = await _output(reader, result, "stderr", parts.function, details)


async def _fill_inputs(reader: Reader, root: Digest, details: control_pb2.ActionDetails) -> None:
    gone = 0
    async for entry in reader.inputs(root):
        if not entry.path:
            gone += 1
            continue
        details.input_count += 1
        details.input_bytes += entry.digest.size_bytes
        if details.input_count <= MOST_INPUTS:
            details.inputs.append(entry)
    if gone:
        details.notes.append(f"{gone} directories of the inputs are no longer stored")


async def _output(
    reader: Reader,
    result: pb.ActionResult,
    name: str,
    function: str,
    details: control_pb2.ActionDetails,
) -> bytes:
    raw: bytes = getattr(result, f"{name}_raw")
    if raw or not result.HasField(f"{name}_digest"):
        return raw[-MOST_OUTPUT_BYTES:]
    digest: pb.Digest = getattr(result, f"{name}_digest")
    found = await reader.end_of(from_proto(digest, function))
    if found is None:
        details.notes.append(f"{name} ({digest.size_bytes} bytes) is no longer stored")
    elif digest.size_bytes > MOST_OUTPUT_BYTES:
        details.notes.append(f"{name} has {digest.size_bytes} bytes; this is the end of it")
    return found or b""
