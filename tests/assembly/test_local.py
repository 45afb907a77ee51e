"""A whole service inside this process."""

from dataclasses import replace
from pathlib import Path

import trio

from builder.assembly.local import local_service
from builder.base.digest import HASHERS, Digest, digest_of
from builder.base.errors import Code
from builder.config.settings import Settings
from builder.net.channel import Channel
from builder.net.rpc import Metadata
from builder.reapi.digests import NUMBERS, to_proto
from builder.reapi.pb import bytestream_pb2 as bs
from builder.reapi.pb import operations_pb2, wrappers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.remote import RemoteBlobStore
from tests.worker.kit import put_action, shell

CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"


def settings(folder: Path) -> Settings:
    base = Settings()
    return replace(base, store=replace(base.store, path=str(folder / "store")))


async def execute(
    channel: Channel, script: str, *outputs: str, function: str = "sha256"
) -> pb.ExecuteResponse:
    blobs = RemoteBlobStore(channel)
    job = await put_action(blobs, shell(script, *outputs), {"in": b"data"}, function)
    return await finished(channel, job.digest)


async def finished(
    channel: Channel, action: Digest, metadata: Metadata | None = None
) -> pb.ExecuteResponse:
    request = pb.ExecuteRequest(
        action_digest=to_proto(action), digest_function=NUMBERS[action.function]
    ).SerializeToString()
    operation = operations_pb2.Operation()
    async with channel.stream(EXECUTE, metadata=metadata) as call:
        await call.send(request)
        await call.done_sending()
        while (data := await call.receive()) is not None:
            operation = operations_pb2.Operation.FromString(data)
    response = pb.ExecuteResponse()
    assert operation.response.Unpack(response)
    return response


async def test_an_action_runs_in_it(tmp_path: Path) -> None:
    """Over a loopback port, in the real sandbox; its outputs are in its storage."""
    with trio.fail_after(60):
        async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
            response = await execute(channel, "cat in > out", "out")
            digest = response.result.output_files[0].digest
            data = await RemoteBlobStore(channel).get(Digest(digest.hash, digest.size_bytes))
    assert data == b"data"
    assert response.message.startswith("worker-1 (hermetic: namespaces")


async def test_an_action_in_every_digest_function(tmp_path: Path) -> None:
    """Action, inputs, outputs and result are named by the client's function, and found again."""
    with trio.fail_after(120):
        async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
            for function in HASHERS:
                for hit in (False, True):
                    response = await execute(channel, "cat in in > out", "out", function=function)
                    assert response.cached_result is hit, function
                    made = response.result.output_files[0].digest
                    wanted = digest_of(b"datadata", function)
                    assert Digest(made.hash, made.size_bytes, function) == wanted
                    assert await RemoteBlobStore(channel).get(wanted) == b"datadata"


async def test_the_next_one_meets_its_cache(tmp_path: Path) -> None:
    with trio.fail_after(60):
        for hit in (False, True):
            async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
                assert (await execute(channel, "echo once")).cached_result is hit


async def test_two_at_a_time_do_not_meet(tmp_path: Path) -> None:
    """Two builds of one user run beside each other, each with a directory of its own."""
    with trio.fail_after(60):
        async with (
            local_service(settings(tmp_path)) as one,
            local_service(settings(tmp_path)) as two,
            Channel(one) as first,
            Channel(two) as second,
        ):
            assert (await execute(first, "echo twice")).cached_result is False
            assert (await execute(second, "echo twice")).cached_result is False


async def test_cancelling_it_in_mid_action_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in a build: the action is dead and its files are gone when the service has ended."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
                nursery.start_soon(execute, channel, "touch begun; sleep 300", "begun")
                scratch = tmp_path / "local-1" / "worker" / "actions"
                while not (scratch.exists() and any(scratch.iterdir())):  # noqa: ASYNC110 - files
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
    left = {path.name for path in (tmp_path / "local-1" / "worker").iterdir()}
    assert left == {"lock"}


async def test_its_output_is_read_while_it_runs(tmp_path: Path) -> None:
    """By the names in the operation's metadata: the first line before the action's end."""
    got: list[tuple[str, bytes, bool]] = []
    ended = trio.Event()

    async def read(channel: Channel, name: str) -> None:
        async with channel.stream("/google.bytestream.ByteStream/Read") as call:
            await call.send(bs.ReadRequest(resource_name=name).SerializeToString())
            await call.done_sending()
            while (data := await call.receive()) is not None:
                piece = bs.ReadResponse.FromString(data).data
                got.append((name.rpartition("/")[2], piece, ended.is_set()))

    script = "echo one; echo two >&2; sleep 3; echo three"
    with trio.fail_after(60):
        async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
            job = await put_action(RemoteBlobStore(channel), shell(script), {})
            request = pb.ExecuteRequest(action_digest=to_proto(job.digest)).SerializeToString()
            async with trio.open_nursery() as nursery, channel.stream(EXECUTE) as call:
                await call.send(request)
                await call.done_sending()
                names: set[str] = set()
                while (data := await call.receive()) is not None:
                    operation = operations_pb2.Operation.FromString(data)
                    told = pb.ExecuteOperationMetadata()
                    operation.metadata.Unpack(told)
                    for name in {told.stdout_stream_name, told.stderr_stream_name} - names - {""}:
                        names.add(name)
                        nursery.start_soon(read, channel, name)
                ended.set()
    assert ("stdout", b"one\n", False) in got
    assert ("stderr", b"two\n", False) in got
    assert b"".join(piece for name, piece, _ in got if name == "stdout") == b"one\nthree\n"
    assert b"".join(piece for name, piece, _ in got if name == "stderr") == b"two\n"


