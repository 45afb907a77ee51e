"""Results are served whole or not at all."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.digest import Digest, digest_of
from builder.base.errors import FailedPreconditionError, InvalidArgumentError
from builder.reapi.digests import to_proto
from builder.reapi.pb import error_details_pb2, status_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.action_cache import CheckedActionCache, Keeping
from builder.stores.disk import DiskBlobStore
from builder.stores.disk_records import DiskRecords
from builder.stores.kept_result import Entry, packed, unpacked
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.stores.conftest import Time

MIB = 1024 * 1024
HOUR = 3600.0
ACTION = digest_of(b"action")


class Bench:
    """A cache with its blobs."""

    def __init__(self, blobs: MemoryBlobStore | DiskBlobStore, cache: CheckedActionCache) -> None:
        self.blobs = blobs
        self.cache = cache

    async def blob(self, data: bytes, function: str = "sha256") -> Digest:
        digest = digest_of(data, function)
        await self.blobs.put(digest, data)
        return digest


@pytest.fixture(params=["memory", "disk"])
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Callable[[], float]
) -> AsyncIterator[Bench]:
    if request.param == "memory":
        blobs = MemoryBlobStore(4 * MIB, HOUR, clock)
        yield Bench(blobs, CheckedActionCache(blobs, MemoryRecords(MIB, clock)))
        return
    disk = DiskBlobStore(tmp_path / "blobs", 4 * MIB, HOUR, "none", clock)
    records = DiskRecords(tmp_path / "actions", MIB, clock)
    await disk.load()
    yield Bench(disk, CheckedActionCache(disk, records))
    disk.close()
    records.close()


def result_of(**outputs: Digest) -> pb.ActionResult:
    result = pb.ActionResult(exit_code=0)
    for name, digest in outputs.items():
        result.output_files.add(path=name, digest=to_proto(digest))
    return result


async def with_tree(bench: Bench, leaf: Digest) -> tuple[pb.ActionResult, Digest]:
    inner = pb.Directory(files=[pb.FileNode(name="leaf", digest=to_proto(leaf))])
    tree = pb.Tree(root=pb.Directory(), children=[inner])
    digest = await bench.blob(tree.SerializeToString())
    result = pb.ActionResult()
    result.output_directories.add(path="out", tree_digest=to_proto(digest))
    return result, digest


async def with_directories(bench: Bench, leaf: Digest) -> tuple[pb.ActionResult, Digest]:
    inner = pb.Directory(files=[pb.FileNode(name="leaf", digest=to_proto(leaf))])
    inner_digest = await bench.blob(inner.SerializeToString())
    root = pb.Directory(directories=[pb.DirectoryNode(name="d", digest=to_proto(inner_digest))])
    result = pb.ActionResult()
    root_digest = await bench.blob(root.SerializeToString())
    result.output_directories.add(path="out", root_directory_digest=to_proto(root_digest))
    return result, inner_digest


async def test_a_result_comes_back(bench: Bench) -> None:
    """What was stored is looked up, per instance and action, and peeked at."""
    result = result_of(a=await bench.blob(b"a"), empty=digest_of(b""))
    result.stdout_digest.CopyFrom(to_proto(await bench.blob(b"out")))
    assert await bench.cache.lookup("", ACTION) is None
    await bench.cache.store("", ACTION, result)
    assert await bench.cache.lookup("", ACTION) == result
    assert bench.cache.peek("", ACTION) == result.SerializeToString(deterministic=True)
    assert await bench.cache.lookup("other", ACTION) is None
    assert await bench.cache.lookup("", ACTION._replace(function="blake3")) is None
    assert bench.cache.peek("other", ACTION) is None


async def test_results_with_absent_outputs_are_refused(bench: Bench) -> None:
    """Storing a result whose outputs are absent names them as MISSING."""
    absent = digest_of(b"never uploaded")
    result = result_of(a=await bench.blob(b"a"), b=absent)
    result.stderr_digest.CopyFrom(to_proto(digest_of(b"nor this")))
    with pytest.raises(FailedPreconditionError) as caught:
        await bench.cache.store("", ACTION, result)
    status = status_pb2.Status.FromString(caught.value.details)
    failure = error_details_pb2.PreconditionFailure()
    assert status.details[0].Unpack(failure)
    subjects = {violation.subject for violation in failure.violations}
    assert subjects == {f"blobs/{d.hash}/{d.size_bytes}" for d in (absent, digest_of(b"nor this"))}
    assert await bench.cache.lookup("", ACTION) is None


@pytest.mark.parametrize("make", [with_tree, with_directories])
async def test_what_trees_hold_is_needed_too(bench: Bench, make: Callable[..., object]) -> None:
    """A file deep in a tree is a reference: absent, it is named; lost, the result is a miss."""
    leaf = digest_of(b"leaf")
    result, _ = await make(bench, leaf)  # type: ignore[misc]  # both are async
    with pytest.raises(FailedPreconditionError, match=leaf.hash):
        await bench.cache.store("", ACTION, result)
    await bench.blob(b"leaf")
    await bench.cache.store("", ACTION, result)
    assert await bench.cache.lookup("", ACTION) == result


@pytest.mark.parametrize("make", [with_tree, with_directories])
@pytest.mark.parametrize("what", ["leaf", "tree"])
async def test_a_result_with_an_evicted_part_is_a_miss(
    bench: Bench, clock: object, make: Callable[..., object], what: str
) -> None:
    """After eviction of any part, the result is not served; it is again when the part is back."""
    leaf = await bench.blob(b"leaf")
    result, inner = await make(bench, leaf)  # type: ignore[misc]  # both are async
    await bench.cache.store("", ACTION, result)
    data = [await bench.blobs.get(digest) for digest in (leaf, inner)]
    clock.now += 2 * HOUR  # type: ignore[attr-defined]  # Time
    kept = inner if what == "leaf" else leaf
    assert await bench.blobs.find_missing([kept]) == []
    block = 4096 if isinstance(bench.blobs, DiskBlobStore) else kept.size_bytes
    await bench.blob(os.urandom(4 * MIB - block))  # evicts everything else
    assert bench.cache.peek("", ACTION) is None
    assert await bench.cache.lookup("", ACTION) is None
    clock.now += 2 * HOUR  # type: ignore[attr-defined]  # Time
    for one in data:
        await bench.blob(one)
    if make is with_tree:
        assert await bench.cache.lookup("", ACTION) == result


async def test_a_lookup_renews_everything(bench: Bench, clock: object) -> None:
    """Within a lease of its last look-up, nothing that a result needs can be evicted."""
    leaf = await bench.blob(b"leaf")
    result, tree = await with_tree(bench, leaf)
    await bench.cache.store("", ACTION, result)
    for _ in range(10):
        clock.now += 0.9 * HOUR  # type: ignore[attr-defined]  # Time
        assert await bench.cache.lookup("", ACTION) == result
        assert bench.cache.peek("", ACTION) is not None
        try:
            await bench.blob(os.urandom(2 * MIB))
        except Exception as error:  # full of promises is fine, a broken one is not
            assert "promised" in str(error)  # noqa: PT017 -- either outcome is right
        assert await bench.blobs.find_missing([leaf, tree]) == []


async def test_peek_vouches_only_for_its_tick(bench: Bench, clock: object) -> None:
    """When the lease's tick is over, peek asks for a look-up, which renews."""
    await bench.cache.store("", ACTION, result_of(a=await bench.blob(b"a")))
    assert bench.cache.peek("", ACTION) is not None
    clock.now += HOUR / 8  # type: ignore[attr-defined]  # Time
    assert bench.cache.peek("", ACTION) is None
    assert await bench.cache.lookup("", ACTION) is not None
    assert bench.cache.peek("", ACTION) is not None


