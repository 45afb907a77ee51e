"""Stores that other programs serve: what is special about Redis, object stores, other servers."""

import gc
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import obstore
import pytest
import trio

from builder.base.digest import digest_of
from builder.base.errors import (
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
    UsageError,
)
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.action_cache import ActionCacheService
from builder.server.instances import Instances
from builder.stores import object as object_
from builder.stores import redis
from builder.stores.action_cache import CheckedActionCache
from builder.stores.disk_records import DiskRecords
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import RESULTS, MemoryRecords, Records
from builder.stores.redis_pool import MOST, Pool
from builder.stores.remote import RemoteRecords
from builder.stores.verifying import VerifyingBlobs
from tests.server.direct import DirectChannel
from tests.stores.conftest import MIB
from tests.stores.servers import BUCKET, redis_process, redis_server, s3_options

DATA = b"some bytes"
DIGEST = digest_of(DATA)
RESULT = pb.ActionResult(stdout_raw=b"hello").SerializeToString()
NAME = f"{'ab' * 32}-142"


def far_cache() -> DirectChannel:
    blobs = MemoryBlobStore(MIB)
    cache = CheckedActionCache(blobs, MemoryRecords(MIB))
    return DirectChannel(ActionCacheService(cache, blobs, Instances()).service())


@pytest.fixture(params=["memory", "disk", "redis", "redis-expiring", "object", "remote"])
async def records(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    match request.param:
        case "memory":
            yield MemoryRecords(MIB)
        case "disk":
            disk = DiskRecords(tmp_path / "records", MIB)
            yield disk
            disk.close()
        case "object":
            url = f"s3://{BUCKET}/{tmp_path.name}"
            yield object_.ObjectRecords(object_.opened(url, s3_options(), 60.0))
        case "remote":
            yield RemoteRecords(far_cache(), "an/instance")
        case _:
            expire_s = 600 if request.param == "redis-expiring" else 0
            with redis_server() as url:
                async with redis.connected(url, 60.0) as client:
                    yield redis.RedisRecords(client, "t:", expire_s)


@pytest.mark.parametrize("instance", ["", "a/b"])
async def test_a_result_that_was_put_is_there(records: Records, instance: str) -> None:
    """In its space alone; the last one put counts."""
    space, other = f"{RESULTS}sha256/{instance}", f"{RESULTS}blake3/{instance}"
    assert await records.get(space, NAME) is None
    await records.put(space, NAME, RESULT)
    await records.put(space, NAME, RESULT)
    assert await records.get(space, NAME) == RESULT
    assert await records.get(other, NAME) is None
    assert await records.get(space, "cd" * 32 + "-142") is None
    later = pb.ActionResult(stdout_raw=b"later").SerializeToString()
    await records.put(space, NAME, later)
    assert await records.get(space, NAME) == later


async def test_another_server_has_results_only() -> None:
    """Its instance is the configured one, and records of another kind are not for it."""
    channel = far_cache()
    far = RemoteRecords(channel, "far")
    await far.put("asset/x", NAME, b"no result")
    assert await far.get("asset/x", NAME) is None
    assert not channel.calls
    await far.put(f"{RESULTS}sha256/near", NAME, RESULT)
    assert await far.get(f"{RESULTS}sha256/other", NAME) == RESULT
    assert await RemoteRecords(channel, "").get(f"{RESULTS}sha256/near", NAME) is None


async def test_redis_that_is_full_says_so() -> None:
    """A write for which Redis has no memory is RESOURCE_EXHAUSTED, and what it has is served."""
    with redis_process() as server:
        server.kill()
        server.start("--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
        async with redis.connected(server.url, 60.0) as client:
            store = redis.RedisBlobs(client, "t:", 8 * MIB)
            await store.put(DIGEST, DATA)
            with pytest.raises(ResourceExhaustedError, match="Redis is full"):
                for number in range(20):
                    data = bytes([number]) * MIB
                    await store.put(digest_of(data), data)
            assert await store.get(DIGEST) == DATA
            large = bytes(9 * MIB)
            with pytest.raises(ResourceExhaustedError, match="larger than the whole store"):
                await store.put(digest_of(large), large)


async def test_redis_forgets_what_nobody_uses() -> None:
    """Blobs expire; being asked for makes them last again."""
    with redis_server() as url:
        async with redis.connected(url, 60.0) as client:
            store = redis.RedisBlobs(client, "t:", MIB, expire_s=1000)
            await store.put(DIGEST, DATA)
            key = f"t:cas:sha256:{DIGEST.hash}"
            assert 0 < await client.ttl(key) <= 1000
            await client.expire(key, 10)
            assert await store.find_missing([DIGEST]) == []
            assert await client.ttl(key) > 10


async def test_no_outage_is_one_too_many_for_the_connections_to_redis() -> None:
    """Those that were lost with a call that was cancelled, or died in somebody's hands, are
    replaced; there are never more than so many."""
    with redis_process() as server:
        async with redis.connected(server.url, 60.0) as client:
            store = redis.RedisBlobs(client, "t:", MIB)
            pool = client.connection_pool
            assert isinstance(pool, Pool)
            dying = [await pool.get_connection() for _ in range(MOST)]
            with trio.move_on_after(0.01):
                await pool.get_connection()
                raise AssertionError("more connections than there may be")
            server.kill()
            for connection in dying:
                while connection.usable:  # noqa: ASYNC110 - nobody tells
                    await trio.sleep(0.01)
                pool.release(connection)
            while not pool._available_connections.empty():  # as calls that are cancelled do
                await pool._available_connections.get()
            server.start()
            with trio.fail_after(60):
                await store.put(DIGEST, DATA)
                async with trio.open_nursery() as nursery:
                    for _ in range(3 * MOST):
                        nursery.start_soon(store.find_missing, [DIGEST])
                assert await store.get(DIGEST) == DATA


async def test_redis_that_cannot_be_reached_leaves_nothing_open() -> None:
    """Nobody there, and nobody who takes the call before its caller has lost patience."""
    with socket.create_server(("127.0.0.1", 0)) as silent, tempfile.TemporaryDirectory() as folder:
        port = silent.getsockname()[1]
        for url in (f"unix://{folder}/none", f"redis://127.0.0.1:{port}/0"):
            async with redis.connected(url, 60.0) as client:
                store = redis.RedisBlobs(client, "t:", MIB)
                for _ in range(5):
                    with trio.move_on_after(0.01), suppress(UnavailableError):
                        await store.get(DIGEST)
            gc.collect()  # what is open warns here


async def test_redis_that_dies_and_comes_back() -> None:
    """While it is away calls are UNAVAILABLE; afterwards the same client serves again."""
    with redis_process() as server:
        async with redis.connected(server.url, 60.0) as client:
            store = redis.RedisBlobs(client, "t:", MIB)
            await store.put(DIGEST, DATA)
            server.kill()
            for call in (store.get(DIGEST), store.find_missing([DIGEST]), store.put(DIGEST, DATA)):
                with pytest.raises(UnavailableError, match="Redis"):
                    await call
            server.start()
            assert await store.find_missing([DIGEST]) == [DIGEST]
            await store.put(DIGEST, DATA)
            assert await store.get(DIGEST) == DATA


async def test_damage_in_shared_stores(tmp_path: Path) -> None:
    """What somebody else has overwritten is not believed: blobs are missing, records are none."""
    bucket = object_.opened(f"s3://{BUCKET}/{tmp_path.name}", s3_options(), 60.0)
    blobs, results = object_.ObjectBlobs(bucket, MIB), object_.ObjectRecords(bucket)
    await blobs.put(DIGEST, DATA)
    await results.put("s", NAME, RESULT)
    for entry in obstore.list(bucket).collect():
        stored = bytes(obstore.get(bucket, entry["path"]).bytes())
        obstore.put(bucket, entry["path"], stored[:-1] + b"!")
    store = VerifyingBlobs(blobs)
    with pytest.raises(NotFoundError, match="damaged"):
        await store.get(DIGEST)
    assert await store.find_missing([DIGEST]) == [DIGEST]
    assert await results.get("s", NAME) is None
    with redis_server() as url:
        async with redis.connected(url, 60.0) as client:
            kept = redis.RedisRecords(client, "t:")
            await kept.put("s", NAME, RESULT)
            await client.append("t:s:" + NAME, b"!")
            assert await kept.get("s", NAME) is None
            await kept.put("s", NAME, RESULT)
            await client.rename("t:s:" + NAME, "t:t:" + NAME)  # whole, and another one's
            assert await kept.get("t", NAME) is None


async def test_an_object_store_that_cannot_be_had() -> None:
    """No bucket and no server are UNAVAILABLE, an unknown kind of store is a mistake of the
    configuration."""
    options = s3_options()
    nowhere = {**options, "endpoint": "http://127.0.0.1:9"}
    for url, how in (("s3://no-such-bucket/x", options), (f"s3://{BUCKET}", nowhere)):
        store = object_.ObjectBlobs(object_.opened(url, how, 60.0, retries=0), MIB)
        with pytest.raises(UnavailableError, match="object store"):
            await store.put(DIGEST, DATA)
    for url, how in (("ftp://x/y", {}), (f"s3://{BUCKET}", {"no_such_option": "x"})):
        with pytest.raises(UsageError):
            object_.opened(url, how, 1.0)
    with pytest.raises(UsageError):
        async with redis.connected("http://x", 1.0):
            pass
