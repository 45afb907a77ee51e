"""Blobs as files: `{root}/{function}/{first two digits}/{hash}-{size}`, at most so many bytes.

Theory of operation. The index in memory says what is here; a file's modification time is when it
was last used, to the tick, so that promises outlive the process. At start the index is empty and
`load` fills it in the background; until then what it does not know is asked of the file system,
and nothing is evicted. A file's appearance (rename) and disappearance (unlink) happen in the
event loop together with the index's change, so the two cannot be seen apart. A blob that is being
read is an open file, which eviction cannot cut off.

Small files are read and written in place: a hop to a thread and back takes 65 us, a 2 KB file 40.
A large blob is hashed when it is written, and once in a while when it is read (`verified`), before
a part of it is given, and else on the way: bytes that are not those of its digest are put aside,
and it is missing from then on. It may lie compressed (`packed`, `forms`).
"""

import contextlib
import os
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

import trio

from builder.base.digest import HEX, HEX_LENGTHS, Digest, Hasher, digest_of, hasher, is_empty
from builder.base.errors import NotFoundError
from builder.stores.entries import PackedEntries, key_of, parts_of
from builder.stores.folder import Folder, Fsync, remove
from builder.stores.forms import Forms, is_cached
from builder.stores.index import Index, Occupancy, Restored
from builder.stores.interface import NamedT
from builder.stores.memory import absent, check_bytes, check_range
from builder.stores.packed import plain_of, stored_bytes
from builder.stores.packed_upload import DiskPackedUpload
from builder.stores.quarantine import Quarantine
from builder.stores.scan import Damaged, scan
from builder.stores.upload import DiskUpload
from builder.stores.verified import Verified

PIECE = 256 * 1024  # bytes of one read: what a stream that nobody takes from holds in memory
SMALL = 128 * 1024  # bytes up to which a file is read or written without a thread
UNLINK_INLINE = 1024 * 1024  # larger ones take the file system long enough to deserve a thread
RELIEF = 16 * 1024 * 1024  # bytes that are evicted when the disk is full
T = TypeVar("T")
BLOCK = 4096  # what the file system gives out at least