async def test_what_is_no_tree_is_refused(bench: Bench) -> None:
    """A tree digest that names other bytes, and a malformed digest, are the writer's fault."""
    result = pb.ActionResult()
    result.output_directories.add(tree_digest=to_proto(await bench.blob(b"\xff\xff\xff")))
    with pytest.raises(InvalidArgumentError, match="Tree"):
        await bench.cache.store("", ACTION, result)
    bad = pb.ActionResult()
    bad.output_files.add(path="x", digest=pb.Digest(hash="zz", size_bytes=1))
    with pytest.raises(InvalidArgumentError):
        await bench.cache.store("", ACTION, bad)


async def test_memory_is_bounded() -> None:
    """What peek remembers is forgotten, oldest first, when it gets too much."""
    blobs = MemoryBlobStore(MIB)
    cache = CheckedActionCache(blobs, MemoryRecords(MIB), memory_bytes=2000)
    actions = [digest_of(bytes([n])) for n in range(10)]
    for action in actions:
        await cache.store("", action, pb.ActionResult(exit_code=0, stdout_raw=b"x"))
    remembered = [cache.peek("", action) is not None for action in actions]
    assert remembered == sorted(remembered)
    assert 0 < sum(remembered) < 10
    assert await cache.lookup("", actions[0]) is not None


