"""Two tiers: what is filled, what is promised, and what happens when one of them fails."""

import random
from pathlib import Path

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import NotFoundError, ResourceExhaustedError, UnavailableError
from builder.stores.backlog import Backlog
from builder.stores.disk import DiskBlobStore
from builder.stores.failure import TooLargeError
from builder.stores.interface import PIECE
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords
from builder.stores.tiered import Keeping, Onward, Through, TieredBlobs, nowhere
from builder.stores.tiered_nearby import NearbyTieredBlobs
from builder.stores.tiered_records import ThroughRecords, TieredRecords
from builder.stores.write_back import BackBlobs, BackRecords, WriteBack, record_name
from tests.stores.conftest import MIB, Time
from tests.stores.failing import FailingBlobs, FailingRecords

DATA = b"some bytes"
DIGEST = digest_of(DATA)
LARGE = bytes(2 * PIECE + 100)
LARGE_DIGEST = digest_of(LARGE)
H = "ab" * 32


def memory(capacity: int = 8 * MIB) -> FailingBlobs:
    return FailingBlobs(MemoryBlobStore(capacity))


async def whole(store: TieredBlobs, digest: Digest) -> bytes:
    return b"".join([piece async for piece in store.read(digest)])


@pytest.mark.parametrize("data", [DATA, LARGE])
async def test_what_is_read_far_is_near_afterwards(data: bytes) -> None:
    """The first read comes from far and fills; the next one asks nobody far."""
    digest = digest_of(data)
    near, far = MemoryBlobStore(8 * MIB), memory()
    store = TieredBlobs(near, far, nowhere)
    await far.inner.put(digest, data)
    assert await store.find_missing([digest]) == []
    assert await whole(store, digest) == data
    assert await near.find_missing([digest]) == []
    far.down = True
    assert await whole(store, digest) == data
    assert await store.get(digest) == data


async def test_a_damaged_blob_is_healed_from_the_other_tier(tmp_path: Path, clock: Time) -> None:
    """What is damaged on the disk is put aside, read from far, and whole near again."""
    near = DiskBlobStore(tmp_path / "near", 64 * MIB, 3600.0, "none", clock, pack=False)
    far = memory()
    store = TieredBlobs(near, far, Through(near, far))
    for data in (DATA, LARGE):
        await store.put(digest_of(data), data)
    path = Path(near.path(LARGE_DIGEST))
    path.chmod(0o600)
    path.write_bytes(LARGE[:-1] + b"!")
    for segment in (tmp_path / "near" / "segments").glob("*.seg"):
        torn = segment.read_bytes()
        assert DATA in torn
        segment.write_bytes(torn.replace(DATA, b"some BYTES"))
    for data in (DATA, LARGE):
        assert await store.get(digest_of(data)) == data
    assert near.snapshot().lost_blobs == 2
    assert len(list((tmp_path / "near" / "quarantine").iterdir())) == 2
    far.down = True  # the near copies are whole again
    for data in (DATA, LARGE):
        assert await store.get(digest_of(data)) == data
    near.close()


async def test_damage_that_nobody_heals_is_missing() -> None:
    """A blob that neither tier can give is missing, for questions and for reads."""
    near, far = memory(), memory()
    store = TieredBlobs(near, far, nowhere)
    assert await store.find_missing([DIGEST]) == [DIGEST]
    with pytest.raises(NotFoundError):
        await store.get(DIGEST)


async def test_a_far_tier_that_is_down_breaks_nothing() -> None:
    """While it is down, what is near is served, writes stay near, and the rest is missing."""
    near, far = memory(), memory()
    through = Through(near, far)
    store = TieredBlobs(near, far, through)
    await far.inner.put(LARGE_DIGEST, LARGE)
    far.down = True
    await store.put(DIGEST, DATA)
    assert through.skipped == 1
    assert await store.find_missing([DIGEST, LARGE_DIGEST]) == [LARGE_DIGEST]
    assert await store.get(DIGEST) == DATA
    with pytest.raises(NotFoundError):
        await whole(store, LARGE_DIGEST)
    assert store.far_failures >= 2


async def test_a_far_tier_that_is_required_fails_calls() -> None:
    """Where the configuration says so, what only the far tier could answer is UNAVAILABLE."""
    near, far = memory(), memory()
    through = Through(near, far, required=True)
    store = TieredBlobs(near, far, through, Keeping(far_required=True))
    await near.inner.put(LARGE_DIGEST, LARGE)
    far.down = True
    assert await store.find_missing([LARGE_DIGEST]) == []
    for call in (store.find_missing([DIGEST]), store.get(DIGEST), store.put(DIGEST, DATA)):
        with pytest.raises(UnavailableError):
            await call


