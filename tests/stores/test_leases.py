"""What was promised stays, whatever else happens; see builder.stores.index."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.digest import Digest, digest_of
from builder.base.errors import FailedPreconditionError, ResourceExhaustedError
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.action_cache import CheckedActionCache
from builder.stores.disk import DiskBlobStore
from builder.stores.entries import key_of
from builder.stores.index import TICKS_PER_LEASE, Index
from builder.stores.memory import MemoryBlobStore
from builder.stores.records import MemoryRecords

LEASE = 3600.0
TICK = LEASE / TICKS_PER_LEASE
BLOCK = 4096
ROOM = 8 * BLOCK

BLOBS = [bytes([n]) * (n % 3 * BLOCK + 100 + n) for n in range(12)]  # one to three blocks each

OPERATIONS = ["put"] * 12 + ["get"] * 5 + ["find"] + ["result"] * 4 + ["wait"] * 6
OPERATIONS += ["restart", "crash", "load", "shrink"]
ACTIONS = 3
STEPS = 400  # of one story: enough to fill the store and see leases end many times


class Scale:
    """Blobs, and the room they compete for; `slack` bytes may be lost to the layout.

    The last blobs are trees, one of each action's result, which needs what it names, too.
    """

    def __init__(self, blobs: list[bytes], room: int, slack: int = 0, batch: int = 1) -> None:
        self.batch = batch  # blobs that are written in a row
        named = [to_proto(digest_of(data)) for data in blobs]
        trees = [
            pb.Tree(root=pb.Directory(files=[pb.FileNode(name="f", digest=named[action + 2])]))
            for action in range(ACTIONS)
        ]
        self.blobs = [*blobs, *(tree.SerializeToString() for tree in trees)]
        self.digests = [digest_of(data) for data in self.blobs]
        self.room = room
        self.slack = slack

    def needed(self, action: int) -> list[int]:
        """What a result needs: its file, its tree, and what only the tree names."""
        return [action, len(self.blobs) - ACTIONS + action, action + 2]

    def result(self, action: int) -> pb.ActionResult:
        file, tree, _ = (to_proto(self.digests[number]) for number in self.needed(action))
        return pb.ActionResult(
            output_files=[pb.OutputFile(path="o", digest=file)],
            output_directories=[pb.OutputDirectory(path="d", tree_digest=tree)],
        )


TINY = Scale(BLOBS, ROOM)  # a disk store of this size has files only
CHANCE = random.Random(7)
MIXED = Scale(  # small blobs in segments of 1 MiB, and some files
    [CHANCE.randbytes(CHANCE.randrange(100, 65000)) for _ in range(600)]
    + [CHANCE.randbytes(CHANCE.randrange(70_000, 1_500_000)) for _ in range(10)],
    16 * 1024 * 1024,
    4 * 1024 * 1024,  # the active segment, the spare one, and an eighth of each
    8,
)


class Story:
    """A store under random calls, and what it promised so far."""

    def __init__(
        self,
        make: Callable[[Callable[[], float]], MemoryBlobStore | DiskBlobStore],
        scale: Scale = TINY,
    ):
        self.scale = scale
        self.count = len(scale.blobs)
        self.now = 1_000_000_000.0
        self.make = make
        self.store = make(lambda: self.now)
        self.records = MemoryRecords(1 << 20, lambda: self.now)
        self.cache = CheckedActionCache(self.store, self.records)
        self.stored: set[int] = set()  # actions whose results are
        self.served = False  # a result was
        self.until: dict[int, float] = {}
        self.evicted = False
        self.cleaned = False  # segments were

    def promised(self, slack: float = 0.0) -> list[int]:
        return [n for n, until in self.until.items() if until + slack > self.now]

    def renew(self, number: int) -> None:
        self.until[number] = self.now + LEASE

    async def do(self, operation: str, number: int) -> None:
        match operation:
            case "put":
                for following in range(number, min(number + self.scale.batch, self.count)):
                    await self.put(following)
            case "get":
                await self.get(number)
            case "find":
                await self.find(number)
            case "wait":
                self.now += number * 6 * TICK / len(self.scale.blobs)
            case "result":
                await self.result(number % ACTIONS)
            case "restart" if isinstance(self.store, DiskBlobStore):
                self.store.close()
                self.begin()
            case "crash" if isinstance(self.store, DiskBlobStore):
                self.store.small.log.close()  # without a checkpoint
                self.store.files.close()
                self.begin()
            case "shrink" if isinstance(self.store, DiskBlobStore):
                await self.store.shrink(0)
            case "load" if isinstance(self.store, DiskBlobStore):
                await self.store.load()
        self.evicted = self.evicted or self.store.snapshot().evicted_blobs > 0
        if isinstance(self.store, DiskBlobStore):
            self.cleaned = self.cleaned or self.store.small.log.evicted > 0

    def begin(self) -> None:
        """Another process: it has the disk and the records, and remembers nothing."""
        self.store = self.make(lambda: self.now)
        self.cache = CheckedActionCache(self.store, self.records)

    async def result(self, action: int) -> None:
        """Serve it, or store it; then all that it needs is promised."""
        key, needed = digest_of(b"action %d" % action), self.scale.needed(action)
        promised = set(needed) <= set(self.promised())
        result = self.scale.result(action)
        found = self.cache.peek("", key)
        if found is None:
            served = await self.cache.lookup("", key)
            found = None if served is None else served.SerializeToString(deterministic=True)
        if found is not None:
            assert pb.ActionResult.FromString(found) == result
            self.served = True
        else:
            assert not (promised and action in self.stored), "whole, and not served"
            for number in needed:
                await self.put(number)
            promised = set(needed) <= set(self.promised())
            try:
                await self.cache.store("", key, result)
            except FailedPreconditionError:
                assert not promised, "whole, and not taken"
                return
            self.stored.add(action)
        for number in needed:
            self.renew(number)

    async def put(self, number: int) -> None:
        try:
            await self.store.put(self.scale.digests[number], self.scale.blobs[number])
        except ResourceExhaustedError:
            digests = self.scale.digests
            kept = sum(blocks(digests[n]) for n in self.promised(slack=TICK))
            need = blocks(digests[number]) + self.scale.slack
            assert kept + need > self.scale.room, "refused without need"
        else:
            self.renew(number)

    async def get(self, number: int) -> None:
        if number in self.promised():
            assert await self.store.get(self.scale.digests[number]) == self.scale.blobs[number]
            self.renew(number)

    async def find(self, number: int) -> None:
        missing = await self.store.find_missing(self.scale.digests[number:])
        for other, digest in enumerate(self.scale.digests[number:], number):
            if digest in missing:
                assert other not in self.promised()
            else:
                self.renew(other)


def blocks(digest: Digest) -> int:
    return -(-digest.size_bytes // BLOCK) * BLOCK


async def play(story: Story, seed: int, steps: int = STEPS) -> None:
    chance = random.Random(seed)
    for _ in range(steps):
        await story.do(chance.choice(OPERATIONS), chance.randrange(len(story.scale.blobs)))
    for number in story.promised():
        await story.get(number)
    assert story.evicted
    story.now += 2 * LEASE  # from now on there is room
    await story.result(0)
    await story.result(0)
    assert story.served
    story.store.check()


@settings(max_examples=15, deadline=None)
@given(st.integers())
def test_nothing_promised_is_lost_on_a_small_disk(seed: int) -> None:
    """No call finds a blob gone within its lease, over restarts too; no write is refused idly."""
    with tempfile.TemporaryDirectory() as root:
        story = Story(lambda now: DiskBlobStore(Path(root), ROOM, LEASE, "none", now))
        trio.run(play, story, seed)
        assert isinstance(story.store, DiskBlobStore)
        story.store.close()


@settings(max_examples=3, deadline=None)
@given(st.integers())
def test_nothing_promised_is_lost_in_segments(seed: int) -> None:
    """The same of small blobs in segments beside files, which take room from each other."""
    with tempfile.TemporaryDirectory() as root:
        story = Story(lambda now: DiskBlobStore(Path(root), MIXED.room, LEASE, "none", now), MIXED)
        trio.run(play, story, seed, 400)
        assert isinstance(story.store, DiskBlobStore)
        assert story.cleaned
        story.store.close()


@settings(max_examples=15, deadline=None)
@given(st.integers())
def test_nothing_promised_is_lost_in_a_small_memory(seed: int) -> None:
    """The same of the memory store, which counts bytes where the disk counts blocks."""
    trio.run(play, Story(lambda now: MemoryBlobStore(ROOM, LEASE, now)), seed)


def test_the_least_recently_used_go_first() -> None:
    """Eviction takes the oldest, as many as are needed, and only when their lease has ended."""
    index = Index(30, lease_s=160.0)
    for number, key in enumerate("abc"):
        index.add(key, 10, now=number * 20.0)
    assert not index.fits(1)
    with pytest.raises(ResourceExhaustedError, match="promised to clients for at least"):
        index.reserve(10, now=169.9)  # a's tick ended at 10
    assert index.reserve(11, now=200.0) == [("a", 10), ("b", 10)]
    index.release(11)
    assert index.size("c") == 10
    index.check()


def test_a_renewed_entry_moves_to_the_end_once_a_tick() -> None:
    """The first use in a tick renews; later ones in the same tick change nothing."""
    index = Index(30, lease_s=160.0)
    digest = digest_of(b"0123456789")
    index.add("x", 10, now=0.0)
    index.add(key_of("sha256", digest.hash), 10, now=0.0)
    assert index.touch(digest, now=5.0)
    assert index.renewed == []
    assert index.touch(digest, now=10.0)
    assert index.renewed == [(digest.hash, 10)]
    assert index.reserve(20, now=175.0) == [("x", 10)]
    index.release(20)
    index.check()


def test_a_refused_write_evicts_nothing() -> None:
    """When leases forbid the room that a write needs, what could have gone stays."""
    index = Index(30, lease_s=160.0)
    index.add("old", 10, now=0.0)
    index.add("new", 10, now=200.0)
    with pytest.raises(ResourceExhaustedError, match="promised"):
        index.reserve(25, now=200.0)
    assert index.size("old") == 10
    assert index.snapshot().refused_writes == 1


def test_unfinished_uploads_are_named_where_they_take_the_room() -> None:
    """Their room is not promised to anybody, and comes back when they end."""
    index = Index(100, 160.0)
    index.reserve(60, now=0.0)
    with pytest.raises(ResourceExhaustedError, match="60 B of it by unfinished uploads"):
        index.reserve(50, now=0.0)
    index.release(60)
    index.reserve(50, now=0.0)


def test_the_stamp_changes_with_ticks_and_losses() -> None:
    """The stamp is the same within a tick, and another after a loss."""
    index = Index(30, lease_s=160.0)
    index.add("x", 10, now=0.0)
    assert index.stamp(1.0) == index.stamp(9.0) != index.stamp(10.0)
    before = index.stamp(1.0)
    index.lose("x")
    assert index.stamp(1.0) != before
