"""Records as files, `{root}/{space}/{first two digits}/{hash}`: those too large for a segment.

Reading and writing is done in place: a record has some dozens of kilobytes. Each file begins with
a check of its bytes (`sealing`).
"""

import contextlib
import os
import time
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote

import trio
from blake3 import blake3

from builder.stores.folder import Folder, remove
from builder.stores.index import Index
from builder.stores.sealing import sealed, unsealed

BLOCK = 4096
LONGEST_SPACE = 200  # characters of a directory's name


class RecordFiles:
    """At most so many bytes; `index.others` tells what else is in the same room."""

    def __init__(
        self, folder: Folder, capacity_bytes: int, now: Callable[[], float] = time.time
    ) -> None:
        self.index = Index(capacity_bytes, 0.0, BLOCK)
        self.loaded = False
        self._folder = folder
        self.now = now
        self._started = now()
        self._loading = trio.Lock()

    async def load(self) -> None:
        """Learn what an earlier process left, and bring it down to the capacity. Idempotent."""
        async with self._loading:
            if not self.loaded:
                found = await trio.to_thread.run_sync(
                    _scan, self._folder.root, abandon_on_cancel=True
                )
                self.index.adopt(self.index.restored(found, self._started))
                self.loaded = True
                self._remove(self.index.overflow(self.now()))

    def may_hold(self, space: str, hash_: str) -> bool:
        """False: surely not."""
        if not self.loaded:
            return True
        return len(self.index) > 0 and self.index.size(_key(space, hash_)) is not None

    def get(self, space: str, hash_: str) -> bytes | None:
        """Raises OSError."""
        key = _key(space, hash_)
        path = f"{self._folder.root}/{key}"
        try:
            with open(path, "rb") as file:
                stored = file.read()
        except FileNotFoundError:
            return None
        data = unsealed(stored)
        if data is None:
            remove(path)
            self.index.lose(key)
            return None
        self._used(key, path, len(stored))
        return data

    def put(self, space: str, hash_: str, data: bytes) -> None:
        """Raises OSError, and ResourceExhaustedError for one that is larger than all the room."""
        key, stored = _key(space, hash_), sealed(data)
        victims = self.index.reserve(len(stored), self.now())
        self.index.release(len(stored))
        self._remove(victims)
        path = f"{self._folder.root}/{key}"
        try:
            self._folder.write(path, stored, self.now())
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._folder.write(path, stored, self.now())
        self.index.add(key, len(stored), self.now())

    def forget(self, space: str, hash_: str) -> None:
        """It is kept elsewhere from now on."""
        if self.may_hold(space, hash_):
            key = _key(space, hash_)
            self.index.drop(key)
            remove(f"{self._folder.root}/{key}")

    def evict(self, size: int) -> bool:
        """Give up so many bytes, used the longest time ago; false when there are none."""
        victims = self.index.evict(size, self.now())
        self._remove(victims)
        return bool(victims)

    def oldest(self) -> float | None:
        """When the first that would go was used, in seconds since 1970."""
        return self.index.oldest(self.now())

    def _used(self, key: str, path: str, size: int) -> None:
        """Move it to the end, and let the next process know if the disk takes it; once a tick."""
        now = self.now()
        if self.index.renew(key, size, now):
            with contextlib.suppress(OSError):
                os.utime(path, (now, now))

    def _remove(self, victims: list[tuple[str, int]]) -> None:
        for key, _ in victims:
            remove(f"{self._folder.root}/{key}")


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
