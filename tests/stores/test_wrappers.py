"""What each wrapper adds to the store that it wraps."""

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from builder.stores.breaker import Breaker, GuardedBlobs, GuardedRecords
from builder.stores.by_size import BySizeBlobs
from builder.stores.existence_cache import ExistenceCachedBlobs
from builder.stores.interface import PIECE
from builder.stores.memory import MemoryBlobStore
from builder.stores.metered import Meter, MeteredBlobs, MeteredLocalBlobs, MeteredRecords
from builder.stores.read_only import ReadOnlyBlobs, ReadOnlyRecords
from builder.stores.records import MemoryRecords
from builder.stores.verifying import VerifyingBlobs
from tests.stores.conftest import MIB, Time
from tests.stores.failing import FailingBlobs, FailingRecords

DATA = b"some bytes"
DIGEST = digest_of(DATA)
LARGE = bytes(2 * PIECE + 100)
LARGE_DIGEST = digest_of(LARGE)
OTHER = digest_of(b"other")
H = "ab" * 32


class Lying(FailingBlobs):
    """Gives other bytes than it was given."""

    async def get(self, digest: Digest) -> bytes:
        return (await super().get(digest))[:-1] + b"!"

    async def read(self, digest: Digest, offset: int = 0, limit: int | None = None):  # type: ignore[no-untyped-def]
        data = (await self.inner.get(digest))[:-1] + b"!"
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]


async def test_read_only() -> None:
    """It is read; writing what is there is no error; the rest is refused, wrong bytes too."""
    inner = MemoryBlobStore(MIB)
    await inner.put(DIGEST, DATA)
    store = ReadOnlyBlobs(inner)
    assert await store.get(DIGEST) == DATA
    assert [piece async for piece in store.read(DIGEST, 5)] == [b"bytes"]
    assert await store.size_of("sha256", DIGEST.hash) == len(DATA)
    await store.put(DIGEST, DATA)
    with pytest.raises(PermissionDeniedError, match="read-only"):
        await store.put(OTHER, b"other")
    with pytest.raises(InvalidArgumentError):
        await store.put(OTHER, b"wrong")
    assert await store.find_missing([DIGEST, OTHER]) == [OTHER]
    records = MemoryRecords(MIB)
    await records.put("s", H, b"value")
    frozen = ReadOnlyRecords(records)
    await frozen.put("s", H, b"value")
    with pytest.raises(PermissionDeniedError, match="read-only"):
        await frozen.put("s", H, b"another")
    assert await frozen.get("s", H) == b"value"


@pytest.mark.parametrize("data", [DATA, LARGE])
async def test_damage_is_missing_until_it_is_written_again(data: bytes) -> None:
    """Bytes whose hash is wrong are never handed out whole; from then on the blob is missing."""
    digest = digest_of(data)
    inner, told = Lying(MemoryBlobStore(8 * MIB)), []
    store = VerifyingBlobs(inner, told.append)
    await store.put(digest, data)
    assert await store.find_missing([digest, OTHER]) == [OTHER]
    got = b""
    with pytest.raises(NotFoundError, match="damaged"):
        async for piece in store.read(digest):
            got += piece
    assert len(got) < len(data)
    assert told == [digest]
    assert store.damaged == 1
    assert await store.find_missing([digest, OTHER]) == [digest, OTHER]
    assert await store.size_of("sha256", digest.hash) is None
    with pytest.raises(NotFoundError):
        await store.get(digest)
    await store.put(digest, data)
    assert await store.find_missing([digest]) == []
    with pytest.raises(NotFoundError, match="damaged"):
        await store.get(digest)
    assert store.damaged == 2


async def test_by_size() -> None:
    """Each blob is where its size says, and nowhere else."""
    small, large = MemoryBlobStore(8 * MIB), MemoryBlobStore(8 * MIB)
    store = BySizeBlobs(len(DATA), small, large)
    await store.put(DIGEST, DATA)
    await store.put(LARGE_DIGEST, LARGE)
    assert await small.find_missing([DIGEST, LARGE_DIGEST]) == [LARGE_DIGEST]
    assert await large.find_missing([DIGEST, LARGE_DIGEST]) == [DIGEST]
    assert await store.size_of("sha256", LARGE_DIGEST.hash) == len(LARGE)


async def test_what_was_present_is_not_asked_again(clock: Time) -> None:
    """Until it is old, or found to be gone; what is missing is always asked for."""
    inner = FailingBlobs(MemoryBlobStore(MIB, 0.0))
    store = ExistenceCachedBlobs(inner, 60.0, 2, clock)
    await store.put(DIGEST, DATA)
    for _ in range(3):
        assert await store.find_missing([OTHER, DIGEST]) == [OTHER]
    assert inner.asked == [OTHER] * 3
    clock.now += 60
    assert await store.find_missing([DIGEST]) == []
    assert inner.asked[3:] == [DIGEST]
    inner.inner = MemoryBlobStore(MIB)  # all is gone
    assert await store.find_missing([DIGEST]) == []
    with pytest.raises(NotFoundError):
        await store.get(DIGEST)
    assert await store.find_missing([DIGEST]) == [DIGEST]
    for number in range(3):  # more than it remembers: the oldest goes
        await store.put(digest_of(b"%d" % number), b"%d" % number)
    inner.asked.clear()
    assert await store.find_missing([digest_of(b"%d" % number) for number in range(3)]) == []
    assert inner.asked == [digest_of(b"0")]


