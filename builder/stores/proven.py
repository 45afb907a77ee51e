"""A blob's pieces, the last of which is held back until it is known that they are that blob's."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import trio

from builder.base.digest import Digest, hasher
from builder.base.errors import DataLossError, InvalidArgumentError
from builder.reapi.compression import decompressor

IN_PLACE = 32 * 1024  # bytes of frames that take 0.1 ms


class Proof(Protocol):
    """What is known of the pieces so far."""

    async def take(self, piece: bytes) -> None:
        """Raises InvalidArgumentError for what cannot be of the blob."""
        ...

    def holds(self) -> bool:
        """Whether all of them are the blob. Raises as `take` does."""
        ...


async def proven(
    digest: Digest, pieces: AsyncGenerator[bytes, None], proof: Proof
) -> AsyncGenerator[bytes, None]:
    """So no reader ever has all of a blob that is another one. Raises DataLossError for that."""
    held = b""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await proof.take(piece)
                if held:
                    yield held
                held = piece
        holds = proof.holds()
    except InvalidArgumentError as error:
        raise DataLossError(f"what was read is not {digest}: {error.message}") from None
    if not holds:
        raise DataLossError(f"other bytes were read than those of {digest}")
    if held:
        yield held


class PlainProof:
    """Of the bytes themselves."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._state = hasher(digest.function, digest.size_bytes)

    async def take(self, piece: bytes) -> None:
        self._state.update(piece)

    def holds(self) -> bool:
        return self._state.hexdigest() == self._digest.hash


class FramesProof:
    """Of Zstandard frames: what they give is hashed, and forgotten."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._frames = decompressor("zstd", digest.size_bytes)
        self._state = hasher(digest.function, digest.size_bytes)
        self._given = 0

    async def take(self, piece: bytes) -> None:
        if len(piece) <= IN_PLACE:
            self._unpack(piece)
        else:
            await trio.to_thread.run_sync(self._unpack, piece)

    def holds(self) -> bool:
        self._frames.finish()
        found = Digest(self._state.hexdigest(), self._given, self._digest.function)
        return found == self._digest

    def _unpack(self, piece: bytes) -> None:
        for plain in self._frames.feed(piece):
            self._given += len(plain)
            self._state.update(plain)