async def test_node_properties_there_and_back(tmp_path: Path) -> None:
    """The action sees what the client gave its input, and the client what the action made."""
    directory = pb.Directory()
    script = "stat -c '%Y %a' in; echo x > out; chmod 640 out; touch -d @1234 out"
    with trio.fail_after(60):
        async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
            blobs = RemoteBlobStore(channel)
            node = directory.files.add(name="in", digest=to_proto(digest_of(b"data")))
            node.node_properties.mtime.seconds = 987654321
            node.node_properties.unix_mode.CopyFrom(wrappers_pb2.UInt32Value(value=0o604))
            await blobs.put(digest_of(b"data"), b"data")
            root = digest_of(directory.SerializeToString())
            await blobs.put(root, directory.SerializeToString())
            command = shell(script, "out", output_node_properties=["mtime", "unix_mode"])
            job = await put_action(blobs, command, root)
            response = await finished(channel, job.digest)
    assert response.result.stdout_raw == b"987654321 604\n"
    made = response.result.output_files[0].node_properties
    assert (made.mtime.seconds, made.unix_mode.value) == (1234, 0o640)


async def test_a_server_log_of_what_did_not_end_by_itself(tmp_path: Path) -> None:
    """A killed action brings a log for people: how it ended, and what limits held."""
    with trio.fail_after(60):
        async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
            blobs = RemoteBlobStore(channel)
            job = await put_action(blobs, shell("kill -9 $$"), {})
            response = await finished(channel, job.digest)
            log = response.server_logs["sandbox"]
            text = await blobs.get(Digest(log.digest.hash, log.digest.size_bytes))
            fine = await execute(channel, "exit 3")
    assert log.human_readable
    assert text.startswith(b"outcome: signalled")
    assert not fine.server_logs


async def test_absolute_symlinks_by_configuration(tmp_path: Path) -> None:
    """Announced as they are served: refused by default, there for the action when allowed."""
    allowed = settings(tmp_path)
    allowed = replace(allowed, reapi=replace(allowed.reapi, absolute_symlinks=True))
    strategy = pb.SymlinkAbsolutePathStrategy
    for chosen, announced in (
        (settings(tmp_path), strategy.DISALLOWED),
        (allowed, strategy.ALLOWED),
    ):
        with trio.fail_after(60):
            async with local_service(chosen) as address, Channel(address) as channel:
                answer = pb.ServerCapabilities.FromString(await channel.unary(CAPABILITIES, b""))
                cache, execution = answer.cache_capabilities, answer.execution_capabilities
                assert cache.symlink_absolute_path_strategy == announced
                assert list(execution.supported_node_properties) == ["mtime", "unix_mode"]
                blobs = RemoteBlobStore(channel)
                job = await put_action(blobs, shell("readlink l"), {"l": ("->", "/etc/hostname")})
                response = await finished(channel, job.digest)
                if announced == strategy.ALLOWED:
                    assert response.result.stdout_raw == b"/etc/hostname\n"
                else:
                    assert response.status.code == Code.INVALID_ARGUMENT


async def test_who_asked_is_kept_with_the_result(tmp_path: Path) -> None:
    """The whole RequestMetadata, in the answer and in the action cache."""
    client = pb.RequestMetadata(
        tool_details=pb.ToolDetails(tool_name="bazel", tool_version="7"),
        action_id="a",
        tool_invocation_id="i",
        correlated_invocations_id="c",
        action_mnemonic="CppCompile",
        target_id="//t",
        configuration_id="k8",
    )
    header = {"build.bazel.remote.execution.v2.requestmetadata-bin": client.SerializeToString()}
    with trio.fail_after(60):
        async with local_service(settings(tmp_path)) as address, Channel(address) as channel:
            job = await put_action(RemoteBlobStore(channel), shell("true"), {})
            for headers, cached in ((header, False), (None, True)):
                response = await finished(channel, job.digest, headers)
                assert response.cached_result is cached
                kept = pb.RequestMetadata()
                assert response.result.execution_metadata.auxiliary_metadata[1].Unpack(kept)
                assert kept == client