async def test_metered() -> None:
    """Hits, misses, bytes both ways, failures and times are counted."""
    observed: list[str] = []
    inner = FailingBlobs(MemoryBlobStore(8 * MIB))
    meter = Meter("tier", lambda operation, seconds: observed.append(operation))
    store = MeteredBlobs(inner, meter)
    await store.put(DIGEST, DATA)
    await store.find_missing([DIGEST, OTHER])
    await store.get(DIGEST)
    with pytest.raises(NotFoundError):
        await store.get(OTHER)
    inner.down = True
    with pytest.raises(UnavailableError):
        await store.get(DIGEST)
    assert (meter.hits, meter.misses, meter.failures) == (2, 2, 1)
    assert (meter.read_bytes, meter.written_bytes) == (len(DATA), len(DATA))
    assert observed == ["put", "find", "get", "get", "get"]


async def test_metered_at_once() -> None:
    """What a local store answers at once is counted too."""
    meter = Meter("tier")
    store = MeteredLocalBlobs(MemoryBlobStore(8 * MIB), meter)
    assert store.put_nowait(DIGEST, DATA)
    assert store.absent_nowait("sha256", [DIGEST, OTHER]) == [OTHER]
    assert store.get_nowait(DIGEST) == DATA
    assert (meter.hits, meter.misses) == (2, 1)
    assert (meter.read_bytes, meter.written_bytes) == (len(DATA), len(DATA))
    records = MeteredRecords(MemoryRecords(MIB), meter)
    await records.put("s", H, b"value")
    assert await records.get("s", H) == b"value"
    assert await records.get("t", H) is None
    assert (meter.hits, meter.misses) == (3, 2)


async def test_a_breaker_opens_at_a_failure_and_closes_at_a_probe(autojump_clock: object) -> None:
    """A tier that failed is not asked, until a probe finds it well."""
    inner, breaker = FailingBlobs(MemoryBlobStore(MIB)), Breaker("far")
    store = GuardedBlobs(inner, breaker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.keep, lambda: inner.find_missing([DIGEST]))
        await store.put(DIGEST, DATA)
        inner.down = True
        with pytest.raises(UnavailableError, match="taken down"):
            await store.get(DIGEST)
        assert breaker.why == "it was taken down"
        calls = inner.calls["get"]
        with pytest.raises(UnavailableError, match="storage tier far is down: it was taken down"):
            await store.get(DIGEST)
        assert inner.calls["get"] == calls
        await trio.sleep(100)
        assert breaker.why
        inner.down = False
        await trio.sleep(20)
        assert breaker.why == ""
        assert await store.get(DIGEST) == DATA
        nursery.cancel_scope.cancel()


async def test_a_breaker_at_the_start(autojump_clock: object) -> None:
    """A tier that is down from the start is known to be, before anybody asks."""
    inner, breaker = FailingRecords(MemoryRecords(MIB)), Breaker("far")
    inner.down = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.keep, lambda: inner.get("probe", H))
        await trio.sleep(0.5)
        with pytest.raises(UnavailableError, match="is down"):
            await GuardedRecords(inner, breaker).get("s", H)
        inner.down = False
        await trio.sleep(100)
        assert breaker.why == ""
        inner.down = True  # and nobody asks
        await trio.sleep(100)
        assert breaker.why == "it was taken down"
        nursery.cancel_scope.cancel()


async def test_what_takes_too_long_has_failed(autojump_clock: object) -> None:
    """A tier that does not answer within its time is down."""
    inner, breaker = FailingBlobs(MemoryBlobStore(MIB)), Breaker("far", timeout_s=5.0)

    async def never(_digest: Digest) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    inner.get = never  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="no answer within 5 s"):
        await GuardedBlobs(inner, breaker).get(DIGEST)
    assert breaker.why == "no answer within 5 s"


async def test_a_writer_that_fails_is_not_the_tiers_failure() -> None:
    """The client's broken upload does not open the breaker."""
    breaker = Breaker("far")

    async def broken():  # type: ignore[no-untyped-def]
        yield b"some"
        raise UnavailableError("the client is gone")

    source = broken()
    with pytest.raises(UnavailableError, match="the client is gone"):
        await GuardedBlobs(MemoryBlobStore(MIB), breaker).write(DIGEST, source)
    await source.aclose()
    assert breaker.why == ""
