"""A write of a small blob that its caller feeds: gathered in memory, stored at once by `put`."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.stores.interface import Buffer


class GatheredUpload:
    """`put` verifies and stores the whole."""

    def __init__(self, digest: Digest, put: Callable[[Digest, bytes], Awaitable[None]]) -> None:
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
