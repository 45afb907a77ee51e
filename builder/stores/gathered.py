"""Writes of small blobs that their callers feed: gathered in memory, stored at once by `put`."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.stores.interface import Buffer

Put = Callable[[Digest, bytes], Awaitable[None]]
MOST_FRAMES = 128 * 1024  # bytes of a small blob's


class GatheredUpload:
    """`put` verifies and stores the whole."""

    def __init__(self, digest: Digest, put: Put) -> None:
        self._digest = digest
        self._put = put
        self._data = bytearray()
        self._open = True

    @property
    def offset(self) -> int:
        return len(self._data)

    async def append(self, *pieces: Buffer) -> None:
        await trio.lowlevel.checkpoint()
        self.append_nowait(pieces)

    def append_nowait(self, pieces: Sequence[Buffer]) -> bool:
        if len(self._data) + sum(map(len, pieces)) > self._digest.size_bytes:
            raise InvalidArgumentError(f"more bytes came than {self._digest} has")
        for piece in pieces:
            self._data += piece
        return True

    async def commit(self) -> None:
        if self._open:
            self._open = False
            await self._put(self._digest, bytes(self._data))

    def abort(self) -> None:
        """What is stored already stays so, and so does the offset."""
        if self._open:
            self._open = False
            self._data.clear()


class GatheredFrames:
    """The same of Zstandard frames, which `put_frames` verifies and stores. What they give is not
    looked at before the end: so far no byte of the blob has come."""

    offset = 0

    def __init__(self, digest: Digest, put_frames: Put, put: Put) -> None:
        self._digest = digest
        self._put_frames = put_frames
        self._put = put
        self._frames = bytearray()
        self._open = True

    async def append(self, *pieces: Buffer) -> None:
        await trio.lowlevel.checkpoint()
        self.append_nowait(pieces)

    def append_nowait(self, pieces: Sequence[Buffer]) -> bool:
        if len(self._frames) + sum(map(len, pieces)) > MOST_FRAMES:
            raise InvalidArgumentError(f"these are too many frames for {self._digest}")
        for piece in pieces:
            self._frames += piece
        return True

    async def commit(self) -> None:
        if self._open:
            self._open = False
            await self._put_frames(self._digest, bytes(self._frames))

    async def unpacked(self) -> GatheredUpload:
        """Nothing has come yet."""
        await trio.lowlevel.checkpoint()
        self.abort()
        return GatheredUpload(self._digest, self._put)

    def abort(self) -> None:
        self._open = False
        self._frames.clear()
