"""Stores of blobs from a tree of settings: each node becomes nested constructor calls.

What stores by itself (a leaf) is counted; what other programs serve has a breaker besides, and is
verified. A node says whether what is below it can serve, and whether it keeps leases.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from builder.assembly.dial import Access, open_channel
from builder.assembly.tiers import Tier
from builder.base.digest import Digest
from builder.config import storage
from builder.config.storage import StoreTree
from builder.net.rpc import Channel
from builder.stores.backlog import Backlog
from builder.stores.breaker import Breaker, GuardedBlobs
from builder.stores.by_size import BySizeBlobs
from builder.stores.disk import DiskBlobStore
from builder.stores.existence_cache import ExistenceCachedBlobs
from builder.stores.interface import BlobStore, LocalStore, SizedBlobStore
from builder.stores.memory import MemoryBlobStore
from builder.stores.metered import Meter, MeteredBlobs, MeteredBulkBlobs, MeteredLocalBlobs
from builder.stores.mirrored import MirroredBlobs
from builder.stores.read_only import ReadOnlyBlobs
from builder.stores.remote import RemoteBlobStore
from builder.stores.sharded import Shard, ShardedBlobs
from builder.stores.tiered import Keeping, Onward, Through, TieredBlobs, nowhere
from builder.stores.tiered_nearby import NearbyTieredBlobs
from builder.stores.verifying import VerifyingBlobs
from builder.stores.write_back import BackBlobs, BackRecords, WriteBack
from builder.telemetry.log import get_logger

log = get_logger()
PROBE = Digest("0" * 64, 1)  # a blob that nobody has
REQUESTS = 4  # of an object store, that one call may take
S3_KEYS = ("access_key_id", "secret_access_key")
AZURE_KEYS = ("account_key", "client_secret")
StoreT = TypeVar("StoreT", covariant=True)


@dataclass(frozen=True, slots=True)
class Node(Generic[StoreT]):
    """A store; `local` is the same one, if it is on this machine and keeps leases."""

    store: StoreT
    serves: Callable[[], bool]
    keeps: bool = True
    local: LocalStore | None = None


Blobs = Node[SizedBlobStore]


@dataclass(slots=True)
class Composer:
    """What is opened is closed by `stack`; `background` has to run as long as it is used."""

    stack: AsyncExitStack
    background: list[Callable[[], Awaitable[object]]] = field(default_factory=list)
    tiers: list[Tier] = field(default_factory=list)

    def announce(self, tier: Tier) -> Meter:
        """From now on it is seen."""
        tier.meter = Meter(tier.name)
        self.tiers.append(tier)
        return tier.meter

    def watch(self, breaker: Breaker, probe: Callable[[], Awaitable[object]]) -> None:
        self.background.append(partial(breaker.keep, probe))

    def write_back(
        self, name: str, queue: storage.Queue, back: BackBlobs | BackRecords
    ) -> WriteBack:
        backlog = Backlog(Path(queue.path) if queue.path else None)
        self.stack.callback(backlog.close)
        later = WriteBack(backlog, queue.max_entries, queue.when_full, back.carry, back.renew)
        self.stack.push_async_callback(later.finish)
        self.background.append(later.run)
        self.tiers.append(Tier(f"{name}.queue", "queue", waiting=later))
        return later

    async def channel(self, tier: storage.RemoteTier) -> Channel:
        token = tier.token.reveal() if tier.token is not None else ""
        access = Access(token, tier.ca or "", tier.cert or "", tier.key or "")
        return await self.stack.enter_async_context(open_channel(str(tier.address), access))

    async def blobs(self, tree: StoreTree, name: str) -> Blobs:
        """The store of this tree; its leaves' names begin with `name`. Raises UsageError."""
        _, one = tree.chosen()
        match one:
            case storage.MemoryTier():
                memory = MemoryBlobStore(one.max_size, one.lease)
                return self._local(Tier(name, "memory", memory), memory)
            case storage.DiskTier():
                return self._disk(one, name)
            case storage.RemoteTier() | storage.RedisTier() | storage.ObjectTier():
                return await self._served(one, name)
            case storage.Tiered():
                return await self._tiered(one, name)
            case storage.Sharded():
                return await self._sharded(one, name)
            case storage.Mirrored() | storage.BySize():
                return await self._pair(one, name)
        return await self._wrapped(one, name)

    def _disk(self, one: storage.DiskTier, name: str) -> Blobs:
        pack = one.compression == "zstd"
        disk = DiskBlobStore(Path(one.path), one.max_size, one.lease, one.fsync, pack=pack)
        self.stack.callback(disk.close)
        return self._local(Tier(name, "disk", disk, disk.load, path=one.path), disk)

    def _local(self, tier: Tier, store: LocalStore) -> Blobs:
        meter = self.announce(tier)
        if isinstance(store, DiskBlobStore):
            metered: MeteredLocalBlobs = MeteredBulkBlobs(store, meter)
        else:
            metered = MeteredLocalBlobs(store, meter)
        return Node(metered, tier.is_well, local=metered)

    async def _served(
        self, one: storage.RemoteTier | storage.RedisTier | storage.ObjectTier, name: str
    ) -> Blobs:
        """What another program serves."""
        store: BlobStore
        patience_s, keeps = one.timeout, True
        match one:
            case storage.RemoteTier():
                kind, store = "remote", RemoteBlobStore(await self.channel(one), one.instance)
            case storage.RedisTier():
                from builder.stores import redis  # late: a quarter of a second for nobody else

                client = await self.stack.enter_async_context(
                    redis.connected(one.url.reveal(), one.timeout)
                )
                kind, keeps = "redis", False
                store = redis.RedisBlobs(client, one.prefix, one.max_blob_size, int(one.expire))
            case storage.ObjectTier():
                from builder.stores import object as objects  # late: it is compiled, and large

                bucket = objects.opened(one.url, object_options(one), one.timeout)
                kind, store = "object", objects.ObjectBlobs(bucket, one.max_blob_size)
                patience_s *= REQUESTS
        breaker = Breaker(name, patience_s)
        self.watch(breaker, lambda: store.find_missing([PROBE]))
        tier = Tier(name, kind, breaker=breaker)
        guarded = GuardedBlobs(MeteredBlobs(store, self.announce(tier)), breaker)
        is_proven = isinstance(one, storage.RemoteTier)
        verifying = VerifyingBlobs(guarded, _tell_damaged(name), is_proven=is_proven)
        return Node(verifying, tier.is_well, keeps)

    async def _tiered(self, one: storage.Tiered, name: str) -> Blobs:
        near = await self.blobs(one.near, f"{name}.near")
        far = await self.blobs(one.far, f"{name}.far")
        required = one.far_down == "refuse"
        onward: Onward = nowhere
        if one.write == "through":
            onward = Through(near.store, far.store, required=required or not near.keeps)
        elif one.write == "back":
            later = self.write_back(name, one.queue, BackBlobs(near.store, far.store))
            onward = _later(later)
        keeping = Keeping(near.keeps, far.keeps, required)
        tiered = TieredBlobs(near.store, far.store, onward, keeping)

        def serves() -> bool:
            return far.serves() if required or not near.keeps else near.serves() or far.serves()

        if near.local is None:
            return Node(tiered, serves, near.keeps or far.keeps)
        nearby = NearbyTieredBlobs(tiered, near.local)
        return Node(nearby, serves, local=nearby)

    async def _sharded(self, one: storage.Sharded, name: str) -> Blobs:
        nodes = {
            shard.name: await self.blobs(shard.store, f"{name}.{shard.name}")
            for shard in one.shards
        }
        weights = {shard.name: shard.weight for shard in one.shards}
        stores = {key: Shard(node.store, weights[key]) for key, node in nodes.items()}
        below = list(nodes.values())
        return Node(ShardedBlobs(stores), any_serves(below), all_keep(below))

    async def _pair(self, one: storage.Mirrored | storage.BySize, name: str) -> Blobs:
        if isinstance(one, storage.Mirrored):
            a, b = await self.blobs(one.a, f"{name}.a"), await self.blobs(one.b, f"{name}.b")
            return Node(MirroredBlobs(a.store, b.store), any_serves((a, b)), all_keep((a, b)))
        small = await self.blobs(one.small, f"{name}.small")
        large = await self.blobs(one.large, f"{name}.large")
        store = BySizeBlobs(one.limit, small.store, large.store)
        both = (small, large)
        return Node(store, lambda: small.serves() and large.serves(), all_keep(both))

    async def _wrapped(
        self,
        one: storage.ReadOnly | storage.Verifying | storage.ExistenceCache | storage.Metered,
        name: str,
    ) -> Blobs:
        named = one.name if isinstance(one, storage.Metered) else name
        below = await self.blobs(one.store, named)
        store: SizedBlobStore
        match one:
            case storage.ReadOnly():
                store = ReadOnlyBlobs(below.store)
            case storage.Verifying():
                store = VerifyingBlobs(below.store, _tell_damaged(named))
            case storage.ExistenceCache():
                store = ExistenceCachedBlobs(below.store, one.keep, one.max_entries)
            case storage.Metered():
                if not list(one.store.children()):
                    return below  # a leaf counts already, by this name
                store = MeteredBlobs(below.store, self.announce(Tier(named, "metered")))
        return Node(store, below.serves, below.keeps)


def any_serves(nodes: Sequence[Node[object]]) -> Callable[[], bool]:
    return lambda: any(node.serves() for node in nodes)


def all_keep(nodes: Sequence[Node[object]]) -> bool:
    return all(node.keeps for node in nodes)


def object_options(one: storage.ObjectTier) -> dict[str, str]:
    """Ours by the names that the client has for them."""
    keys = AZURE_KEYS if one.url.startswith("az://") else S3_KEYS
    secrets = zip(keys, (one.access_key, one.secret_key), strict=True)
    found = {name: secret.reveal() for name, secret in secrets if secret is not None}
    if one.endpoint is not None:
        found["base_url" if one.url.startswith("gs://") else "endpoint"] = one.endpoint
    return {**found, **one.options}


def _later(queue: WriteBack) -> Onward:
    return lambda digest: queue.add(str(digest))


def _tell_damaged(name: str) -> Callable[[Digest], object]:
    return lambda digest: log.error("Blob damaged", tier=name, digest=str(digest))
