"""The small blobs of a disk store: segments, with what waits for the disk done in threads.

With fsync, writers that come together share one trip to the disk (group commit), and a blob is
there for others only after it.
"""

import os
from collections.abc import Callable, Iterator, Sequence

import trio

from builder.base.digest import Digest, digest_of
from builder.stores.bulk import read_many, write_many
from builder.stores.checks import check_of
from builder.stores.folder import Folder
from builder.stores.interface import NamedT
from builder.stores.leases import Leases
from builder.stores.log import SegmentLog, checked
from builder.stores.log_keeper import LogKeeper
from builder.stores.memory import absent
from builder.stores.packing import frame_content
from builder.stores.quarantine import Quarantine
from builder.stores.segment import Segment
from builder.stores.single import read_one, write_one
from builder.stores.table import Entry


class SmallBlobs:
    """What `DiskBlobStore` does with blobs that fit into a segment."""

    def __init__(
        self,
        folder: Folder,
        quarantine: Quarantine,
        segment_bytes: int,
        lease_s: float,
        pack: bool,
        now: Callable[[], float],
    ) -> None:
        self.log = SegmentLog(folder, segment_bytes, Leases(lease_s), pack)
        self.keeper = LogKeeper(self.log, now)
        self.loaded = False  # hot: as the keeper says
        self._folder = folder
        self._quarantine = quarantine
        self._now = now
        self._dirty: dict[int, Segment] = {}
        self._syncing = trio.Lock()
        self._appended = 0
        self._synced = 0

    def close(self) -> None:
        self.keeper.close()

    async def load(self) -> None:
        """Learn what an earlier process left. Idempotent."""
        if not self.loaded:
            await self.keeper.load()
            self.loaded = True

    def absent(
        self, function: str, digests: Sequence[NamedT], limit: int
    ) -> tuple[dict[tuple[str, int], NamedT], list[NamedT]]:
        """As `SegmentLog.absent`."""
        return self.log.absent(function, digests, limit, self._now())

    def get_cached(self, digest: Digest) -> bytes | None:
        """The blob; None when the disk has to be waited for. Raises NotFoundError."""
        now = self._now()
        try:
            data = read_one(self.log, digest, now)
        except OSError as error:
            raise self._folder.converted(error) from error
        if data is not None:
            return data
        entry = self._find(digest)
        with self._folder.errors():
            stored = self.log.read_cached(entry, digest, now)
        return None if stored is None else self._checked(entry, digest, stored)

    def get_packed_cached(self, digest: Digest) -> bytes | None:
        """The frame in which the blob lies; None if it lies otherwise, or is to be waited for."""
        now = self._now()
        entry = self.log.find(digest, now)
        if entry is None or self.log.where(entry, digest)[2] == entry.size:
            return None
        with self._folder.errors():
            stored = self.log.read_cached(entry, digest, now)
        return stored if stored is not None and check_of(stored) == entry.check else None

    def is_packed(self, digest: Digest) -> bool:
        """Whether the blob is here, and lies in a frame."""
        entry = self.log.find(digest, self._now())
        return entry is not None and self.log.where(entry, digest)[2] != entry.size

    def put_packed_nowait(self, digest: Digest, frame: bytes) -> bool:
        """As `put_nowait`, of a frame of the blob that is kept as it is; False also for others."""
        log, size = self.log, digest.size_bytes
        if (
            self._folder.fsync != "none"
            or self.keeper.is_checkpoint_due()
            or not log.packs(frame, size)
        ):
            return False
        data = frame_content(frame, size)
        if (
            data is None
            or not log.has_room(len(frame))
            or digest_of(data, digest.function) != digest
        ):
            return False
        now = self._now()
        if log.find(digest, now) is None:
            with self._folder.errors():
                log.put(digest, data, now, frame)
        return True

    def renew(self, function: str, keys: bytes, sizes: Sequence[int]) -> list[bool]:
        """As `SegmentLog.renew`."""
        return self.log.renew(function, keys, sizes, self._now())

    def get_many_cached(
        self, function: str, keys: bytes, sizes: Sequence[int]
    ) -> list[bytes | None]:
        """As `bulk.read_many`."""
        with self._folder.errors():
            return read_many(self.log, function, keys, sizes, self._now())

    async def get(self, digest: Digest) -> bytes:
        while (data := self.get_cached(digest)) is None:
            entry = self._find(digest)
            segment, offset, size = self.log.where(entry, digest)
            segment.readers += 1
            try:
                with self._folder.errors():
                    stored = await trio.to_thread.run_sync(
                        os.pread, segment.descriptor, size, offset
                    )
            finally:
                segment.readers -= 1
                segment.leave()
            if self._find(digest).place == entry.place:  # else it was moved meanwhile
                return self._checked(entry, digest, stored)
        return data

    def put_nowait(self, digest: Digest, data: bytes) -> bool:
        """Whether these bytes are a new blob, verified, and stored now; False: `put` is asked."""
        if self._folder.fsync != "none" or self.keeper.is_checkpoint_due():
            return False
        try:
            return write_one(self.log, digest, data, self._now())
        except OSError as error:
            raise self._folder.converted(error) from error

    def put_many_nowait(self, function: str, keys: bytes, blobs: Sequence[bytes]) -> list[bool]:
        """As `bulk.write_many`."""
        if self._folder.fsync != "none" or self.keeper.is_checkpoint_due():
            return [False] * len(blobs)
        with self._folder.errors():
            return write_many(self.log, function, keys, blobs, self._now())

    async def put(self, digest: Digest, data: bytes, frame: bytes | None = None) -> None:
        """Verified bytes are stored, on the disk as fsync says, as the frame of them if there is
        one. There has to be room."""
        with self._folder.errors():
            if self._folder.fsync == "none":
                self.log.put(digest, data, self._now(), frame)
                return
            segment, key, entry = self.log.append(digest, data, self._now(), frame)
            segment.pending += 1
            self._dirty[segment.number] = segment
            self._appended += 1
            try:
                await self._sync(self._appended)
                self.log.set(digest.function, key, entry)
            finally:
                segment.pending -= 1

    def put_aside(self, digest: Digest, stored: bytes) -> None:
        """A damaged blob: what was read is kept for inspection, it is missing from now on."""
        self._quarantine.take_bytes(digest, stored)
        self.log.lose(digest.function, bytes.fromhex(digest.hash))

    def leased_bytes(self) -> int:
        return self.log.leased_bytes(self._now())

    def ages(self) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        return self.log.ages(self._now())

    def digests(self) -> Iterator[Digest]:
        """All that are here; they may not change meanwhile."""
        for function, table in self.log.tables.items():
            for key, entry in table.items():
                yield Digest(key.hex(), entry.size, function)

    def _find(self, digest: Digest) -> Entry:
        entry = self.log.find(digest, self._now())
        if entry is None:
            raise absent(digest)
        return entry

    def _checked(self, entry: Entry, digest: Digest, stored: bytes) -> bytes:
        data = checked(entry, digest, stored)
        if data is None:
            self.put_aside(digest, stored)
            raise self._quarantine.error(digest)
        return data

    async def _sync(self, appended: int) -> None:
        """Return when what was appended until then is on the disk."""
        async with self._syncing:
            if self._synced >= appended:
                return
            upto, dirty = self._appended, list(self._dirty.values())
            self._dirty.clear()
            try:
                for segment in dirty:
                    await trio.to_thread.run_sync(os.fdatasync, segment.descriptor)
            except BaseException:
                self._dirty.update((segment.number, segment) for segment in dirty)
                raise
            self._synced = upto
