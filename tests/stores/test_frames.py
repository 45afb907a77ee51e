"""Compressed blobs through stores that are put together: what is kept as frames passes unchanged.

Frames are told from any that a store would make by themselves: they have a checksum and, of large
blobs, a skippable frame with a word of ours, so that the same bytes prove that nobody compressed.
"""

import itertools
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from builder.stores.breaker import Breaker, GuardedBlobs
from builder.stores.by_size import BySizeBlobs
from builder.stores.disk import DiskBlobStore
from builder.stores.existence_cache import ExistenceCachedBlobs
from builder.stores.frames import each, is_packed, read_packed, write_packed
from builder.stores.interface import BlobStore, LocalStore
from builder.stores.memory import MemoryBlobStore
from builder.stores.metered import Meter, MeteredBlobs, MeteredBulkBlobs, MeteredLocalBlobs
from builder.stores.mirrored import MirroredBlobs
from builder.stores.read_only import ReadOnlyBlobs
from builder.stores.remote import RemoteBlobStore
from builder.stores.sharded import Shard, ShardedBlobs
from builder.stores.tiered import Through, TieredBlobs, nowhere
from builder.stores.tiered_nearby import NearbyTieredBlobs
from builder.stores.verifying import VerifyingBlobs
from tests.server.direct import DirectChannel
from tests.stores.conftest import MIB, services_of
from tests.stores.failing import FailingBlobs

WORD = (0x184D2A53).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"proof"


