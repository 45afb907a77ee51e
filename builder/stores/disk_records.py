"""Records on a disk: small ones in append-only segments, large ones as files, in one capacity.

A file for each record costs a dozen system calls, which was an eighth of what a coordinator did
for an action; a record in a segment costs one (`python -m tests.bench scheduler`,
figures.real_actions_per_cpu_s).

A directory of the first layout (`layout` is missing) has all its records in files. They are served
from there until they are put anew, or until their turn to go comes.
"""

import os
import time
from collections.abc import Callable
from operator import add
from pathlib import Path

import trio

from builder.stores.folder import FULL, Folder
from builder.stores.index import Occupancy
from builder.stores.layout import declare, is_first
from builder.stores.opening import open_segment
from builder.stores.record_files import RecordFiles
from builder.stores.record_log import LONGEST, RecordLog
from builder.stores.sealing import CHECK

LAYOUT = "2"
SEGMENTS = 256  # the capacity has room for so many
LEAST_SEGMENT = 1024 * 1024  # bytes
RELIEF = 1024 * 1024  # bytes that go when the disk is full before the store is
LEAST_CAPACITY = 16 * 1024 * 1024  # bytes; a smaller store has files only


class DiskRecords:
    """At most `capacity_bytes` under `root`; what was used the longest time ago goes first.

    `now` is seconds since 1970. Raises UsageError when another process has the directory.
    """

    def __init__(
        self, root: Path, capacity_bytes: int, now: Callable[[], float] = time.time
    ) -> None:
        self._folder = Folder(root)
        self._capacity = capacity_bytes
        self._limit = LONGEST if capacity_bytes >= LEAST_CAPACITY else -1
        self._files = RecordFiles(self._folder, capacity_bytes, now)
        segment = max(LEAST_SEGMENT, capacity_bytes // SEGMENTS)
        self._log = RecordLog(self._folder, segment, now)
        self._files.index.others = lambda: self._log.log.used_bytes
        self._room_lock = trio.Lock()
        try:
            if is_first(self._folder, LAYOUT, lambda: _has_files(self._folder)):
                declare(self._folder, LAYOUT)
        except BaseException:
            self._folder.close()
            raise

    def close(self) -> None:
        self._log.keeper.close()
        self._folder.close()

    async def load(self) -> None:
        """Learn what an earlier process left, and bring it down to the capacity. Idempotent."""
        await self._log.load()
        await self._files.load()
        async with self._room_lock:
            await self._make_room(0)

    async def get(self, space: str, hash_: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        await self._log.load()
        with self._folder.errors():
            data = self._log.get(f"{space}/{hash_}")
            if data is None and self._files.may_hold(space, hash_):
                data = self._files.get(space, hash_)
        return data

    def lacks(self, space: str, hash_: str) -> bool:
        if not self._log.keeper.loaded or self._files.may_hold(space, hash_):
            return False
        return not self._log.holds(f"{space}/{hash_}")

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        await self._log.load()
        await self._log.keeper.checkpoint_if_due()
        with self._folder.errors():
            try:
                await self._put(space, hash_, data)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                await self._files.load()
                async with self._room_lock:
                    await self._evict_oldest(self._log.log.next_number, RELIEF)
                await self._put(space, hash_, data)

    def put_nowait(self, space: str, hash_: str, data: bytes) -> bool:
        if not self._log.keeper.loaded or self._log.keeper.is_checkpoint_due():
            return False
        try:
            if len(data) > self._limit:
                if not self._files.loaded or not self._files.index.fits(CHECK + len(data)):
                    return False
                self._put_file(space, hash_, data)
            elif self._log.has_room(data):
                self._append(space, hash_, data)
            else:
                return False
        except OSError:  # `put` may find a way, and says why if it does not
            return False
        return True

    def snapshot(self) -> Occupancy:
        files, log = self._files.index.snapshot(), self._log.log
        return Occupancy(
            blobs=files.blobs + log.blobs,
            used_bytes=files.used_bytes + log.used_bytes,
            reserved_bytes=files.reserved_bytes,
            capacity_bytes=self._capacity,
            evicted_blobs=files.evicted_blobs + log.evicted,
            evicted_bytes=files.evicted_bytes + log.evicted_bytes,
            lost_blobs=files.lost_blobs + log.lost,
            refused_writes=files.refused_writes,
        )

    def ages(self) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        now = self._files.now()
        return tuple(map(add, self._files.index.ages(now), self._log.log.ages(now)))

    async def _put(self, space: str, hash_: str, data: bytes) -> None:
        """Raises OSError."""
        if len(data) <= self._limit:
            if not self._log.has_room(data):
                await self._open_segment(data)
            self._append(space, hash_, data)
            return
        if not self._files.index.fits(CHECK + len(data)):
            async with self._room_lock:
                await self._files.load()
                await self._make_room(CHECK + len(data))
        self._put_file(space, hash_, data)

    def _append(self, space: str, hash_: str, data: bytes) -> None:
        self._log.put(f"{space}/{hash_}", data)
        self._files.forget(space, hash_)

    def _put_file(self, space: str, hash_: str, data: bytes) -> None:
        self._files.put(space, hash_, data)
        self._log.forget(f"{space}/{hash_}")

    async def _open_segment(self, data: bytes) -> None:
        """Have a segment that takes the record. Raises OSError."""
        log = self._log.log
        async with self._room_lock:
            while not self._log.has_room(data):
                need = log.segment_bytes * (1 if log.segments else 2)  # the spare one
                await self._files.load()
                await self._make_room(need)
                if not self._log.has_room(data):  # or cleaning has opened one
                    await open_segment(log)

    async def _make_room(self, size: int) -> None:
        """Give up what was used the longest time ago until so many bytes fit."""
        before = self._log.log.next_number
        while not self._files.index.fits(size) and await self._evict_oldest(before, size):
            pass

    async def _evict_oldest(self, before: int, size: int) -> bool:
        """Whether something could go: a segment below that number, or so many bytes of files."""
        oldest = self._files.oldest()
        if await self._log.evict(before, oldest):
            return True
        return oldest is not None and self._files.evict(max(size, 1))


def _has_files(folder: Folder) -> bool:
    return any(name.startswith("=") for name in os.listdir(folder.root))