class FileBlobStore:
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
        self.folder = Folder(root, fsync)
        self.forms = Forms(self, pack)
        self.quarantine = Quarantine(self.folder.root)
        self._index = Index(capacity_bytes, lease_s, BLOCK, PackedEntries)
        self._now = now
        self._started = now()
        self._loaded = False
        self._loading = trio.Lock()
        self._relieve: Callable[[], Awaitable[bool]] = self._evict_some
        self._lost: set[str] = set()  # keys, until the index is loaded
        self._shards: set[str] = set()  # directories that are there
        self._verified = Verified()

    def close(self) -> None:
        self.folder.close()

    async def load(self) -> None:
        """Fill the index from the disk, then evict what is beyond the capacity. Idempotent."""
        async with self._loading:
            if self._loaded:
                return
            restored, damaged = await trio.to_thread.run_sync(self._restore, abandon_on_cancel=True)
            for path, size in damaged:  # cut short by a loss of power
                if stored_bytes(path, size) < 0:
                    remove(path)
            self._index.adopt(restored)
            for key in self._lost:  # the scan may have seen them before they went
                size = self._index.size(key) or 0
                if stored_bytes(self._file(key, size), size) < 0:
                    self._index.drop(key)
            self._loaded = True
            await self._bury(self._index.overflow(self._now()))

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        await trio.lowlevel.checkpoint()
        every = list(dict.fromkeys(digests))
        missing: set[Digest] = set()
        for function in dict.fromkeys(digest.function for digest in every):
            group = [digest for digest in every if digest.function == function]
            missing.update(self.absent_nowait(function, group))
        return [digest for digest in every if digest in missing]

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        descriptor = self.open(digest)
        try:
            check_range(digest, offset)
            end = digest.size_bytes if limit is None else min(digest.size_bytes, offset + limit)
            file = os.fstat(descriptor) if offset < end else None
            if file is not None and file.st_size != digest.size_bytes:
                async with aclosing(self.forms.read(descriptor, digest, offset, end)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            if file is not None and not self.is_verified(digest, file):
                whole = end - offset == digest.size_bytes
                async with aclosing(self._hashed(descriptor, digest, file)) as pieces:
                    async for piece in pieces:
                        if whole:
                            yield piece
                if whole:
                    return
            for start in range(offset, end, PIECE):
                yield await self._piece(descriptor, min(PIECE, end - start), start, digest, None)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

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
        data = self.get_nowait(digest)
        if data is None:
            descriptor = self.open(digest)
            with self.folder.errors():
                whole = await trio.to_thread.run_sync(_read_whole, descriptor, digest)
            data, found = whole
            self._verify(digest, found)
        return data

    async def put(self, digest: Digest, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if not self.put_nowait(digest, data):
            upload = await self.begin(digest)
            try:
                await upload.append(data)
                await upload.commit()
            finally:
                upload.abort()

    async def begin(self, digest: Digest) -> DiskUpload:
        return await self._begin(digest, DiskUpload)

    async def begin_packed(self, digest: Digest) -> DiskPackedUpload:
        """As `begin`, for Zstandard frames of the blob."""
        return await self._begin(digest, DiskPackedUpload)

    async def _begin(self, digest: Digest, make: "Callable[[FileBlobStore, Digest], T]") -> T:
        await trio.lowlevel.checkpoint()
        if not self._loaded and not self._index.fits(digest.size_bytes):
            await self.load()
        victims = self._index.reserve(digest.size_bytes, self._now())
        try:
            await self._bury(victims)
            return make(self, digest)
        except BaseException:
            self._index.release(digest.size_bytes)
            raise

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here."""
        await trio.lowlevel.checkpoint()
        size = self._index.size(key_of(function, hash_))
        if size is None and not self._loaded:
            await self.load()
            size = self._index.size(key_of(function, hash_))
        return size

    def absent_nowait(self, function: str, digests: Sequence[NamedT]) -> list[NamedT]:
        missing = self._index.absent(function, digests, self._now())
        if self._index.renewed and not self._persist():
            missing = self._index.absent(function, digests, self._now())
        if missing and not self._loaded:
            missing = [d for d in missing if not self._discover(function, d.hash, d.size_bytes)]
        return missing

    def strange(self, function: str, keys: bytes, flags: list[bool]) -> list[bool] | None:
        """Those of `flags` whose blobs are no files; None before `load` is done."""
        return self._index.strange(function, keys, flags) if self._loaded else None

    def get_nowait(self, digest: Digest) -> bytes | None:
        if digest.size_bytes > SMALL:
            return None
        if is_empty(digest):
            return b""
        with self.folder.errors():
            data, found = _read_whole(self.open(digest), digest)
        self._verify(digest, found)
        return data

    def put_nowait(self, digest: Digest, data: bytes) -> bool:
        if len(data) > SMALL:
            return False
        check_bytes(digest, data)
        if not self.absent_nowait(digest.function, (digest,)):
            return True
        if self.folder.fsync != "none" or not self._index.fits(len(data)):
            return False
        with self.folder.errors():
            self.folder.write(self.place(digest), data, self._now())
        self._index.add(key_of(digest.function, digest.hash), len(data), self._now())
        return True

    def stamp(self) -> int:
        return self._index.stamp(self._now())

    def fits(self, size: int) -> bool:
        """Whether there is room without evicting anything."""
        return self._index.fits(size)

    def takes(self, others: Callable[[], int]) -> None:
        """`others` says how many bytes of the capacity are taken by what is not in this store."""
        self._index.others = others

    async def relieve(self) -> bool:
        """The disk is full before the store is: evict something. Whether that was possible."""
        return await self._relieve()

    def relieves(self, relieve: Callable[[], Awaitable[bool]]) -> None:
        """Who knows better what to evict on a disk that is full."""
        self._relieve = relieve

    def refuse(self, size: int) -> None:
        """Raises ResourceExhaustedError for a write that needs so many bytes."""
        self._index.refuse(size, self._now())

    def smallest_is_above(self, limit: int) -> bool:
        """Whether all blobs here have at least `limit` bytes."""
        return self._index.smallest_is_above(limit)

    def oldest(self) -> float | None:
        """When the blob that would go first was last used, in seconds; None if none may go."""
        return self._index.oldest(self._now())

    async def evict(self, size: int) -> int:
        """Make room by about so many bytes, as far as leases allow; the bytes that went."""
        victims = self._index.evict(size, self._now())
        await self._bury(victims)
        return sum(blob for _, blob in victims)

    def path(self, digest: Digest) -> str:
        """The blob's file, which it may be compressed in. Raises NotFoundError."""
        if self.absent_nowait(digest.function, (digest,)):
            raise absent(digest)
        return self._path(digest.function, digest.hash, digest.size_bytes)

    def snapshot(self) -> Occupancy:
        return self._index.snapshot(self._now())

    def ages(self) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        return self._index.ages(self._now())

    def check(self) -> None:
        """Invariants, for tests: once loaded, index and directory say the same."""
        self._index.check()
        if self._loaded:
            damaged: Damaged = []
            found = list(scan(self.folder.root, damaged))
            assert not damaged
            assert len(found) == self._index.snapshot().blobs
            assert all(self._index.size(key) == size for _, key, size, _ in found)
            blocks = sum(-(-stored // BLOCK) for _, _, _, stored in found)
            assert blocks * BLOCK == self._index.snapshot().used_bytes

    def put_aside(self, digest: Digest) -> None:
        """A damaged blob: kept for inspection, missing from now on."""
        path = self._path(digest.function, digest.hash, digest.size_bytes)
        with contextlib.suppress(FileNotFoundError), self.folder.errors():
            self.quarantine.take_file(digest, path)
        self._lose(key_of(digest.function, digest.hash))

    def digests(self) -> Iterator[Digest]:
        """All that the index knows; they may not change meanwhile."""
        for key, size in self._index.entries():
            function, hash_ = parts_of(key)
            yield Digest(hash_, size, function)

    def place(self, digest: Digest) -> str:
        """Where a new file goes; its directory is there."""
        shard = f"{digest.function}/{digest.hash[:2]}"
        if shard not in self._shards:
            os.makedirs(f"{self.folder.root}/{shard}", exist_ok=True)
            self._shards.add(shard)
        return self._path(digest.function, digest.hash, digest.size_bytes)

    def appear(self, digest: Digest, temporary: str) -> str:
        """The end of a write: verified bytes for which room is reserved become the blob."""
        path = self._settle(digest, temporary)
        self.release(digest.size_bytes)
        return path

    def replace(self, digest: Digest, temporary: str) -> None:
        """Verified bytes of the blob in another form, if it is still here."""
        if self._index.size(key_of(digest.function, digest.hash)) is not None:
            self._settle(digest, temporary)

    def reserve_free(self, size: int) -> bool:
        """Keep room that nobody has to leave; whether there is so much."""
        return self._index.fits(size) and not self._index.reserve(size, self._now())

    def is_plain(self, digest: Digest) -> bool:
        """Whether the blob's file is as the blob is."""
        return stored_bytes(self.path(digest), digest.size_bytes) == digest.size_bytes

    def _settle(self, digest: Digest, temporary: str) -> str:
        path = self.place(digest)
        now = self._now()
        os.utime(temporary, (now, now))
        os.rename(temporary, path)
        key, file = key_of(digest.function, digest.hash), os.stat(path)
        self._index.add(key, digest.size_bytes, now, file.st_size)
        self._verified.add(key, file)
        return path

    def release(self, size: int) -> None:
        self._index.release(size)

    async def _evict_some(self) -> bool:
        return await self.evict(RELIEF) > 0

    def _path(self, function: str, hash_: str, size: int) -> str:
        return f"{self.folder.root}/{function}/{hash_[:2]}/{hash_}-{size}"

    def open(self, digest: Digest) -> int:
        """A descriptor; -1 for the empty blob. Raises NotFoundError."""
        if is_empty(digest):
            return -1
        path = self.path(digest)
        with self.folder.errors():
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self._lose(key_of(digest.function, digest.hash))
        raise absent(digest)

    async def _hashed(
        self, descriptor: int, digest: Digest, file: os.stat_result
    ) -> AsyncGenerator[bytes, None]:
        """All pieces, the last one only if they are those of the digest."""
        state, size = hasher(digest.function, digest.size_bytes), digest.size_bytes
        for start in range(0, size, PIECE):
            piece = await self._piece(descriptor, min(PIECE, size - start), start, digest, state)
            if start + PIECE >= size:
                self.judge(digest, digest._replace(hash=state.hexdigest()), file)
            yield piece

    def is_verified(self, digest: Digest, file: os.stat_result) -> bool:
        """Whether nobody has to hash it who reads of it."""
        return self._verified.knows(key_of(digest.function, digest.hash), file)

    def judge(self, digest: Digest, found: Digest, file: os.stat_result) -> None:
        """The file's bytes are those of `found`. Raises NotFoundError if it should have others."""
        self._verify(digest, found)
        self._verified.add(key_of(digest.function, digest.hash), file)

    def damaged(self, digest: Digest) -> NotFoundError:
        """To be raised: the blob is put aside."""
        self.put_aside(digest)
        return self.quarantine.error(digest)

    def _restore(self) -> tuple[Restored, Damaged]:
        damaged: Damaged = []
        found = scan(self.folder.root, damaged)
        return self._index.restored(found, self._started), damaged

    async def _piece(
        self, descriptor: int, want: int, start: int, digest: Digest, state: Hasher | None
    ) -> bytes:
        """Read and hashed; a megabyte's hash takes 0.8 ms, which is a thread's work."""
        with self.folder.errors():
            if want <= SMALL or (state is None and is_cached(descriptor, start, start + want - 1)):
                await trio.lowlevel.checkpoint()
                data = _read_piece(descriptor, want, start, state)
            else:
                data = await trio.to_thread.run_sync(_read_piece, descriptor, want, start, state)
        if len(data) != want:
            self._verify(digest, Digest("", start + len(data)))
        return data

    def _verify(self, digest: Digest, found: Digest) -> None:
        """A blob that is not what it was is put aside, and is missing from now on."""
        if found != digest:
            raise self.damaged(digest)

    def _lose(self, key: str) -> None:
        self._index.lose(key)
        self._verified.forget(key)
        if not self._loaded:
            self._lost.add(key)

    def _file(self, key: str, size: int) -> str:
        """The path of an entry."""
        return self._path(*parts_of(key), size)

    def _discover(self, function: str, hash_: str, size: int) -> bool:
        """Whether a blob that the index does not know yet is on the disk."""
        if HEX_LENGTHS.get(function) != len(hash_) or not HEX.issuperset(hash_):
            return False
        path = self._path(function, hash_, size)
        now = self._now()
        with self.folder.errors():
            stored = stored_bytes(path, size)
            if stored < 0:
                return False
            os.utime(path, (now, now))
        self._index.add(key_of(function, hash_), size, now, stored)
        return True

    def _persist(self) -> bool:
        """Write renewed leases down; False if a file turned out to be gone."""
        now = self._now()
        whole = True
        later = []
        for key, size in self._index.renewed:
            try:
                os.utime(self._file(key, size), (now, now))
            except FileNotFoundError:
                self._lose(key)
                whole = False
            except OSError:  # the disk does not take it now; it holds as long as we run
                later.append((key, size))
        self._index.renewed[:] = [one for one in later if self._index.size(one[0]) is not None]
        return whole

    async def _bury(self, victims: Sequence[tuple[str, int]]) -> None:
        """Remove the files of evicted entries, without stalling other calls for long."""
        for count, (key, size) in enumerate(victims):
            if count:
                await trio.lowlevel.cancel_shielded_checkpoint()
            if self._index.size(key) is not None:  # written again meanwhile
                continue
            path = self._file(key, size)
            if size <= UNLINK_INLINE:
                self.folder.discard(path)
            else:
                await self._bury_large(path)

    async def _bury_large(self, path: str) -> None:
        grave = self.folder.temporary()
        try:
            os.rename(path, grave)
        except FileNotFoundError:
            return
        except OSError:
            grave = path
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self.folder.discard, grave)


def _read_piece(descriptor: int, want: int, start: int, state: Hasher | None) -> bytes:
    data = os.pread(descriptor, want, start)
    if state is not None:
        state.update(data)
    return data


def _read_whole(descriptor: int, digest: Digest) -> tuple[bytes, Digest]:
    """A file's bytes and their digest; closes the descriptor."""
    try:
        data = os.read(descriptor, digest.size_bytes)
    finally:
        os.close(descriptor)
    if len(data) != digest.size_bytes:
        data = plain_of(data, digest.size_bytes)
    return data, digest_of(data, digest.function)
