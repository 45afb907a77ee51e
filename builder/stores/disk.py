"""Blobs on a disk: small ones in append-only segments, large ones as files, in one capacity.

Theory of operation. `SmallBlobs` and `FileBlobStore` each know what they hold, until when it is
promised, and what of it may go. Room is made here, by whichever of the two holds what was used
the longest time ago: a segment is cleaned, or files are removed. That is done by the writer that
needs the room, in small steps; readers and questions about existence never wait for it.

A directory of the first layout (`layout` is missing) has its small blobs in files. They are found
there as long as they live; when the last is gone, the directory is of the second layout.
"""

import os
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from operator import add
from pathlib import Path

import trio

from builder.base.digest import EMPTY, HASHERS, HEX_LENGTHS, Digest, is_empty
from builder.base.errors import NotFoundError, ResourceExhaustedError
from builder.reapi.compression import compressed, decompressed
from builder.stores.files import FileBlobStore
from builder.stores.folder import Folder, Fsync
from builder.stores.frames import UnpackingUpload
from builder.stores.gathered import GatheredFrames, GatheredUpload
from builder.stores.index import Occupancy
from builder.stores.interface import NamedT, PackedUpload, Upload
from builder.stores.layout import declare, is_first
from builder.stores.memory import check_bytes, check_range
from builder.stores.opening import open_segment
from builder.stores.packing import frame_content
from builder.stores.segment import SMALL
from builder.stores.small import SmallBlobs

LAYOUT = "2"
SEGMENTS = 256  # the capacity has room for so many
MIN_SEGMENT, MAX_SEGMENT = 1024 * 1024, 1024 * 1024 * 1024  # bytes
LEAST_CAPACITY = 16 * 1024 * 1024  # bytes; a smaller store has files only
EMPTY_KEYS = {function: bytes.fromhex(digest.hash) for function, digest in EMPTY.items()}
EVICT_AT_ONCE = 4 * 1024 * 1024  # bytes of files, before the two are compared again


