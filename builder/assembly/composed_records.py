"""Stores of results and other records, from the same trees of settings."""

from dataclasses import dataclass
from pathlib import Path

from builder.assembly.composition import Composer, Node, any_serves, object_options
from builder.assembly.tiers import Tier
from builder.config import storage
from builder.config.storage import StoreTree
from builder.stores.breaker import Breaker, GuardedRecords
from builder.stores.disk_records import DiskRecords
from builder.stores.metered import MeteredRecords
from builder.stores.mirrored import MirroredRecords
from builder.stores.read_only import ReadOnlyRecords
from builder.stores.records import RESULTS, MemoryRecords, Records
from builder.stores.remote import RemoteRecords
from builder.stores.sharded import ShardedRecords
from builder.stores.tiered import nowhere
from builder.stores.tiered_records import OnwardRecord, ThroughRecords, TieredRecords
from builder.stores.write_back import BackRecords, WriteBack, record_name

PROBE = ("probe", "0" * 64)  # a record that nobody has
PROBED_RESULT = (f"{RESULTS}sha256/", "0" * 64 + "-1")


@dataclass(slots=True)
class RecordsComposer:
    """As `Composer.blobs`, for records. Checked settings have no other kinds than these."""

    base: Composer

    async def records(self, tree: StoreTree, name: str) -> Node[Records]:
        kind, one = tree.chosen()
        match one:
            case storage.MemoryTier():
                memory = MemoryRecords(one.max_size)
                return self._local(Tier(name, kind, memory), memory)
            case storage.DiskTier():
                disk = DiskRecords(Path(one.path), one.max_size)
                self.base.stack.callback(disk.close)
                return self._local(Tier(name, kind, disk, disk.load, path=one.path), disk)
            case storage.RemoteTier() | storage.RedisTier() | storage.ObjectTier():
                return await self._served(one, name)
            case storage.Tiered():
                return await self._tiered(one, name)
            case storage.Sharded() | storage.Mirrored():
                return await self._spread(one, name)
            case storage.ReadOnly():
                below = await self.records(one.store, name)
                return Node(ReadOnlyRecords(below.store), below.serves)
            case storage.Metered():
                return await self.records(one.store, one.name)
        raise AssertionError(kind)

    def _local(self, tier: Tier, records: Records) -> Node[Records]:
        return Node(MeteredRecords(records, self.base.announce(tier)), tier.is_well)

    async def _served(
        self, one: storage.RemoteTier | storage.RedisTier | storage.ObjectTier, name: str
    ) -> Node[Records]:
        records: Records
        probe = PROBE
        match one:
            case storage.RemoteTier():
                kind, probe = "remote", PROBED_RESULT
                records = RemoteRecords(await self.base.channel(one), one.instance)
            case storage.RedisTier():
                from builder.stores import redis  # late: a quarter of a second for nobody else

                client = await self.base.stack.enter_async_context(
                    redis.connected(one.url.reveal(), one.timeout)
                )
                kind, records = "redis", redis.RedisRecords(client, one.prefix, int(one.expire))
            case storage.ObjectTier():
                from builder.stores import object as objects  # late: it is compiled, and large

                bucket = objects.opened(one.url, object_options(one), one.timeout)
                kind, records = "object", objects.ObjectRecords(bucket)
        breaker = Breaker(name, one.timeout)
        self.base.watch(breaker, lambda: records.get(*probe))
        tier = Tier(name, kind, breaker=breaker)
        metered = MeteredRecords(records, self.base.announce(tier))
        return Node(GuardedRecords(metered, breaker), tier.is_well)

    async def _tiered(self, one: storage.Tiered, name: str) -> Node[Records]:
        near = await self.records(one.near, f"{name}.near")
        far = await self.records(one.far, f"{name}.far")
        required = one.far_down == "refuse"
        onward: OnwardRecord = nowhere
        if one.write == "through":
            onward = ThroughRecords(far.store, required=required)
        elif one.write == "back":
            back = BackRecords(near.store, far.store)
            onward = _later(self.base.write_back(name, one.queue, back))
        tiered = TieredRecords(near.store, far.store, onward, far_required=required)

        def serves() -> bool:
            return far.serves() if required else near.serves() or far.serves()

        return Node(tiered, serves)

    async def _spread(self, one: storage.Sharded | storage.Mirrored, name: str) -> Node[Records]:
        if isinstance(one, storage.Mirrored):
            a, b = await self.records(one.a, f"{name}.a"), await self.records(one.b, f"{name}.b")
            return Node(MirroredRecords(a.store, b.store), any_serves((a, b)))
        shards, nodes = {}, []
        for shard in one.shards:
            nodes.append(await self.records(shard.store, f"{name}.{shard.name}"))
            shards[shard.name] = (nodes[-1].store, shard.weight)
        return Node(ShardedRecords(shards), any_serves(nodes))


def _later(queue: WriteBack) -> OnwardRecord:
    return lambda space, hash_, _data: queue.add(record_name(space, hash_))
