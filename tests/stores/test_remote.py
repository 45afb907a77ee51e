"""What is special about blobs in another server: batches, and servers that are wrong."""

from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing

from builder.base.digest import digest_of
from builder.base.errors import (
    DataLossError,
    NotFoundError,
    StatusError,
    UnavailableError,
)
from builder.net.rpc import Context, Method, Service
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.action_cache import ActionCacheService
from builder.server.instances import Instances
from builder.stores.action_cache import CheckedActionCache
from builder.stores.coalesce import Coalescer
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from builder.stores.remote import CAS, RemoteActionCache, RemoteBlobStore
from tests.server.direct import DirectChannel
from tests.stores.conftest import services_of

MIB = 1024 * 1024


async def all_at_once(calls: Sequence[Callable[[], object]]) -> None:
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)  # type: ignore[arg-type]  # async functions


async def test_concurrent_small_calls_share_batches() -> None:
    """A thousand concurrent puts and gets take a handful of calls."""
    channel = DirectChannel(*services_of(MemoryBlobStore(MIB)))
    store = RemoteBlobStore(channel)
    blobs = [b"%d" % number for number in range(1000)]
    await all_at_once([lambda data=data: store.put(digest_of(data), data) for data in blobs])

    async def check(data: bytes) -> None:
        assert await store.get(digest_of(data)) == data

    await all_at_once([lambda data=data: check(data) for data in blobs])
    assert channel.calls == {f"{CAS}BatchUpdateBlobs": 1, f"{CAS}BatchReadBlobs": 1}


async def test_batches_stay_below_the_limit() -> None:
    """Blobs that do not fit one batch go in several, none above the server's limit."""
    sizes: list[int] = []

    async def perform(items: Sequence[int]) -> list[int]:
        await trio.lowlevel.checkpoint()
        sizes.append(sum(items))
        return [item * 2 for item in items]

    joined: Coalescer[int, int] = Coalescer(perform, lambda item: item, limit=100)

    async def check(item: int) -> None:
        assert await joined.ask(item) == item * 2

    await all_at_once([lambda item=item: check(item) for item in [*range(1, 60), 150]])
    assert sum(sizes) == sum(range(60)) + 150
    assert all(size <= 100 or size == 150 for size in sizes)
    assert len(sizes) < 40


async def test_one_failure_is_one_callers() -> None:
    """A blob that is absent fails its caller; the others of the batch get theirs."""
    channel = DirectChannel(*services_of(MemoryBlobStore(MIB)))
    store = RemoteBlobStore(channel)
    await store.put(digest_of(b"here"), b"here")
    outcomes: dict[bytes, object] = {}

    async def get(data: bytes) -> None:
        try:
            outcomes[data] = await store.get(digest_of(data))
        except NotFoundError:
            outcomes[data] = None

    await all_at_once([lambda data=data: get(data) for data in (b"here", b"gone")])
    assert outcomes == {b"here": b"here", b"gone": None}
    assert channel.calls[f"{CAS}BatchReadBlobs"] == 1


async def test_a_failed_batch_fails_all_of_it() -> None:
    """When the call fails, each caller gets the error, its own copy."""

    async def perform(items: Sequence[int]) -> list[int]:
        await trio.lowlevel.checkpoint()
        raise UnavailableError("the server is gone")

    joined: Coalescer[int, int] = Coalescer(perform, lambda item: 1, limit=100)
    errors: list[StatusError] = []

    async def ask() -> None:
        try:
            await joined.ask(1)
        except StatusError as error:
            errors.append(error)

    await all_at_once([ask, ask, ask])
    assert [error.message for error in errors] == ["the server is gone"] * 3
    assert len({id(error) for error in errors}) == 3


async def test_a_cancelled_leader_leaves_the_others_served() -> None:
    """Cancelling the caller that carries a batch makes another one carry it."""
    started = trio.Event()
    rounds: list[list[int]] = []

    async def perform(items: Sequence[int]) -> list[int]:
        rounds.append(list(items))
        started.set()
        if len(rounds) == 1:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return list(items)

    joined: Coalescer[int, int] = Coalescer(perform, lambda item: 1, limit=100)
    results: list[int] = []

    async def ask(item: int) -> None:
        results.append(await joined.ask(item))

    with trio.fail_after(60):
        async with trio.open_nursery() as others, trio.open_nursery() as leader:
            leader.start_soon(ask, 0)
            await trio.testing.wait_all_tasks_blocked()
            assert rounds == [[0]]
            for item in (1, 2):
                others.start_soon(ask, item)
            await started.wait()
            leader.cancel_scope.cancel()
    assert sorted(results) == [1, 2]


async def test_wrong_bytes_are_data_loss() -> None:
    """A server that sends other bytes than those named is not believed."""
    digest = digest_of(b"right")

    def wrong(_request: bytes, _context: Context) -> bytes:
        response = pb.BatchReadBlobsResponse()
        response.responses.add(digest=to_proto(digest), data=b"wrong")
        return response.SerializeToString()

    service = Service("cas", (Method(f"{CAS}BatchReadBlobs", unary=wrong),))
    with pytest.raises(DataLossError, match="damaged"):
        await RemoteBlobStore(DirectChannel(service)).get(digest)


async def test_results_of_another_server() -> None:
    """Results go there and come back; a miss is None."""
    blobs = MemoryBlobStore(MIB)
    near = CheckedActionCache(blobs, MemoryRecords(MIB))
    cache = RemoteActionCache(DirectChannel(ActionCacheService(near, blobs, Instances()).service()))
    action = digest_of(b"action", "blake3")
    assert await cache.lookup("i", action) is None
    result = pb.ActionResult(exit_code=0, stdout_raw=b"hello")
    await cache.store("i", action, result)
    assert await cache.lookup("i", action) == result
    assert await cache.lookup("other", action) is None
