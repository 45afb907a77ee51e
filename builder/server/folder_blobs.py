"""A directory of this machine into the storage, as REAPI Directory messages."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import trio

from builder.base.digest import Digest, digest_of, hasher
from builder.base.errors import InvalidArgumentError, ResourceExhaustedError
from builder.base.units import format_size
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.interface import PIECE, BlobStore


class FolderBlobs:
    """Stores what is beneath a folder, `most_bytes` at the most; links are kept as links."""

    def __init__(self, blobs: BlobStore, function: str, most_bytes: int) -> None:
        self._blobs = blobs
        self._function = function
        self._left = most_bytes
        self._most = most_bytes

    async def store(self, folder: Path) -> Digest:
        """The root Directory's digest. Raises ResourceExhaustedError, InvalidArgumentError."""
        directory = pb.Directory()
        for name in sorted(os.listdir(folder), key=os.fsencode):
            path = folder / name
            if not _is_text(name):
                raise InvalidArgumentError(f"the name {os.fsencode(name)!r} is not UTF-8")
            if path.is_symlink():
                directory.symlinks.add(name=name, target=os.readlink(path))
            elif path.is_dir():
                directory.directories.add(name=name, digest=to_proto(await self.store(path)))
            else:
                executable = bool(path.stat().st_mode & 0o100)
                file = to_proto(await self._file(path))
                directory.files.add(name=name, digest=file, is_executable=executable)
        data = directory.SerializeToString(deterministic=True)
        digest = digest_of(data, self._function)
        await self._blobs.put(digest, data)
        return digest

    async def _file(self, path: Path) -> Digest:
        digest = await trio.to_thread.run_sync(self._digest, path)
        async with aclosing(_pieces(path)) as pieces:
            await self._blobs.write(digest, pieces)
        return digest

    def _digest(self, path: Path) -> Digest:
        size = path.stat().st_size
        self._left -= size
        if self._left < 0:
            raise ResourceExhaustedError(
                f"the directory is over {format_size(self._most)} (assets.max_size)"
            )
        state = hasher(self._function, size)
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                state.update(piece)
        return Digest(state.hexdigest(), size, self._function)


async def _pieces(path: Path) -> AsyncGenerator[bytes, None]:
    async with await trio.open_file(path, "rb") as file:
        while piece := await file.read(PIECE):
            yield piece


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
