"""Actions for tests: blobs, trees and commands in a memory store, and a runner over them."""

from collections.abc import Mapping
from pathlib import Path

from builder.base.digest import Digest, digest_of
from builder.images.interface import ImageStore
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.sandbox.interface import Sandbox
from builder.stores.interface import BlobStore
from builder.stores.memory import MemoryBlobStore
from builder.telemetry.clock import SystemClock
from builder.worker.closing import Close, at_once
from builder.worker.inputs import InputCache
from builder.worker.job import Job, say_nothing
from builder.worker.runner import ActionRunner, Policy
from tests.worker.plain_sandbox import PlainSandbox

MIB = 1024 * 1024

# what stands at a name: contents, (contents, executable), a directory, or ("->", target)
Entry = bytes | tuple[bytes, bool] | tuple[str, str] | Mapping[str, "Entry"]


def memory() -> MemoryBlobStore:
    return MemoryBlobStore(256 * MIB)


async def put(blobs: BlobStore, data: bytes, function: str = "sha256") -> Digest:
    digest = digest_of(data, function)
    await blobs.put(digest, data)
    return digest


async def put_tree(blobs: BlobStore, tree: Mapping[str, Entry], function: str = "sha256") -> Digest:
    directory = pb.Directory()
    for name, entry in sorted(tree.items()):
        match entry:
            case bytes(data):
                digest = await put(blobs, data, function)
                directory.files.add(name=name, digest=to_proto(digest))
            case (bytes(data), bool(executable)):
                digest = await put(blobs, data, function)
                directory.files.add(name=name, digest=to_proto(digest), is_executable=executable)
            case ("->", str(target)):
                directory.symlinks.add(name=name, target=target)
            case _:
                assert isinstance(entry, Mapping)
                digest = await put_tree(blobs, entry, function)
                directory.directories.add(name=name, digest=to_proto(digest))
    return await put(blobs, directory.SerializeToString(), function)


async def put_action(
    blobs: BlobStore,
    command: pb.Command,
    tree: Mapping[str, Entry] | Digest | None = None,
    function: str = "sha256",
    platform: Mapping[str, str] | None = None,
) -> Job:
    root = tree if isinstance(tree, Digest) else await put_tree(blobs, tree or {}, function)
    action = pb.Action(
        command_digest=to_proto(await put(blobs, command.SerializeToString(), function)),
        input_root_digest=to_proto(root),
    )
    for name, value in sorted((platform or {}).items()):
        action.platform.properties.add(name=name, value=value)
    return Job(await put(blobs, action.SerializeToString(), function))


def shell(script: str, *outputs: str, **fields: object) -> pb.Command:
    return pb.Command(
        arguments=["/bin/sh", "-euc", script],
        output_paths=outputs,
        **fields,  # type: ignore[arg-type]  # as the message's constructor checks them
    )


class Bench:
    """A store, a plain sandbox and a runner over them."""

    def __init__(
        self,
        tmp_path: Path,
        blobs: BlobStore | None = None,
        sandbox: Sandbox | None = None,
        policy: Policy | None = None,
        close: Close = at_once,
        images: ImageStore | None = None,
    ) -> None:
        self.blobs = memory() if blobs is None else blobs
        self.plain = PlainSandbox()
        self.scratch = tmp_path / "scratch"
        self.inputs = InputCache(tmp_path / "cache", 64 * MIB)
        self.runner = ActionRunner(
            "worker-1",
            self.blobs,
            self.plain if sandbox is None else sandbox,
            self.inputs,
            self.scratch,
            SystemClock(),
            policy,
            close,
            images=images,
        )

    async def run(
        self,
        command: pb.Command,
        tree: Mapping[str, Entry] | Digest | None = None,
        function: str = "sha256",
        platform: Mapping[str, str] | None = None,
    ) -> pb.ExecuteResponse:
        job = await put_action(self.blobs, command, tree, function, platform)
        return await self.runner.run(job, say_nothing)
