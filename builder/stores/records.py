"""Small opaque values by hash, kept as long as there is room: what an action cache is made of.

Nothing is promised: a record that is gone is a cache miss. Spaces keep records of the same hash
apart (instances, digest functions, foreign clients).
"""

import contextlib
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import quote

import trio
from blake3 import blake3

from builder.stores.folder import FULL, Folder, remove
from builder.stores.index import Index, Occupancy

CHECK = 16  # bytes of BLAKE3 before a record on the disk
BLOCK = 4096
RELIEF = 1024 * 1024  # bytes that go when the disk is full before the store is
RESULTS = "ac/"  # how the spaces of action results begin; function and instance follow
LONGEST_SPACE = 200  # characters of a directory's name


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


class DiskRecords:
    """Files `{root}/{space}/{first two digits}/{hash}`; each begins with a check of its bytes.

    Reading and writing is done in place: records are a few kilobytes.
    """

    def __init__(
        self, root: Path, capacity_bytes: int, now: Callable[[], float] = time.time
    ) -> None:
        self._folder = Folder(root)
        self._index = Index(capacity_bytes, 0.0, BLOCK)
        self._now = now
        self._started = now()
        self._loaded = False
        self._loading = trio.Lock()

    def close(self) -> None:
        self._folder.close()

    async def load(self) -> None:
        """Learn what an earlier process left, and bring it down to the capacity. Idempotent."""
        async with self._loading:
            if not self._loaded:
                found = await trio.to_thread.run_sync(
                    _scan, self._folder.root, abandon_on_cancel=True
                )
                self._index.adopt(self._index.restored(found, self._started))
                self._loaded = True
                self._remove(self._index.overflow(self._now()))

    async def get(self, space: str, hash_: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        key = _key(space, hash_)
        path = f"{self._folder.root}/{key}"
        try:
            with open(path, "rb") as file:  # noqa: ASYNC230 -- a few KB; a thread takes longer
                stored = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._folder.converted(error) from error
        data = unsealed(stored)
        if data is None:
            remove(path)
            self._index.lose(key)
            return None
        self._used(key, path, len(stored))
        return data

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        key = _key(space, hash_)
        path = f"{self._folder.root}/{key}"
        stored = sealed(data)
        if not self._loaded and not self._index.fits(len(stored)):
            await self.load()
        with self._folder.errors():
            try:
                self._put(key, path, stored)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                await self.load()
                self._remove(self._index.evict(RELIEF, self._now()))
                self._put(key, path, stored)

    def put_nowait(self, space: str, hash_: str, data: bytes) -> bool:
        if not self._loaded:
            return False
        key = _key(space, hash_)
        try:
            self._put(key, f"{self._folder.root}/{key}", sealed(data))
        except OSError:  # `put` may find a way, and says why if it does not
            return False
        return True

    def lacks(self, space: str, hash_: str) -> bool:
        return self._loaded and self._index.size(_key(space, hash_)) is None

    def _put(self, key: str, path: str, stored: bytes) -> None:
        """Make room and write. Raises OSError."""
        victims = self._index.reserve(len(stored), self._now())
        self._index.release(len(stored))
        self._remove(victims)
        self._write(path, stored)
        self._index.add(key, len(stored), self._now())

    def snapshot(self) -> Occupancy:
        return self._index.snapshot(self._now())

    def ages(self) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        return self._index.ages(self._now())

    def _write(self, path: str, stored: bytes) -> None:
        try:
            self._folder.write(path, stored, self._now())
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._folder.write(path, stored, self._now())

    def _used(self, key: str, path: str, size: int) -> None:
        """Move it to the end, and let the next process know if the disk takes it; once a tick."""
        now = self._now()
        if self._index.renew(key, size, now):
            with contextlib.suppress(OSError):
                os.utime(path, (now, now))

    def _remove(self, victims: list[tuple[str, int]]) -> None:
        for key, _ in victims:
            remove(f"{self._folder.root}/{key}")


def sealed(data: bytes, name: str = "") -> bytes:
    """A record with its check before it, for a place that may damage it, or mistake it for that of
    another name."""
    return _check(name, data) + data


def unsealed(stored: bytes, name: str = "") -> bytes | None:
    """The record of `sealed`; None if it is damaged, or another one's."""
    data = stored[CHECK:]
    return data if _check(name, data) == stored[:CHECK] else None


def _check(name: str, data: bytes) -> bytes:
    return blake3(name.encode()).update(data).digest(CHECK)


def _key(space: str, hash_: str) -> str:
    return f"{_folder_name(space)}/{hash_[:2]}/{hash_}"


@lru_cache(1024)
def _folder_name(space: str) -> str:
    name = quote(space, safe="")
    return f"={blake3(space.encode()).hexdigest() if len(name) > LONGEST_SPACE else name}"


def _scan(root: str) -> list[tuple[float, str, int]]:
    """(seconds since 1970 of the last use, key, size) of every record, oldest first."""
    found = []
    spaces = [entry for entry in os.scandir(root) if entry.name.startswith("=")]
    for shard in (shard for space in spaces for shard in os.scandir(space.path)):
        for entry in os.scandir(shard.path):
            try:
                status = entry.stat()
            except FileNotFoundError:  # gone since the directory was read
                continue
            found.append((status.st_mtime, entry.path[len(root) + 1 :], status.st_size))
    return sorted(found)