class DiskBlobStore:
    """`capacity_bytes` of blobs under `root`, each promise kept for `lease_s` seconds.

    `now` is seconds since 1970. Raises UsageError when another process has the directory.
    """

    def __init__(
        self,
        root: Path,
        capacity_bytes: int,
        lease_s: float = 3 * 3600.0,
        fsync: Fsync = "none",
        now: Callable[[], float] = time.time,
        pack: bool = True,
    ) -> None:
        self.files = FileBlobStore(root, capacity_bytes, lease_s, fsync, now, pack)
        segment = min(MAX_SEGMENT, max(MIN_SEGMENT, capacity_bytes // SEGMENTS))
        folder, quarantine = self.files.folder, self.files.quarantine
        self.small = SmallBlobs(folder, quarantine, segment, lease_s, pack, now)
        self._limit = SMALL if capacity_bytes >= LEAST_CAPACITY else 0
        self._room_lock = trio.Lock()
        try:
            self._older = is_first(folder, LAYOUT, lambda: _has_files(folder))
        except BaseException:
            self.files.close()
            raise
        self.files.takes(lambda: self.small.log.used_bytes)
        self.files.relieves(self._relieve)

    @property
    def folder(self) -> Folder:
        return self.files.folder

    def close(self) -> None:
        self.small.close()
        self.files.close()

    async def load(self) -> None:
        """Learn what the disk holds, then evict what is beyond the capacity. Idempotent."""
        await self.small.load()
        await self.files.load()
        if self._older and self._limit and self.files.smallest_is_above(self._limit):
            declare(self.folder, LAYOUT)
            self._older = False
        async with self._room_lock:
            await self._make_room(0)

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        await trio.lowlevel.checkpoint()
        await self.small.load()
        every = list(dict.fromkeys(digests))
        missing: set[Digest] = set()
        for function in dict.fromkeys(digest.function for digest in every):
            group = [digest for digest in every if digest.function == function]
            missing.update(self._absent(function, group))
        return [digest for digest in every if digest in missing]

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        if digest.size_bytes >= self._limit:
            async with aclosing(self.files.read(digest, offset, limit)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        data = await self.get(digest)
        check_range(digest, offset)
        data = data[offset : None if limit is None else offset + limit]
        if data:
            yield data

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        upload = await self.begin(digest)
        try:
            async for chunk in chunks:
                await upload.append(chunk)
            await upload.commit()
        finally:
            upload.abort()

    async def get(self, digest: Digest) -> bytes:
        await trio.lowlevel.checkpoint()
        if digest.size_bytes >= self._limit:
            return await self.files.get(digest)
        if is_empty(digest):
            return b""
        await self.small.load()
        if self._is_older_file(digest):
            return await self.files.get(digest)
        return await self.small.get(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if digest.size_bytes >= self._limit:
            if not self._put_file(digest, data):
                await self._files_room(digest.size_bytes)
                await self.files.put(digest, data)
            return
        await self._put_small(digest, data, None)

    async def _put_small(self, digest: Digest, data: bytes, frame: bytes | None) -> None:
        check_bytes(digest, data)
        await self.small.load()
        await self.small.keeper.checkpoint_if_due()
        if not self._absent(digest.function, (digest,)):
            return
        if not self.small.log.has_room(len(data)):
            await self._segment(len(data))
        await self.small.put(digest, data, frame)

    async def _put_frames(self, digest: Digest, frames: bytes) -> None:
        """Of a small blob; kept as they are if that pays, and if they are one."""
        await trio.lowlevel.checkpoint()
        if self.put_packed_nowait(digest, frames):
            return
        data = decompressed("zstd", frames, digest.size_bytes)
        pays = self.small.log.packs(frames, digest.size_bytes)
        is_kept = pays and frame_content(frames, digest.size_bytes) == data
        await self._put_small(digest, data, frames if is_kept else None)

    async def begin(self, digest: Digest) -> Upload:
        if digest.size_bytes < self._limit:
            await trio.lowlevel.checkpoint()
            return GatheredUpload(digest, self.put)
        await self._files_room(digest.size_bytes)
        return await self.files.begin(digest)

    def get_packed_nowait(self, digest: Digest) -> bytes | None:
        if not self.small.loaded or self._older or digest.size_bytes >= self._limit:
            return None
        return self.small.get_packed_cached(digest)

    def put_packed_nowait(self, digest: Digest, frames: bytes) -> bool:
        if not self.small.loaded or self._older or digest.size_bytes >= self._limit:
            return False
        return self.small.put_packed_nowait(digest, frames)

    async def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        if digest.size_bytes >= self._limit:
            async with aclosing(self.files.forms.read_packed(digest)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        frames = self.get_packed_nowait(digest)
        if frames is None:
            data = await self.get(digest)  # which the disk may have to be waited for, once
            frames = self.get_packed_nowait(digest)
            frames = compressed("zstd", data) if frames is None else frames
        yield frames

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        upload = await self.begin_packed(digest)
        try:
            async for piece in frames:
                await upload.append(piece)
            await upload.commit()
        finally:
            upload.abort()

    async def is_packed(self, digest: Digest) -> bool:
        await trio.lowlevel.checkpoint()
        if digest.size_bytes < self._limit:
            await self.small.load()
            return self.small.is_packed(digest)
        try:
            return not self.files.is_plain(digest)
        except NotFoundError:
            return False

    async def begin_packed(self, digest: Digest) -> PackedUpload:
        if not self.files.forms.keep:
            return UnpackingUpload(digest, await self.begin(digest))
        if digest.size_bytes < self._limit:
            await trio.lowlevel.checkpoint()
            return GatheredFrames(digest, self._put_frames, self.put)
        await self._files_room(digest.size_bytes)
        return await self.files.begin_packed(digest)

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here."""
        await self.small.load()
        size = self.small.log.size(function, hash_)
        return await self.files.size_of(function, hash_) if size is None else size

    def absent_nowait(self, function: str, digests: Sequence[NamedT]) -> list[NamedT] | None:
        return self._absent(function, digests) if self.small.loaded else None

    def strange(
        self, function: str, keys: bytes, sizes: Callable[[], Sequence[int]], at_most: int
    ) -> list[bool] | None:
        if not self.small.loaded or EMPTY_KEYS[function] in keys:
            return None
        flags = self.small.log.table(function).strange(keys)
        if self._older:
            return self.files.strange(function, keys, flags)
        limit, width = self._limit, HEX_LENGTHS[function] // 2
        if at_most >= limit:
            large = [index for index, size in enumerate(sizes()) if size >= limit]
            if not large:
                return flags
            some = b"".join([keys[index * width : index * width + width] for index in large])
            gone = self.files.strange(function, some, [flags[index] for index in large])
            if gone is None:
                return None
            for index, flag in zip(large, gone, strict=True):
                flags[index] = flag
        return flags

    def get_nowait(self, digest: Digest) -> bytes | None:
        small, size = self.small, digest[1]
        if 0 < size < self._limit and small.loaded and not self._older:
            return small.get_cached(digest)
        if size >= self._limit:
            return self.files.get_nowait(digest)
        if not size and is_empty(digest):
            return b""
        if not small.loaded or self._is_older_file(digest):
            return None
        return small.get_cached(digest)

    def renew_nowait(self, function: str, keys: bytes, sizes: Sequence[int]) -> list[bool] | None:
        if not self.small.loaded or self._older:
            return None
        return self.small.renew(function, keys, sizes)

    def get_many_nowait(
        self, function: str, keys: bytes, sizes: Sequence[int]
    ) -> list[bytes | None]:
        if not self.small.loaded or self._older:
            return [None] * len(sizes)
        return self.small.get_many_cached(function, keys, sizes)

    def put_many_nowait(self, function: str, keys: bytes, blobs: Sequence[bytes]) -> list[bool]:
        longest = max(map(len, blobs), default=0)
        if not self.small.loaded or self._older or longest >= self._limit:
            return [False] * len(blobs)
        return self.small.put_many_nowait(function, keys, blobs)

    def put_nowait(self, digest: Digest, data: bytes) -> bool:
        if digest.size_bytes >= self._limit:
            return self._put_file(digest, data)
        if not self.small.loaded:
            check_bytes(digest, data)
            return False
        if not self._older and self.small.put_nowait(digest, data):
            return True
        check_bytes(digest, data)
        return not self._absent(digest.function, (digest,))  # what is there is renewed

    async def shrink(self, to_bytes: int) -> None:
        """Evict what was used the longest time ago until so much is used, as leases allow."""
        await self.load()
        async with self._room_lock:
            before = self.small.log.next_number
            while self.snapshot().used_bytes > to_bytes:
                if not await self._evict_oldest(before):
                    return

    def digests(self) -> Iterator[Digest]:
        """All of a loaded store; they may not change meanwhile."""
        yield from self.small.digests()
        yield from self.files.digests()

    def stamp(self) -> int:
        return self.files.stamp() << 32 | self.small.log.lost

    def path(self, digest: Digest) -> str:
        """A large blob's file, which it may be compressed in. Raises NotFoundError."""
        return self.files.path(digest)

    def snapshot(self) -> Occupancy:
        files, log = self.files.snapshot(), self.small.log
        return Occupancy(
            blobs=files.blobs + log.blobs,
            used_bytes=files.used_bytes + log.used_bytes,
            reserved_bytes=files.reserved_bytes,
            capacity_bytes=files.capacity_bytes,
            evicted_blobs=files.evicted_blobs + log.evicted,
            evicted_bytes=files.evicted_bytes + log.evicted_bytes,
            lost_blobs=files.lost_blobs + log.lost,
            refused_writes=files.refused_writes,
            leased_bytes=files.leased_bytes + self.small.leased_bytes(),
        )

    def ages(self) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        return tuple(map(add, self.files.ages(), self.small.ages()))

    def check(self) -> None:
        """Invariants, for tests."""
        self.files.check()
        self.small.log.check()

    async def _files_room(self, size: int) -> None:
        """Make room for a file, out of segments too. It refuses by itself if there is none."""
        if not self.files.fits(size):
            await self.small.load()
            await self.files.load()
            async with self._room_lock:
                await self._make_room(size)

    def _absent(self, function: str, digests: Sequence[NamedT]) -> list[NamedT]:
        missing, large = self.small.absent(function, digests, self._limit)
        if not missing and not large:
            return []
        missing.pop((EMPTY[function].hash, 0), None)
        if self._older and missing:
            still = self.files.absent_nowait(function, list(missing.values()))
            missing = {(d.hash, d.size_bytes): d for d in still}
        if large:
            gone = self.files.absent_nowait(function, large)
            missing.update(((d.hash, d.size_bytes), d) for d in gone)
        keys = dict.fromkeys((digest.hash, digest.size_bytes) for digest in digests)
        return [missing[key] for key in keys if key in missing]

    def _put_file(self, digest: Digest, data: bytes) -> bool:
        """As `FileBlobStore.put_nowait`; what a full disk refuses is tried again with relief."""
        try:
            return self.files.put_nowait(digest, data)
        except ResourceExhaustedError:
            return False

    def _is_older_file(self, digest: Digest) -> bool:
        """Whether a small blob is a file of the first layout."""
        if not self._older or self.small.log.size(digest.function, digest.hash) is not None:
            return False
        return not self.files.absent_nowait(digest.function, (digest,))

    async def _segment(self, size: int) -> None:
        """Open a segment that takes so many bytes. Raises ResourceExhaustedError."""
        log = self.small.log
        async with self._room_lock:
            if log.has_room(size):
                return
            need = log.segment_bytes * (1 if log.segments else 2)  # the spare one
            if not self.files.fits(need):
                await self.files.load()
                await self._make_room(need)
            if log.has_room(size):  # what cleaning opened
                return
            if not self.files.fits(need):
                self.files.refuse(need)
            try:
                with self.folder.errors():
                    await open_segment(log)
            except ResourceExhaustedError:
                if not await self._evict_oldest(log.next_number):
                    raise
                if not log.has_room(size):
                    with self.folder.errors():
                        await open_segment(log)

    async def _make_room(self, size: int) -> None:
        """Evict what was used the longest time ago until so many bytes fit, or leases forbid."""
        before = self.small.log.next_number
        while not self.files.fits(size):
            if not await self._evict_oldest(before):
                return

    async def _evict_oldest(self, before: int) -> bool:
        """Whether something could go, segments below that number among it."""
        found, oldest = await self.small.keeper.candidate(before), self.files.oldest()
        if found is not None and (oldest is None or found.used <= oldest):
            await self.small.keeper.clean(found.segment)
            return True
        return oldest is not None and await self.files.evict(EVICT_AT_ONCE) > 0

    async def _relieve(self) -> bool:
        """The disk is full before the store is: give up what may go. Whether something did."""
        async with self._room_lock:
            return await self._evict_oldest(self.small.log.next_number)


def _has_files(folder: Folder) -> bool:
    """Whether blobs were ever stored here in the way of the first layout."""
    return any(os.path.isdir(f"{folder.root}/{function}") for function in HASHERS)