def text(size: int) -> bytes:
    """Compressible to about a half."""
    return b"".join(digest_of(b"%d" % at).hash.encode() for at in range(size // 64 + 1))[:size]


def noise(size: int) -> bytes:
    return bytes.fromhex(text(2 * size).decode())


SMALL, MIDDLE, LARGE = text(3000), text(150_000), text(2 * MIB + 77)
BLOBS = (SMALL, MIDDLE, LARGE, noise(3000), noise(150_000), b"")


def frames_of(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor(level=3, write_checksum=True)
    if len(data) < 64 * 1024:
        return packer.compress(data)
    half = len(data) // 2
    return packer.compress(data[:half]) + WORD + packer.compress(data[half:])


def plain_of(frames: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(frames, read_across_frames=True) as reader:
        return reader.read()


async def joined(pieces: AsyncGenerator[bytes, None]) -> bytes:
    async with aclosing(pieces):
        return b"".join([piece async for piece in pieces])


async def send(store: BlobStore, digest: Digest, frames: bytes, piece: int = 40_000) -> None:
    cuts = [frames[at : at + piece] for at in range(0, len(frames), piece)]
    async with aclosing(each(cuts)) as pieces:
        await write_packed(store, digest, pieces)


class PlainBlobs(FailingBlobs):
    """Can hold nothing but plain bytes, as Redis and object stores; it counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(MemoryBlobStore(64 * MIB))


@dataclass
class Made:
    """A composition; `keeps` says whether all of its leaves keep frames."""

    store: BlobStore
    keeps: bool
    local: LocalStore | None = None


class Maker:
    """Compositions from trees of names; disks are closed with `stack`."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._numbers = itertools.count()

    def disk(self, pack: bool = True) -> DiskBlobStore:
        folder = self._folder / f"disk{next(self._numbers)}"
        disk = DiskBlobStore(folder, 64 * MIB, 3600.0, pack=pack)
        self._stack.callback(disk.close)
        self._stack.callback(disk.check)
        return disk

    async def leaf(self, kind: str) -> Made:
        match kind:
            case "disk":
                disk = self.disk()
                await disk.load()
                metered: LocalStore = MeteredBulkBlobs(disk, Meter("disk"))
                return Made(metered, True, metered)
            case "plain-disk":
                disk = self.disk(pack=False)
                await disk.load()
                return Made(disk, False, disk)
            case "memory":
                metered = MeteredLocalBlobs(MemoryBlobStore(64 * MIB), Meter("memory"))
                return Made(metered, True, metered)
            case "plain":
                return Made(VerifyingBlobs(PlainBlobs()), False)
        far = await self.leaf("memory" if kind == "remote-memory" else "disk")
        remote = RemoteBlobStore(DirectChannel(*services_of(far.store)))
        guarded = GuardedBlobs(MeteredBlobs(remote, Meter("remote")), Breaker("remote"))
        return Made(VerifyingBlobs(guarded, is_proven=True), True)

    async def __call__(self, tree: object) -> Made:
        if isinstance(tree, str):
            return await self.leaf(tree)
        assert isinstance(tree, tuple)
        kind, *below = tree
        parts = [await self(one) for one in below]
        first, last = parts[0].store, parts[-1].store
        keeps = all(part.keeps for part in parts)
        match kind:
            case "tiered":
                tiered = TieredBlobs(first, last, Through(first, last, required=True))
                if parts[0].local is not None:
                    nearby = NearbyTieredBlobs(tiered, parts[0].local)
                    return Made(nearby, keeps, nearby)
                return Made(tiered, keeps)
            case "mirrored":
                return Made(MirroredBlobs(first, last), keeps)
            case "sharded":
                return Made(ShardedBlobs({"a": Shard(first), "b": Shard(last, 2.0)}), keeps)
            case "by-size":
                return Made(BySizeBlobs(100_000, first, last), keeps)
            case "verifying":
                return Made(VerifyingBlobs(first), keeps)
            case "existence":
                return Made(ExistenceCachedBlobs(first, 600.0, 1000), keeps)
            case "guarded":
                return Made(GuardedBlobs(first, Breaker("tier")), keeps)
            case _:
                return Made(MeteredBlobs(first, Meter("tier")), keeps)


LEAVES = ["disk", "plain-disk", "memory", "plain", "remote", "remote-memory"]
ONE = st.sampled_from(["verifying", "existence", "guarded", "metered"])
TWO = st.sampled_from(["tiered", "mirrored", "sharded", "by-size"])


def nested(below: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.tuples(ONE, below) | st.tuples(TWO, below, below)


TREES = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=4)


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[Maker]:
    with ExitStack() as stack:
        yield Maker(stack, tmp_path)


async def check(made: Made, data: bytes, packed_first: bool, offset: int, limit: int) -> None:
    store, digest, frames = made.store, digest_of(data), frames_of(data)
    if packed_first:
        await send(store, digest, frames)
    else:
        async with aclosing(each((data,))) as pieces:
            await store.write(digest, pieces)
    assert await store.find_missing([digest]) == []
    given = await joined(read_packed(store, digest))
    assert plain_of(given) == data
    if packed_first and made.keeps and data in (SMALL, MIDDLE, LARGE):
        assert await is_packed(store, digest)
        assert given == frames
        assert await joined(read_packed(store, digest)) == frames
    expected = data[offset : offset + limit]
    assert await joined(store.read(digest, min(offset, len(data)), limit)) == expected
    assert await joined(store.read(digest)) == data
    assert await store.get(digest) == data
    assert plain_of(await joined(read_packed(store, digest))) == data


@settings(max_examples=25)
@given(
    TREES,
    st.sampled_from(BLOBS),
    st.booleans(),
    st.sampled_from([0, 1, 2999, 100_000, 2 * MIB]),
    st.sampled_from([1, 70_000, 3 * MIB]),
)
def test_any_composition(
    tree: object, data: bytes, packed_first: bool, offset: int, limit: int
) -> None:
    """Whatever is put together gives what it was given, plain and compressed; and where all that
    it is made of keeps frames, the very frames."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            made = await Maker(stack, Path(folder))(tree)
            with trio.fail_after(120):
                await check(made, data, packed_first, offset, limit)

    trio.run(main)


@settings(max_examples=20)
@given(
    TREES,
    st.sampled_from([SMALL, MIDDLE, LARGE]),
    st.sampled_from(["other", "cut", "garbage", "tail", "bomb"]),
)
def test_no_composition_believes(tree: object, data: bytes, how: str) -> None:
    """Frames of other bytes, of too few and of too many are refused, and nothing of them stays."""
    right = frames_of(data)
    wrong = {
        "other": frames_of(data[:-1] + b"!"),
        "cut": right[:-3],
        "garbage": bytes(range(256)) * 4,
        "tail": right + b"tail",
        "bomb": zstandard.ZstdCompressor(level=1).compress(bytes(20 * MIB)),
    }[how]

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            made = await Maker(stack, Path(folder))(tree)
            digest = digest_of(data)
            with pytest.raises(InvalidArgumentError):
                await send(made.store, digest, wrong)
            assert await made.store.find_missing([digest]) == [digest]
            with pytest.raises(NotFoundError):
                await joined(read_packed(made.store, digest))

    trio.run(main)


@pytest.fixture
def compressions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each compressor that is made, anywhere."""
    made: list[str] = []
    original = zstandard.ZstdCompressor

    def counted(*arguments: int, **named: bool) -> zstandard.ZstdCompressor:
        made.append(f"{arguments} {named}")
        return original(*arguments, **named)

    monkeypatch.setattr(zstandard, "ZstdCompressor", counted)
    return made


COMPOSED = [
    "remote-memory",
    ("tiered", "disk", "remote"),
    ("mirrored", "disk", ("metered", "remote")),
    ("tiered", ("existence", "memory"), ("mirrored", "disk", "disk")),
    ("sharded", "remote", ("guarded", "disk")),
    ("by-size", "disk", ("verifying", "memory")),
]


@pytest.mark.parametrize("tree", COMPOSED, ids=str)
async def test_nobody_compresses_on_the_way(
    tree: object, maker: Maker, compressions: list[str]
) -> None:
    """Neither when frames are written, nor copied from tier to tier, nor read."""
    store = (await maker(tree)).store
    packed = {digest_of(data): frames_of(data) for data in (SMALL, MIDDLE, LARGE)}
    compressions.clear()
    for digest, frames in packed.items():
        await send(store, digest, frames)
        for _ in range(2):
            assert await joined(read_packed(store, digest)) == frames
    assert compressions == []


@pytest.mark.parametrize("data", [SMALL, MIDDLE, LARGE], ids=["small", "middle", "large"])
@pytest.mark.parametrize("far", ["memory", "disk", "remote"])
async def test_a_near_tier_is_filled_with_frames(
    maker: Maker, compressions: list[str], data: bytes, far: str
) -> None:
    """By the first compressed read of what is only far; the second one asks nobody far."""
    digest, frames = digest_of(data), frames_of(data)
    near, below = maker.disk(), (await maker(far)).store
    await near.load()
    failing = FailingFrames(below)
    store = TieredBlobs(near, failing, nowhere)
    await send(below, digest, frames)
    compressions.clear()
    assert await joined(read_packed(store, digest)) == frames
    assert await is_packed(near, digest)
    failing.down = True
    assert await joined(read_packed(store, digest)) == frames
    assert compressions == []
    assert await store.get(digest) == data


async def test_what_holds_plain_bytes_compresses_once_and_a_disk_before_it_keeps_that(
    maker: Maker, compressions: list[str]
) -> None:
    """One compression for the first read, none for those after it."""
    near, far = maker.disk(), PlainBlobs()
    store = TieredBlobs(near, far, nowhere)
    await far.put(digest_of(LARGE), LARGE)
    compressions.clear()
    first = await joined(read_packed(store, digest_of(LARGE)))
    assert plain_of(first) == LARGE
    assert await joined(read_packed(store, digest_of(LARGE))) == first
    assert len(compressions) == 1


class FailingFrames(FailingBlobs):
    """The same of frames; it may fail after so many pieces."""

    def __init__(self, inner: BlobStore, pieces: int | None = None) -> None:
        super().__init__(inner)
        self.pieces = pieces

    async def is_packed(self, digest: Digest) -> bool:
        return not self.down and await is_packed(self.inner, digest)

    async def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        await self._called("read")
        given = 0
        async with aclosing(read_packed(self.inner, digest)) as frames:
            async for piece in frames:
                for at in range(0, len(piece), 100_000):
                    if given == self.pieces:
                        raise UnavailableError("it failed on the way")
                    given += 1
                    yield piece[at : at + 100_000]

    async def write_packed(self, digest: Digest, frames: AsyncGenerator[bytes, None]) -> None:
        await self._called("write")
        await write_packed(self.inner, digest, frames)


Pair = Callable[[BlobStore, BlobStore], BlobStore]
PAIRS: dict[str, Pair] = {
    "tiered": lambda a, b: TieredBlobs(a, b, nowhere),
    "mirrored": MirroredBlobs,
    "sharded": lambda a, b: ShardedBlobs({"a": Shard(a, 1000.0), "b": Shard(b, 0.001)}),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("pieces", [0, 3])
async def test_a_read_goes_on_in_the_other_store(pair: str, pieces: int) -> None:
    """Which has the very frames: they are those that were sent so far."""
    digest, frames = digest_of(LARGE), frames_of(LARGE)
    one, other = FailingFrames(MemoryBlobStore(64 * MIB)), MemoryBlobStore(64 * MIB)
    for store in (one, other):
        await send(store, digest, frames)
    one.pieces = pieces
    for a, b in ((one, other), (other, one)):
        assert await joined(read_packed(PAIRS[pair](a, b), digest)) == frames


async def test_a_read_does_not_go_on_with_other_frames() -> None:
    """Two halves of frames are no frames: the reader is told, and may ask again."""
    digest = digest_of(LARGE)
    one, other = FailingFrames(MemoryBlobStore(64 * MIB), 3), MemoryBlobStore(64 * MIB)
    await one.inner.put(digest, LARGE)
    await send(other, digest, frames_of(LARGE))
    store = ShardedBlobs({"a": Shard(one, 1000.0), "b": Shard(other, 0.001)})
    given = b""
    with pytest.raises(NotFoundError):
        async with aclosing(read_packed(store, digest)) as pieces:
            async for piece in pieces:
                given += piece
    assert len(given) == 300_000
    one.pieces = 0
    assert await joined(read_packed(store, digest)) == frames_of(LARGE)


@pytest.mark.parametrize("pair", ["tiered", "mirrored"])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_damaged_frames_are_put_aside_and_healed(
    maker: Maker, tmp_path: Path, pair: str, data: bytes
) -> None:
    """The reader gets the frames from the other store, and the damaged ones are written anew."""
    digest, frames = digest_of(data), frames_of(data)
    disks = [maker.disk(), maker.disk()]
    store = PAIRS[pair](*disks)
    for disk in disks:
        await disk.load()
        await send(disk, digest, frames)
    damage(disks[0], digest, frames)
    for _ in range(2):
        assert await joined(read_packed(store, digest)) == frames
    with suppress(NotFoundError):  # a mirror may have read the other side, until it reads this one
        await joined(disks[0].read_packed(digest))
    assert await joined(read_packed(store, digest)) == frames
    assert await joined(disks[0].read_packed(digest)) == frames
    assert await joined(disks[0].read(digest)) == data
    assert len(list((tmp_path / "disk0" / "quarantine").iterdir())) == 1


def damage(disk: DiskBlobStore, digest: Digest, frames: bytes) -> None:
    """Turn over a bit of the frames, wherever they lie."""
    hit = frames[len(frames) // 2 : len(frames) // 2 + 40]
    for path in Path(disk.folder.root).rglob("*"):
        if path.is_file() and (at := path.read_bytes().find(hit)) >= 0:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes((hit[0] ^ 1,)))


class LyingServer:
    """A far store that gives other frames than it should."""

    def __init__(self, given: bytes) -> None:
        self._inner = MemoryBlobStore(64 * MIB)
        self._given = given
        self.find_missing, self.get = self._inner.find_missing, self._inner.get
        self.read, self.write, self.put = self._inner.read, self._inner.write, self._inner.put
        self.size_of = self._inner.size_of

    async def is_packed(self, _digest: Digest) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def read_packed(self, _digest: Digest) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(self._given), 50_000):
            await trio.lowlevel.checkpoint()
            yield self._given[at : at + 50_000]

    async def write_packed(self, _digest: Digest, _frames: object) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("how", ["other", "cut", "garbage", "more"])
async def test_a_server_that_lies_is_not_believed(maker: Maker, data: bytes, how: str) -> None:
    """Nobody gets all of what it sent, nothing of it stays near, and the blob is missing then."""
    digest = digest_of(data)
    wrong = {
        "other": frames_of(data[:-1] + b"!"),
        "cut": frames_of(data)[:-3],
        "garbage": bytes(range(256))[: len(data) // 8] * (len(data) // 2048 or 1),
        "more": frames_of(data) + frames_of(b"more"),
    }[how]
    server = LyingServer(wrong)
    remote = RemoteBlobStore(DirectChannel(*services_of(server)))
    near, given = maker.disk(), b""
    with pytest.raises((DataLossError, NotFoundError)):
        async with aclosing(remote.read_packed(digest)) as pieces:
            async for piece in pieces:
                given += piece
    assert len(given) < len(wrong)
    far = VerifyingBlobs(remote, is_proven=True)
    store = TieredBlobs(near, far, nowhere)
    with pytest.raises(NotFoundError):
        await joined(read_packed(store, digest))
    assert await near.find_missing([digest]) == [digest]
    assert far.damaged == 1
    assert await store.find_missing([digest]) == [digest]


async def test_a_server_without_zstd_is_asked_for_plain_bytes(maker: Maker) -> None:
    """And given plain ones; what it says of itself is asked once."""
    far = (await maker("memory")).store
    services = [one for one in services_of(far) if not one.name.endswith("Capabilities")]
    channel = DirectChannel(*services)
    remote = RemoteBlobStore(channel)
    for data in (SMALL, LARGE):
        await send(remote, digest_of(data), frames_of(data))
        assert not await is_packed(far, digest_of(data))
        assert plain_of(await joined(remote.read_packed(digest_of(data)))) == data
    assert [n for path, n in channel.calls.items() if path.endswith("GetCapabilities")] == [1]


async def test_a_read_only_store_takes_no_frames(maker: Maker) -> None:
    """It gives them as they are below."""
    below = maker.disk()
    digest, frames = digest_of(LARGE), frames_of(LARGE)
    store = ReadOnlyBlobs(below)
    with pytest.raises(Exception, match="read-only"):
        await send(store, digest, frames)
    await send(below, digest, frames)
    await send(store, digest, frames)
    assert await store.is_packed(digest)
    assert await joined(store.read_packed(digest)) == frames


async def test_a_small_blob_goes_around_a_tier_that_is_full() -> None:
    """Its frames are few enough to be had twice."""
    digest, frames = digest_of(MIDDLE), frames_of(MIDDLE)
    near, far = MemoryBlobStore(1000), MemoryBlobStore(MIB)
    for store in (TieredBlobs(near, far, nowhere), MirroredBlobs(near, far)):
        await send(store, digest, frames, 5000)
        assert await joined(read_packed(store, digest)) == frames
    with pytest.raises(ResourceExhaustedError):
        await send(near, digest, frames)


async def test_memory_keeps_what_is_first_read_compressed(compressions: list[str]) -> None:
    """And gives it plain all the same."""
    store = MemoryBlobStore(8 * MIB)
    await store.put(digest_of(LARGE), LARGE)
    first = await joined(store.read_packed(digest_of(LARGE)))
    assert await joined(store.read_packed(digest_of(LARGE))) == first
    assert len(compressions) == 1
    assert await store.get(digest_of(LARGE)) == LARGE
    assert store.get_nowait(digest_of(LARGE)) == LARGE
    store.check()


@pytest.mark.parametrize("kind", ["disk", "plain-disk", "memory"])
async def test_an_upload_of_frames_that_was_cut_goes_on_plain(maker: Maker, kind: str) -> None:
    """Through a tier that sends it onward."""
    near = (await maker(kind)).local
    assert near is not None
    far = MemoryBlobStore(8 * MIB)
    store = NearbyTieredBlobs(TieredBlobs(near, far, Through(near, far)), near)
    digest, frames = digest_of(LARGE), frames_of(LARGE)
    upload = await store.begin_packed(digest)
    await upload.append(frames[: len(frames) * 2 // 3])
    rest = await upload.unpacked()
    upload.abort()
    assert 0 < rest.offset < len(LARGE)
    await rest.append(LARGE[rest.offset :])
    await rest.commit()
    assert await far.get(digest) == LARGE
    await send(store, digest_of(MIDDLE), frames_of(MIDDLE))
    whole = await store.begin_packed(digest_of(MIDDLE))
    assert not whole.append_nowait([b""])
    whole.abort()


async def test_skippable_frames_without_end_are_refused(tmp_path: Path) -> None:
    """They give nothing, and would fill a disk."""
    skippable = (0x184D2A50).to_bytes(4, "little") + (65_000).to_bytes(4, "little") + bytes(65_000)
    with closing(DiskBlobStore(tmp_path, 64 * MIB)) as disk:
        for store in (disk, MemoryBlobStore(64 * MIB), PlainBlobs()):
            with pytest.raises(InvalidArgumentError, match="longer"):
                await send(store, digest_of(LARGE), skippable * 60 + frames_of(LARGE))