async def test_a_damaged_blob_ends_the_promise(tmp_path: Path, clock: object) -> None:
    """When a referenced blob turns out damaged, the result is a miss at once."""
    blobs = DiskBlobStore(tmp_path / "b", MIB)
    cache = CheckedActionCache(blobs, MemoryRecords(MIB))
    digest = digest_of(b"data")
    await blobs.put(digest, b"data")
    await cache.store("", ACTION, result_of(a=digest))
    path = Path(blobs.path(digest))
    path.chmod(0o644)
    path.write_bytes(b"Data")
    assert cache.peek("", ACTION) is not None
    with pytest.raises(Exception, match="damaged"):
        await blobs.get(digest)
    assert cache.peek("", ACTION) is None
    assert await cache.lookup("", ACTION) is None
    blobs.close()


WHO = pb.RequestMetadata(tool_invocation_id="an invocation").SerializeToString()


async def entries(clock: Time, keeping: Keeping | None = None) -> tuple[Bench, MemoryRecords]:
    blobs, records = MemoryBlobStore(4 * MIB, HOUR, clock), MemoryRecords(MIB, clock)
    return Bench(blobs, CheckedActionCache(blobs, records, MIB, keeping, clock)), records


async def test_an_entry_knows_who_wrote_it_when_and_how_often_it_was_a_hit(clock: Time) -> None:
    """Hits by either way are counted, and written down now and then: another cache over the same
    records knows those."""
    bench, records = await entries(clock)
    result = result_of(a=await bench.blob(b"a"))
    assert await bench.cache.about("i", ACTION) is None
    stored = clock.now
    await bench.cache.store("i", ACTION, result, WHO)
    for _ in range(3):
        assert bench.cache.peek("i", ACTION) is not None
    assert await bench.cache.lookup("i", ACTION) == result
    about = await bench.cache.about("i", ACTION)
    assert about is not None
    assert (about.stored_at, about.hits, about.metadata) == (stored, 4, WHO)
    clock.now += 700
    assert await bench.cache.lookup("i", ACTION) == result
    other = CheckedActionCache(bench.blobs, records, MIB, None, clock)
    about = await other.about("i", ACTION)
    assert about is not None
    assert (about.stored_at, about.used_at, about.hits) == (stored, clock.now, 5)
    assert pb.ActionResult.FromString(about.result) == result


async def test_results_that_are_too_old_are_misses(clock: Time) -> None:
    """With a greatest age, whatever they were used since; without one, never."""
    for keeping, found in ((Keeping(most_s=2 * HOUR), False), (None, True)):
        bench, _ = await entries(clock, keeping)
        await bench.cache.store("", ACTION, result_of(a=await bench.blob(b"a")))
        clock.now += HOUR
        assert await bench.cache.lookup("", ACTION) is not None
        clock.now += HOUR
        await bench.blob(b"a")
        assert (await bench.cache.lookup("", ACTION) is not None) is found


async def test_only_what_succeeded_is_kept(clock: Time) -> None:
    """A result of another exit code is refused, unless the configuration takes it."""
    failed = pb.ActionResult(exit_code=3)
    bench, _ = await entries(clock)
    with pytest.raises(InvalidArgumentError, match="exit code is 3"):
        await bench.cache.store("", ACTION, failed)
    assert await bench.cache.lookup("", ACTION) is None
    bench, _ = await entries(clock, Keeping(failed=True))
    await bench.cache.store("", ACTION, failed)
    assert await bench.cache.lookup("", ACTION) == failed


async def test_results_of_earlier_versions_are_served(clock: Time) -> None:
    """A record that is a result alone is one of unknown age."""
    bench, records = await entries(clock)
    result = result_of(a=await bench.blob(b"a"))
    name = f"{ACTION.hash}-{ACTION.size_bytes}"
    await records.put("ac/sha256/", name, result.SerializeToString())
    assert await bench.cache.lookup("", ACTION) == result
    about = await bench.cache.about("", ACTION)
    assert about is not None
    assert (about.stored_at, about.hits) == (0.0, 1)


@given(st.binary(max_size=80), st.binary(max_size=20), st.integers(0, 2**64 - 1))
def test_an_entry_comes_back(result: bytes, metadata: bytes, hits: int) -> None:
    """Whatever it holds; and no result is taken for an entry."""
    entry = Entry(result, 1.5, 2.5, hits, metadata)
    assert unpacked(packed(entry)) == entry
    valid = pb.ActionResult(stdout_raw=result).SerializeToString()
    assert unpacked(valid) == Entry(valid)
