"""Small opaque values by hash, kept as long as there is room: what an action cache is made of.

Nothing is promised: a record that is gone is a cache miss. Spaces keep records of the same hash
apart (instances, digest functions, foreign clients).
"""

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import trio

from builder.stores.index import Index, Occupancy

RESULTS = "ac/"  # how the spaces of action results begin; function and instance follow


class Records(Protocol):
    """`hash_` is lower-case hex, checked by the caller; `space` is any text.

    Where the size is part of the name (the digest of an action), `-SIZE` stands behind the hash.
    """

    async def get(self, space: str, hash_: str) -> bytes | None: ...

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        """Raises ResourceExhaustedError for a record that is larger than the whole room."""
        ...


@runtime_checkable
class InlineRecords(Protocol):
    """What records on this machine can do at once."""

    def lacks(self, space: str, hash_: str) -> bool:
        """Whether `get` would surely find nothing."""
        ...

    def put_nowait(self, space: str, hash_: str, data: bytes) -> bool:
        """Whether it is kept now; False: `put` has to be asked. Raises as `put` does."""
        ...


class MemoryRecords:
    """At most `capacity_bytes` of records; the least recently used go first."""

    def __init__(self, capacity_bytes: int, now: Callable[[], float] = time.time) -> None:
        self._index = Index(capacity_bytes, 0.0)
        self._records: dict[str, bytes] = {}
        self._now = now

    async def get(self, space: str, hash_: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        key = f"{space}/{hash_}"
        data = self._records.get(key)
        if data is not None:
            self._index.renew(key, len(data), self._now())
        return data

    def lacks(self, space: str, hash_: str) -> bool:
        return f"{space}/{hash_}" not in self._records

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.put_nowait(space, hash_, data)

    def put_nowait(self, space: str, hash_: str, data: bytes) -> bool:
        key = f"{space}/{hash_}"
        for victim, _ in self._index.reserve(len(data), self._now()):
            del self._records[victim]
        self._index.release(len(data))
        self._index.add(key, len(data), self._now())
        self._records[key] = data
        return True

    def snapshot(self) -> Occupancy:
        return self._index.snapshot(self._now())

    def ages(self) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        return self._index.ages(self._now())
