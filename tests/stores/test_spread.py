"""Stores side by side: shards and mirrors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.digest import digest_of
from builder.base.errors import NotFoundError, ResourceExhaustedError, UnavailableError
from builder.stores.memory import MemoryBlobStore
from builder.stores.mirrored import MirroredBlobs, MirroredRecords
from builder.stores.records import MemoryRecords
from builder.stores.rendezvous import ranked
from builder.stores.sharded import Shard, ShardedBlobs, ShardedRecords
from tests.stores.conftest import MIB
from tests.stores.failing import FailingBlobs, FailingRecords

BLOBS = {digest_of(b"%d" % number): b"%d" % number for number in range(60)}
NAMES = [digest.hash for digest in BLOBS]
PLACES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.floats(0.01, 100.0), min_size=1, max_size=6
)


@settings(max_examples=50, deadline=None)
@given(PLACES, st.floats(0.01, 100.0))
def test_adding_a_shard_moves_only_its_share(places: dict[str, float], weight: float) -> None:
    """Every name stays where it was or goes to the new place; the order of the others is kept."""
    more = {**places, "new": weight}
    for name in NAMES:
        before, after = ranked(name, places), ranked(name, more)
        assert after[0] in (before[0], "new")
        assert [place for place in after if place != "new"] == before


@settings(max_examples=50, deadline=None)
@given(PLACES)
def test_reweighing_a_shard_moves_only_its_share(places: dict[str, float]) -> None:
    """A place that gets heavier takes names, and no name moves between others."""
    grown = min(places)
    heavier = {**places, grown: places[grown] * 2}
    for name in NAMES:
        assert ranked(name, heavier)[0] in (ranked(name, places)[0], grown)


def test_shares_follow_the_weights() -> None:
    """Of 6000 names, a place of three quarters of the weight has three quarters."""
    weights = {"a": 3.0, "b": 1.0}
    names = [f"name {number}" for number in range(6000)]
    assert 4350 < sum(ranked(name, weights)[0] == "a" for name in names) < 4650


def shards() -> tuple[dict[str, FailingBlobs], ShardedBlobs]:
    inner = {name: FailingBlobs(MemoryBlobStore(MIB)) for name in "abc"}
    return inner, ShardedBlobs({name: Shard(store) for name, store in inner.items()})


async def test_each_blob_is_in_its_shard() -> None:
    """In one place, and all of them have some."""
    inner, store = shards()
    for digest, data in BLOBS.items():
        await store.put(digest, data)
    held = {name: len(BLOBS) - len(await one.find_missing(BLOBS)) for name, one in inner.items()}
    assert sum(held.values()) == len(BLOBS)
    assert min(held.values()) > 0


async def test_a_failed_shard_is_taken_over() -> None:
    """Its share is missing, can be written and read again; nothing else notices. When it is back,
    all that was ever said to be stored is found."""
    inner, store = shards()
    for digest, data in BLOBS.items():
        await store.put(digest, data)
    inner["b"].down = True
    missing = await store.find_missing(BLOBS)
    assert missing == await inner["b"].inner.find_missing(BLOBS) or missing
    held = set(BLOBS) - set(await inner["b"].inner.find_missing(BLOBS))
    assert set(missing) == held
    with pytest.raises(NotFoundError):
        await store.get(missing[0])
    first, second = missing[:2]
    await store.put(first, BLOBS[first])
    await store.put(second, BLOBS[second])
    assert await store.find_missing(BLOBS) == missing[2:]
    assert await store.get(first) == BLOBS[first]
    inner["b"].down = False
    fresh = MemoryBlobStore(MIB)
    inner["b"].inner = fresh  # it has lost everything
    assert await store.find_missing(BLOBS) == missing[2:]
    assert b"".join([piece async for piece in store.read(second)]) == BLOBS[second]


async def test_sharded_records() -> None:
    """Each in its place, and in the next one while that fails."""
    inner = {name: FailingRecords(MemoryRecords(MIB)) for name in "ab"}
    store = ShardedRecords({name: (records, 1.0) for name, records in inner.items()})
    for name in NAMES:
        await store.put("s", name, name.encode())
    assert [await store.get("s", name) for name in NAMES] == [name.encode() for name in NAMES]
    inner["a"].down = True
    found = [name for name in NAMES if await store.get("s", name) is not None]
    assert 0 < len(found) < len(NAMES)
    lost = next(name for name in NAMES if name not in found)
    await store.put("s", lost, b"again")
    assert await store.get("s", lost) == b"again"
    inner["b"].down = True
    assert await store.get("s", NAMES[0]) is None
    with pytest.raises(UnavailableError):
        await store.put("s", NAMES[0], b"")


def mirror(capacity: int = MIB) -> tuple[FailingBlobs, FailingBlobs, MirroredBlobs]:
    a, b = FailingBlobs(MemoryBlobStore(MIB)), FailingBlobs(MemoryBlobStore(capacity))
    return a, b, MirroredBlobs(a, b)


@pytest.mark.parametrize("side", [0, 1])
async def test_every_blob_is_there_twice(side: int) -> None:
    """And is served while either side is gone."""
    *sides, store = mirror()
    for digest, data in BLOBS.items():
        await store.put(digest, data)
    sides[side].down = True
    assert await store.find_missing(BLOBS) == []
    for digest, data in BLOBS.items():
        assert await store.get(digest) == data


@pytest.mark.parametrize("side", [0, 1])
async def test_a_side_that_was_gone_is_repaired(side: int) -> None:
    """By questions and by reads, from the other one."""
    *sides, store = mirror()
    sides[side].down = True
    for digest, data in BLOBS.items():
        await store.put(digest, data)
    assert store.unpaired == len(BLOBS)
    sides[side].down = False
    digests = list(BLOBS)
    assert await store.find_missing(digests[:30]) == []
    assert await sides[side].inner.find_missing(digests) == digests[30:]
    for digest in digests:
        assert await store.get(digest) == BLOBS[digest]
    assert await store.find_missing(digests) == []
    assert await sides[side].inner.find_missing(digests) == []
    assert store.repaired == len(BLOBS)


async def test_a_mirror_without_both_sides() -> None:
    """Everything is missing, reads are NOT_FOUND, and writes say what is the matter."""
    a, b, store = mirror()
    a.down = b.down = True
    digest, data = next(iter(BLOBS.items()))
    assert await store.find_missing([digest]) == [digest]
    with pytest.raises(NotFoundError):
        await store.get(digest)
    with pytest.raises(UnavailableError):
        await store.put(digest, data)


async def test_a_side_that_is_full() -> None:
    """One copy is enough to say yes; none is not."""
    _, _, store = mirror(capacity=10)
    data = bytes(1000)
    await store.put(digest_of(data), data)
    assert await store.get(digest_of(data)) == data
    assert store.unpaired == 1
    with pytest.raises(ResourceExhaustedError):
        await store.put(digest_of(bytes(2 * MIB)), bytes(2 * MIB))


async def test_mirrored_records() -> None:
    """Two copies, one of them enough; what one side lacks it gets when it is met."""
    a, b = FailingRecords(MemoryRecords(MIB)), FailingRecords(MemoryRecords(MIB))
    store = MirroredRecords(a, b)
    name = NAMES[0]
    await store.put("s", name, b"one")
    a.down = True
    assert await store.get("s", name) == b"one"
    await store.put("s", name, b"two")
    await store.put("t", name, b"new")
    a.down = False
    assert await store.get("t", name) == b"new"
    b.down = True
    assert await store.get("t", name) == b"new"
    a.down = True
    assert await store.get("t", name) is None
    with pytest.raises(UnavailableError):
        await store.put("t", name, b"")
