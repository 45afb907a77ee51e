"""GetActionResult: requests that were asked before are answered as those that were not."""

from collections.abc import Callable

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.base.digest import digest_of
from builder.base.errors import NotFoundError, StatusError
from builder.builds.lookups import LookUps, Run
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server import action_cache
from builder.server.action_cache import ActionCacheService
from builder.server.admission import METADATA_HEADER
from builder.server.instances import Instances
from builder.stores.action_cache import CheckedActionCache
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from tests.server.direct import DirectContext

CONTEXT = DirectContext("/test")
KNOWN = digest_of(b"an action")
OUTPUT = digest_of(b"an output")
ASKED = pb.GetActionResultRequest(action_digest=to_proto(KNOWN), instance_name="main")


async def made(blobs: MemoryBlobStore, lookups: LookUps | None = None) -> ActionCacheService:
    """With one result, which has one output."""
    await blobs.put(OUTPUT, b"an output")
    cache = CheckedActionCache(blobs, MemoryRecords(1 << 20))
    result = pb.ActionResult(output_files=[pb.OutputFile(path="a", digest=to_proto(OUTPUT))])
    await cache.store("main", KNOWN, result)
    return ActionCacheService(cache, blobs, Instances(("main", "other")), lookups=lookups)


async def outcome(way: Callable[[bytes], object], data: bytes) -> object:
    try:
        found = way(data)
        return found if isinstance(found, bytes) else await found  # type: ignore[misc]  # or an awaitable
    except StatusError as error:
        return type(error), error.message


digests = st.builds(
    pb.Digest,
    hash=st.sampled_from([KNOWN.hash, KNOWN.hash, KNOWN.hash.upper(), "ab", "é" * 64, ""]),
    size_bytes=st.sampled_from([KNOWN.size_bytes, KNOWN.size_bytes, 0, -1]),
)
requests = st.builds(
    pb.GetActionResultRequest,
    instance_name=st.sampled_from(["main", "main", "other", "foreign"]),
    action_digest=digests,
    inline_stdout=st.booleans(),
    inline_output_files=st.lists(st.sampled_from(["a", "b"]), max_size=1),
    digest_function=st.sampled_from([0, 1, 9, 3]),
).map(lambda request: request.SerializeToString())


def test_requests_of_all_kinds_are_answered_alike() -> None:
    """Asked for the first time and again, well-formed or not."""
    service = trio.run(made, MemoryBlobStore(1 << 20))

    @settings(max_examples=60, deadline=None)
    @example([ASKED.SerializeToString()])
    @given(st.lists(st.one_of(requests, st.binary(max_size=100)), max_size=5))
    def run(some: list[bytes]) -> None:
        async def main() -> None:
            for data in some:
                expected = await outcome(lambda d: service._get_parsed(d, CONTEXT), data)
                for _ in range(2):
                    got = await outcome(lambda asked: service.get(asked, CONTEXT), data)
                    assert got == expected

        trio.run(main)

    run()


async def test_what_is_asked_again_is_today_s_result() -> None:
    """Another result replaces it, and a lost output ends it."""
    blobs = MemoryBlobStore(1 << 20)
    service = await made(blobs)
    data = ASKED.SerializeToString()
    for said in (b"1", b"2"):
        update = pb.UpdateActionResultRequest(
            instance_name="main",
            action_digest=to_proto(KNOWN),
            action_result=pb.ActionResult(stdout_raw=said),
        )
        await service.update(update.SerializeToString(), CONTEXT)
        for _ in range(3):
            found = service.get(data, CONTEXT)
            assert isinstance(found, bytes)
            assert pb.ActionResult.FromString(found).stdout_raw == said
    service = await made(blobs)
    assert isinstance(service.get(data, CONTEXT), bytes)
    blobs._index.lose(OUTPUT.hash)
    waiting = service.get(data, CONTEXT)
    assert not isinstance(waiting, bytes)
    with pytest.raises(NotFoundError):
        await waiting


async def test_what_is_remembered_of_requests_is_bounded() -> None:
    """By their number, and by the length of each."""
    service = await made(MemoryBlobStore(1 << 20))
    data = ASKED.SerializeToString()
    unknown = b"\xaa\x06" + bytes((100,))  # field 101, of 100 bytes
    for number in range(action_cache.MOST_ASKED + 10):
        assert isinstance(service.get(data + unknown + b"%0100d" % number, CONTEXT), bytes)
    assert len(service._asked) <= action_cache.MOST_ASKED
    before = len(service._asked)
    assert isinstance(service.get(data + (unknown + b"x" * 100) * 5, CONTEXT), bytes)
    assert len(service._asked) == before


async def test_hits_are_counted_for_the_invocation_that_looked() -> None:
    """In each of the ways in which a hit is answered; a miss counts nothing."""
    runs: list[tuple[str, Run]] = []
    lookups = LookUps(lambda: 5.0, runs.extend)
    service = await made(MemoryBlobStore(1 << 20), lookups)
    metadata = pb.RequestMetadata(tool_invocation_id="inv", target_id="//a").SerializeToString()
    context = DirectContext("/test", {METADATA_HEADER: metadata})
    inline = pb.GetActionResultRequest()
    inline.CopyFrom(ASKED)
    inline.inline_stdout = True
    absent = pb.GetActionResultRequest(action_digest=to_proto(OUTPUT), instance_name="main")
    for request in (ASKED, ASKED, inline, absent):
        data = request.SerializeToString()
        await outcome(lambda asked: service.get(asked, context), data)
        await outcome(lambda asked: service.get(asked, CONTEXT), data)
    assert {id_: one.hits for id_, one in lookups.found().items()} == {"inv": 3}
    assert {asked for _, (_, asked, *_) in runs} == {("main", KNOWN)}
    stored = service.get(ASKED.SerializeToString(), CONTEXT)
    assert {result for _, (_, _, result, *_) in runs} == {stored}
