"""Files of blobs on this worker's disk, verified and read-only, ready to be hard-linked.

A file stays while something pins it (a tree that links to it); the least recently used others go
when there are more than `max_bytes`. The same blob is two files when it is wanted executable and
not: a hard link shares the mode. All of them carry one modification time, so that what an action
writes down of its inputs does not depend on when they were fetched.
"""

import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import trio

from builder.base.digest import Digest, hasher, is_empty
from builder.base.errors import DataLossError
from builder.stores.interface import BlobStore

MTIME_NS = 946_684_800 * 10**9  # 2000-01-01: zip archives know nothing before 1980
SMALL_BYTES = 1024 * 1024  # read whole rather than in pieces

Key = tuple[Digest, bool]  # the blob, and whether its file is executable


@dataclass(slots=True)
class _File:
    path: str
    size_bytes: int
    pins: int = 0


class ContentCache:
    """`directory` is this cache's alone; what an earlier process left there is not trusted."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = str(directory)
        self._max_bytes = max_bytes
        self._files: dict[Key, _File] = {}
        self._idle: OrderedDict[Key, None] = OrderedDict()  # unpinned, the longest so first
        self._arriving: dict[Key, trio.Event] = {}
        self._bytes = 0
        self._count = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    @property
    def over_budget(self) -> bool:
        return self._bytes > self._max_bytes

    async def pin(self, blobs: BlobStore, key: Key) -> str:
        """The blob's file, fetched if it is not here, kept until `unpin`.

        Raises NotFoundError; DataLossError when the storage's bytes are not those of the digest.
        """
        while (arrival := self._arriving.get(key)) is not None:
            await arrival.wait()  # then look again: it may have failed
        file = self._files.get(key)
        if file is None:
            self._arriving[key] = trio.Event()
            try:
                file = await self._fetch(blobs, key)
            finally:
                self._arriving.pop(key).set()
            self._files[key] = file
            self._bytes += file.size_bytes
        self._idle.pop(key, None)
        file.pins += 1
        return file.path

    def unpin(self, key: Key) -> None:
        file = self._files[key]
        file.pins -= 1
        if file.pins == 0:
            self._idle[key] = None

    def drop_one(self) -> bool:
        """Forget the file that nothing has pinned for the longest; False when all are pinned."""
        if not self._idle:
            return False
        key, _ = self._idle.popitem(last=False)
        file = self._files.pop(key)
        self._bytes -= file.size_bytes
        os.unlink(file.path)
        return True

    async def _fetch(self, blobs: BlobStore, key: Key) -> _File:
        digest, executable = key
        self._count += 1
        path = os.path.join(self._directory, f"{self._count:08x}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                await _copy(blobs, digest, descriptor)
                os.fchmod(descriptor, 0o555 if executable else 0o444)
                os.utime(descriptor, ns=(MTIME_NS, MTIME_NS))
            finally:
                os.close(descriptor)
        except BaseException:
            os.unlink(path)
            raise
        return _File(path, digest.size_bytes)


async def _copy(blobs: BlobStore, digest: Digest, descriptor: int) -> None:
    state = hasher(digest.function, digest.size_bytes)
    size_bytes = 0
    async for piece in _pieces(blobs, digest):
        state.update(piece)
        size_bytes += len(piece)
        view = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]
    if (state.hexdigest(), size_bytes) != (digest.hash, digest.size_bytes):
        raise DataLossError(f"the storage gave other bytes than {digest} names")


async def _pieces(blobs: BlobStore, digest: Digest) -> AsyncIterator[bytes]:
    if is_empty(digest):
        return
    if digest.size_bytes <= SMALL_BYTES:
        yield await blobs.get(digest)
        return
    async for piece in blobs.read(digest):
        yield piece
