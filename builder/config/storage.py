"""Storage put together from parts: a tree in which each node is one kind of store.

A node names exactly one kind; the others are not set. `schema/config.schema.json` says what every
key means.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from builder.config.kinds import Address, Bytes, FilePath, Seconds, Secret

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@dataclass(frozen=True, slots=True)
class MemoryTier:
    max_size: Bytes = GIB
    lease: Seconds = 3 * 3600.0


@dataclass(frozen=True, slots=True)
class DiskTier:
    path: FilePath
    max_size: Bytes = 20 * GIB
    lease: Seconds = 3 * 3600.0
    fsync: Literal["none", "data", "full"] = "none"
    compression: Literal["zstd", "none"] = "zstd"


@dataclass(frozen=True, slots=True)
class RemoteTier:
    address: Address
    instance: str = ""
    token: Secret | None = None
    ca: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None
    timeout: Seconds = 30.0


@dataclass(frozen=True, slots=True)
class RedisTier:
    url: Secret
    prefix: str = "builder:"
    max_blob_size: Bytes = MIB
    expire: Seconds = 0.0
    timeout: Seconds = 5.0


@dataclass(frozen=True, slots=True)
class ObjectTier:
    url: str
    endpoint: str | None = None
    access_key: Secret | None = None
    secret_key: Secret | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    max_blob_size: Bytes = 5 * 1024 * GIB
    timeout: Seconds = 30.0


@dataclass(frozen=True, slots=True)
class Queue:
    path: FilePath | None = None
    max_entries: int = 100_000
    when_full: Literal["through", "drop"] = "through"


@dataclass(frozen=True, slots=True)
class Tiered:
    near: "StoreTree"
    far: "StoreTree"
    write: Literal["through", "back", "near"] = "through"
    far_down: Literal["serve", "refuse"] = "serve"
    queue: Queue = field(default_factory=Queue)


@dataclass(frozen=True, slots=True)
class ShardTree:
    name: str
    store: "StoreTree"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Sharded:
    shards: tuple[ShardTree, ...]


@dataclass(frozen=True, slots=True)
class Mirrored:
    a: "StoreTree"
    b: "StoreTree"


@dataclass(frozen=True, slots=True)
class BySize:
    small: "StoreTree"
    large: "StoreTree"
    limit: Bytes = 64 * KIB


@dataclass(frozen=True, slots=True)
class ReadOnly:
    store: "StoreTree"


@dataclass(frozen=True, slots=True)
class Verifying:
    store: "StoreTree"


@dataclass(frozen=True, slots=True)
class ExistenceCache:
    store: "StoreTree"
    keep: Seconds = 300.0
    max_entries: int = 100_000


@dataclass(frozen=True, slots=True)
class Metered:
    name: str
    store: "StoreTree"


@dataclass(frozen=True, slots=True)
class StoreTree:
    memory: MemoryTier | None = None
    disk: DiskTier | None = None
    remote: RemoteTier | None = None
    redis: RedisTier | None = None
    object: ObjectTier | None = None
    tiered: Tiered | None = None
    sharded: Sharded | None = None
    mirrored: Mirrored | None = None
    by_size: BySize | None = None
    read_only: ReadOnly | None = None
    verifying: Verifying | None = None
    existence_cache: ExistenceCache | None = None
    metered: Metered | None = None

    def chosen(self) -> tuple[str, Any]:
        """The kind's name and its settings."""
        return next((n, one) for n, one in self._kinds() if one is not None)

    def children(self) -> Iterator[tuple[tuple[str | int, ...], "StoreTree"]]:
        """Each store directly below, with the path to it from here."""
        kind, settings = self.chosen()
        if isinstance(settings, Sharded):
            for number, shard in enumerate(settings.shards):
                yield (kind, "shards", number, "store"), shard.store
            return
        for one in fields(settings):
            if isinstance(below := getattr(settings, one.name), StoreTree):
                yield (kind, one.name), below

    def walk(
        self, path: tuple[str | int, ...] = ()
    ) -> Iterator[tuple[tuple[str | int, ...], "StoreTree"]]:
        """This one and all below it, each with its path."""
        yield path, self
        for step, below in self.children():
            yield from below.walk((*path, *step))

    def _kinds(self) -> Iterator[tuple[str, Any]]:
        return ((one.name, getattr(self, one.name)) for one in fields(self))


@dataclass(frozen=True, slots=True)
class InstanceStorage:
    instances: tuple[str, ...]
    blobs: StoreTree | None = None
    results: StoreTree | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    blobs: StoreTree | None = None
    results: StoreTree | None = None
    routes: tuple[InstanceStorage, ...] = ()
