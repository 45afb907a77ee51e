"""Files of actions: walked through by path, from what is stored; and actions run once more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from builder.base.digest import digest_of
from builder.base.errors import FailedPreconditionError, NotFoundError
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.admission import Admission, Timeouts
from builder.server.contents import Contents, Entry
from builder.server.rerunning import Rerunner
from builder.stores.memory import MemoryBlobStore
from tests.server.farm import WALL_NS, Farm, farming
from tests.server.test_actions import listed, put_action, run, shown

SOURCE = digest_of(b"int main;")
EMPTY = MemoryBlobStore(1024)


def contents(farm: Farm) -> Contents:
    return Contents(farm.scheduler.history, lambda _: farm.blobs)


async def ran(farm: Farm, response: pb.ExecuteResponse | None = None) -> str:
    """The operation of an action with one input, `src/a.c`."""
    action = await put_action(farm, "cc", files={"a.c": b"int main;"})
    return await run(farm, action, response=response or pb.ExecuteResponse())


async def test_inputs_are_walked_from_the_root() -> None:
    """A directory has its entries, a file its digest, and what is not there is said."""
    async with farming() as farm:
        id_, found = await ran(farm), contents(farm)
        assert (await found.inputs(id_, "")).entries == (Entry("src", is_directory=True),)
        assert (await found.inputs(id_, "src/")).entries == (Entry("a.c", SOURCE),)
        file = (await found.inputs(id_, "src/a.c")).file
        assert file == SOURCE
        assert b"".join([piece async for piece in found.read(id_, SOURCE)]) == b"int main;"
        for path in ("none", "src/none", "src/a.c/none", "../src"):
            with pytest.raises(NotFoundError, match="there is no"):
                await found.inputs(id_, path)


async def test_a_directory_that_is_gone_is_said() -> None:
    async with farming() as farm:
        id_ = await ran(farm)
        with pytest.raises(NotFoundError, match="no longer stored"):
            await Contents(farm.scheduler.history, lambda _: EMPTY).inputs(id_, "src")


async def made(farm: Farm, *, by_root: bool) -> pb.ExecuteResponse:
    """A result with a file, a link, and a directory `out` with `lib/a.o`."""
    lib = pb.Directory()
    lib.files.add(name="a.o", digest=to_proto(SOURCE))
    root = pb.Directory()
    root.directories.add(name="lib", digest=to_proto(digest_of(lib.SerializeToString())))
    result = pb.ActionResult()
    result.output_files.add(path="bin/app", digest=to_proto(SOURCE))
    result.output_symlinks.add(path="latest", target="bin/app")
    out = result.output_directories.add(path="out")
    if by_root:
        await farm.put(lib.SerializeToString())
        out.root_directory_digest.CopyFrom(to_proto(await farm.put(root.SerializeToString())))
    else:
        tree = pb.Tree(root=root, children=[lib]).SerializeToString()
        out.tree_digest.CopyFrom(to_proto(await farm.put(tree)))
    return pb.ExecuteResponse(result=result)


@pytest.mark.parametrize("by_root", [False, True])
async def test_outputs_are_found_by_tree_and_by_root(by_root: bool) -> None:
    """Both forms of an output directory are walked alike."""
    async with farming() as farm:
        await farm.put(b"int main;")
        id_, found = await ran(farm, await made(farm, by_root=by_root)), contents(farm)
        assert (await found.outputs(id_, "")).entries == (
            Entry("out", is_directory=True),
            Entry("bin/app", SOURCE),
            Entry("latest", target="bin/app"),
        )
        assert (await found.outputs(id_, "bin/app")).file == SOURCE
        assert (await found.outputs(id_, "out")).entries == (Entry("lib", is_directory=True),)
        assert (await found.outputs(id_, "out/lib")).entries == (Entry("a.o", SOURCE),)
        assert (await found.outputs(id_, "out/lib/a.o")).file == SOURCE
        for path in ("out/none", "bin", "outside"):
            with pytest.raises(NotFoundError):
                await found.outputs(id_, path)


async def test_what_has_not_ended_has_no_outputs() -> None:
    async with farming() as farm, farm.execute(await farm.put_action()) as stream:
        name = (await stream.next()).name
        with pytest.raises(NotFoundError, match="has not ended"):
            await contents(farm).outputs(name, "")


@asynccontextmanager
async def rerunning(farm: Farm, blobs: MemoryBlobStore | None = None) -> AsyncIterator[Rerunner]:
    async with trio.open_nursery() as nursery:
        admission = Admission(blobs or farm.blobs, Timeouts())
        yield Rerunner(farm.scheduler, lambda _: admission, lambda: WALL_NS, nursery)
        nursery.cancel_scope.cancel()


async def test_an_action_runs_again_with_nobody_waiting() -> None:
    """As a new operation of the same build, past the cache that has its result."""
    async with farming() as farm, rerunning(farm) as rerunner:
        first = await ran(farm)
        async with farm.worker() as worker:
            second = await rerunner.again(first)
            lease = await worker.granted()
            assert lease.request_metadata.target_id == "//a:a"
            done = pb.ExecuteResponse(result=pb.ActionResult(stdout_raw=b"again"))
            await worker.finish(lease.lease_id, done)
            ended = await shown(farm, second, wait=True)
        assert (ended.summary.operation, ended.summary.outcome) == (second, "succeeded")
        newest, oldest = await listed(farm)
        assert (newest.operation, oldest.operation) == (second, first)
        assert (newest.invocation, newest.mnemonic) == ("inv-1", "Cc")


async def test_what_is_no_longer_stored_cannot_run_again() -> None:
    async with farming() as farm, rerunning(farm, EMPTY) as rerunner:
        id_ = await ran(farm)
        with pytest.raises(FailedPreconditionError, match="cannot run again"):
            await rerunner.again(id_)