async def test_a_near_tier_that_is_down_or_full_is_gone_around() -> None:
    """Reads and writes go far when the near tier cannot take them."""
    near, far = memory(capacity=100), memory()
    store = TieredBlobs(near, far, Through(near, far))
    await store.put(LARGE_DIGEST, LARGE)  # larger than the near tier
    assert await whole(store, LARGE_DIGEST) == LARGE
    careful = TieredBlobs(near, far, Through(near, far), Keeping(far=False))
    with pytest.raises(ResourceExhaustedError):  # rather than a copy that nobody promises
        await careful.put(LARGE_DIGEST, LARGE)
    near.down = True
    await store.put(DIGEST, DATA)
    assert await store.get(DIGEST) == DATA
    assert await store.find_missing([DIGEST, LARGE_DIGEST]) == []


async def test_a_read_goes_on_in_the_other_tier() -> None:
    """A tier that fails in the middle of a blob is continued by the other one."""
    near, far = memory(), memory()
    store = TieredBlobs(near, far, nowhere)
    for tier in (near, far):
        await tier.inner.put(LARGE_DIGEST, LARGE)
    got = b""
    async for piece in store.read(LARGE_DIGEST):
        got += piece
        near.down = True
    assert got == LARGE
    assert far.calls["read"] == 1


async def test_a_far_tier_without_leases_is_brought_near_before_it_is_promised() -> None:
    """What only it has is near when it is said to be present; what cannot be is missing."""
    near, far = memory(capacity=100), memory()
    store = TieredBlobs(near, far, nowhere, Keeping(near=True, far=False))
    for data in (DATA, LARGE):
        await far.inner.put(digest_of(data), data)
    assert await store.find_missing([LARGE_DIGEST, DIGEST]) == [LARGE_DIGEST]
    assert await near.inner.find_missing([DIGEST]) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("write", ["through", "back", "near"])
async def test_no_promise_is_broken(clock: Time, seed: int, write: str) -> None:
    """Random calls, a near tier that is often full, and a far one that is down at times and forgets
    everything at others: what was written or found stays readable for the lease, always."""
    chance = random.Random(seed)
    near, far = MemoryBlobStore(6000, 100.0, clock), FailingBlobs(MemoryBlobStore(MIB, 0.0, clock))
    back = BackBlobs(near, far)
    later = WriteBack(Backlog(), 10, "drop", back.carry, back.renew)
    onwards: dict[str, Onward] = {
        "through": Through(near, far),
        "back": lambda digest: later.add(str(digest)),
        "near": nowhere,
    }
    store = TieredBlobs(near, far, onwards[write], Keeping(near=True, far=False))
    blobs = {digest_of(data): data for data in (chance.randbytes(n) for n in range(200, 1000, 20))}
    promised: dict[Digest, float] = {}
    refused = 0
    for _ in range(600):
        digest = chance.choice(list(blobs))
        match chance.randrange(8):
            case 0 | 1:
                try:
                    await store.put(digest, blobs[digest])
                    promised[digest] = clock.now
                except ResourceExhaustedError:
                    refused += 1
            case 2 | 3:
                asked = chance.sample(list(blobs), 5)
                missing = await store.find_missing(asked)
                promised.update((one, clock.now) for one in asked if one not in missing)
            case 4:
                clock.now += chance.randrange(40)
            case 5:
                far.down = not far.down
            case 6:
                far.inner = MemoryBlobStore(MIB, 0.0, clock)
            case 7:
                await later.finish()
        for one, at in promised.items():
            if clock.now - at <= 100.0 and chance.random() < 0.2:
                assert await store.get(one) == blobs[one]
    assert refused
    assert promised


async def test_a_near_tier_without_leases_is_not_asked() -> None:
    """What it has is no promise: the far tier is asked for everything."""
    near, far = memory(), memory()
    store = TieredBlobs(near, far, Through(near, far, required=True), Keeping(near=False))
    await near.inner.put(DIGEST, DATA)
    assert await store.find_missing([DIGEST]) == [DIGEST]
    far.down = True
    assert await store.find_missing([DIGEST]) == []


async def test_the_stamp_changes_when_the_far_tier_fails() -> None:
    """What was found there may be gone, so nobody goes on believing it."""
    inner, far = MemoryBlobStore(MIB), memory()
    store = TieredBlobs(inner, far, nowhere)
    nearby = NearbyTieredBlobs(store, inner)
    before = nearby.stamp()
    assert await nearby.find_missing([DIGEST]) == [DIGEST]
    assert nearby.stamp() == before
    far.down = True
    await nearby.find_missing([DIGEST])
    assert nearby.stamp() != before


async def test_write_back_brings_what_was_written(nursery: trio.Nursery) -> None:
    """A write waits for the near tier only; a moment later the blob is far."""
    near, far = memory(), memory()
    back = BackBlobs(near, far)
    later = WriteBack(Backlog(), 10, "through", back.carry, back.renew)
    store = TieredBlobs(near, far, lambda digest: later.add(str(digest)))
    await store.put(DIGEST, DATA)
    assert len(later) == 1
    nursery.start_soon(later.run)
    await later.empty()
    assert await far.inner.get(DIGEST) == DATA


async def test_what_waits_outlives_the_process(tmp_path: Path) -> None:
    """A backlog in a file is there again after a death, without its last, torn line."""
    near, far = memory(), memory()
    far.down = True
    back = BackBlobs(near, far)
    first = WriteBack(Backlog(tmp_path / "queue"), 10, "through", back.carry, back.renew)
    for data in (DATA, LARGE):
        await near.put(digest_of(data), data)
        await first.add(str(digest_of(data)))
    assert not await first.bring([str(DIGEST)])
    with (tmp_path / "queue").open("a") as file:
        file.write("+sha256:torn")
    far.down = False
    backlog = Backlog(tmp_path / "queue")
    again = WriteBack(backlog, 10, "through", back.carry, back.renew)
    assert list(backlog) == [str(DIGEST), str(LARGE_DIGEST)]
    await again.finish()
    assert await far.find_missing([DIGEST, LARGE_DIGEST]) == []
    assert list(Backlog(tmp_path / "queue")) == []


async def test_a_full_backlog_goes_through_or_drops() -> None:
    """Beyond its bound a write goes through at once, or stays near alone and is counted."""
    near, far = memory(), memory()
    back = BackBlobs(near, far)
    for data in (DATA, LARGE):
        await near.put(digest_of(data), data)
    through = WriteBack(Backlog(), 1, "through", back.carry, back.renew)
    drop = WriteBack(Backlog(), 1, "drop", back.carry, back.renew)
    for one in (drop, through):
        await one.add(str(DIGEST))
        await one.add(str(LARGE_DIGEST))
        assert len(one) == 1
        assert await far.inner.find_missing([LARGE_DIGEST]) == (
            [LARGE_DIGEST] if one is drop else []
        )
    assert (drop.dropped, through.dropped) == (1, 0)


async def test_what_the_far_tier_does_not_take_holds_up_nothing(nursery: trio.Nursery) -> None:
    """What is too large for it is dropped; what it has no room for waits behind the others."""
    near, far = memory(), memory(capacity=100)
    blobs = [LARGE, *(b"%d" % number for number in range(5))]

    async def carry(name: str) -> None:
        if name == "too large":
            raise TooLargeError("never")
        await back.carry(name)

    back = BackBlobs(near, far)
    later = WriteBack(Backlog(), 10, "through", carry, back.renew)
    await later.add("too large")
    for data in blobs:
        await near.put(digest_of(data), data)
        await later.add(str(digest_of(data)))
    assert await later.bring(["too large", *(str(digest_of(data)) for data in blobs)])
    assert (len(later), later.dropped) == (1, 1)
    assert await far.find_missing(map(digest_of, blobs)) == [LARGE_DIGEST]
    assert not await later.bring([str(LARGE_DIGEST)])


async def test_what_waits_is_not_evicted(clock: Time, autojump_clock: object) -> None:
    """While the far tier is down, leases of what waits are renewed, however long it takes: a near
    tier that is full refuses writes, and nothing is lost."""
    near = MemoryBlobStore(len(LARGE) + 100, 100.0, clock)
    far = memory()
    far.down = True
    back = BackBlobs(near, far)
    later = WriteBack(Backlog(), 10, "through", back.carry, back.renew, retry_s=40.0)
    store = TieredBlobs(near, far, lambda digest: later.add(str(digest)))
    await store.put(LARGE_DIGEST, LARGE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(later.run)
        for _ in range(10):  # four leases
            clock.now += 40
            await trio.sleep(40.5)
        other = bytes(1000)
        with pytest.raises(ResourceExhaustedError, match="promised"):
            await near.put(digest_of(other), other)
        far.down = False
        await later.empty()
        nursery.cancel_scope.cancel()
    assert await far.inner.get(LARGE_DIGEST) == LARGE
    assert later.lost == 0


async def test_records_in_two_tiers() -> None:
    """Filled on a miss, written through, and served by whichever tier lives."""
    near, far = (FailingRecords(MemoryRecords(MIB)) for _ in range(2))
    store = TieredRecords(near, far, ThroughRecords(far))
    await far.inner.put("s", H, b"far")
    assert await store.get("s", H) == b"far"
    assert await near.inner.get("s", H) == b"far"
    await store.put("s", H, b"both")
    assert await far.inner.get("s", H) == b"both"
    far.down = True
    await store.put("t", H, b"near")
    assert await store.get("t", H) == b"near"
    assert await store.get("u", H) is None
    near.down, far.down = True, False
    assert await store.get("s", H) == b"both"
    await store.put("v", H, b"around")
    assert await store.get("v", H) == b"around"
    required = TieredRecords(near, far, ThroughRecords(far, required=True), far_required=True)
    near.down, far.down = False, True
    with pytest.raises(UnavailableError):
        await required.get("w", H)
    with pytest.raises(UnavailableError):
        await required.put("w", H, b"")


async def test_records_are_written_back() -> None:
    """By name; one that is gone meanwhile is counted."""
    near, far = MemoryRecords(MIB), MemoryRecords(MIB)
    back = BackRecords(near, far)
    later = WriteBack(Backlog(), 10, "drop", back.carry, back.renew)
    await near.put("a/b", H, b"value")
    for space in ("a/b", "gone"):
        await later.add(record_name(space, H))
    await later.finish()
    assert await far.get("a/b", H) == b"value"
    assert (len(later), later.lost) == (0, 1)
