"""Uploads on their way: by resource name, so that a cut connection loses nothing.

Theory of operation. An upload belongs to the call that fed it last. When that call ends without
finishing, what has come stays, and another call with the same name goes on at its offset. A new
call takes an upload over even while the old one still seems alive, because clients notice a dead
connection before servers do; the old call then ends with ABORTED. Uploads that nobody goes on
with are forgotten after a while, the oldest first when there are too many.

Where an upload is, plain bytes say, of a compressed one too: whoever goes on with that begins
anew to compress at this byte (`intake`). A store that keeps frames is given them as they come; one
that was cut and is gone on with comes plain from there on.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import trio

from builder.base.digest import Digest
from builder.base.errors import AbortedError, InvalidArgumentError, StatusError
from builder.net.rpc import Buffer, Call
from builder.server.chunks import WriteChunk, chunk_of, following, next_chunk
from builder.server.intake import Intake, Unpacking
from builder.stores.frames import write_packed, write_plain
from builder.stores.interface import (
    BlobStore,
    LocalPackedStore,
    PackedUpload,
    ResumableStore,
    Upload,
)

IDLE_S = 600.0  # how long an unfinished upload waits for its client
MOST_UPLOADS = 10_000


class _Partial:
    __slots__ = ("lock", "owner", "packed", "upload", "used")

    def __init__(
        self, upload: Upload, packed: PackedUpload | None, owner: Call, used: float
    ) -> None:
        self.upload = upload
        self.packed = packed  # the same one, as long as it takes frames
        self.owner: Call | None = owner
        self.used = used
        self.lock = trio.Lock()


class Uploads:
    """Unfinished writes into `blobs`; without a resumable store they end with their call."""

    def __init__(self, blobs: BlobStore, now: Callable[[], float] = trio.current_time) -> None:
        self._blobs = blobs
        self._resumable = blobs if isinstance(blobs, ResumableStore) else None
        self._packing = blobs if isinstance(blobs, LocalPackedStore) else None
        self._now = now
        self._partials: dict[str, _Partial] = {}  # in the order of last use

    def offset(self, resource: str) -> int | None:
        """How much of an unfinished upload has come; None if there is no such upload."""
        partial = self._partials.get(resource)
        return None if partial is None else partial.upload.offset

    async def receive(
        self, first: WriteChunk, digest: Digest, call: Call, compressor: str = "identity"
    ) -> int:
        """Take a call's requests, the first one given, to the end; the committed size.

        Raises InvalidArgumentError for wrong offsets, names and bytes.
        """
        if self._resumable is None:
            if first.write_offset:
                raise InvalidArgumentError("this storage cannot resume; start at offset 0")
            is_zstd = compressor == "zstd"
            intake = Intake(0) if is_zstd else _intake(compressor, 0, digest.size_bytes)
            write = write_packed if is_zstd else write_plain
            async with aclosing(_chunks(first, call, intake)) as chunks:
                await write(self._blobs, digest, chunks)
            return intake.expected
        partial = await self._open(self._resumable, first, digest, call, compressor)
        try:
            if partial.packed is not None:
                intake = Intake(partial.upload.offset)
            else:
                intake = _intake(compressor, partial.upload.offset, digest.size_bytes)
            return await self._feed(partial, first, call, intake)
        finally:
            if partial.owner is call:
                partial.owner = None
                partial.used = self._now()

    def close(self) -> None:
        """Forget all of them."""
        for partial in self._partials.values():
            partial.upload.abort()
        self._partials.clear()

    async def _open(
        self,
        store: ResumableStore,
        first: WriteChunk,
        digest: Digest,
        call: Call,
        compressor: str,
    ) -> _Partial:
        name = first.resource_name
        partial = self._partials.get(name)
        if partial is not None:
            partial.owner = call
            async with partial.lock:  # what the call before it had in hand is in the file now
                _check_owner(partial, call)
                if first.write_offset:
                    await self._unpack(name, partial)
            if first.write_offset:
                self._partials[name] = self._partials.pop(name, partial)
                return partial
            self._forget(name)
        if first.write_offset:
            raise InvalidArgumentError(
                f"write_offset is {first.write_offset} and nothing of this upload is here; "
                "start at offset 0"
            )
        self._expire()
        packed = None
        if compressor == "zstd" and self._packing is not None:
            packed = await self._packing.begin_packed(digest)
        upload = await store.begin(digest) if packed is None else packed
        partial = _Partial(upload, packed, call, self._now())
        self._forget(name)  # another call with this name may have come meanwhile
        self._partials[name] = partial
        return partial

    async def _unpack(self, name: str, partial: _Partial) -> None:
        """The frames of the call before were cut."""
        if partial.packed is not None:
            try:
                partial.upload, partial.packed = await partial.packed.unpacked(), None
            except StatusError:
                self._forget(name)
                raise

    async def _feed(self, partial: _Partial, first: WriteChunk, call: Call, intake: Intake) -> int:
        name = first.resource_name
        request: WriteChunk | None = first
        is_plain = type(intake) is Intake and partial.packed is None

        def taken(pieces: Sequence[Buffer]) -> bool:
            return not partial.lock.locked() and self._take_now(partial, pieces, name, call)

        while request is not None:
            await _lock(partial.lock)
            try:
                _check_owner(partial, call)
                _check_request(request, name, intake.expected)  # what has come is right
                if await self._take(partial, request, name, intake):
                    return intake.expected
            finally:
                partial.lock.release()
            if is_plain:
                await call.take(taken)  # many at a time, if the store is that quick
                intake.expected = partial.upload.offset
            request = await next_chunk(call)
        return intake.expected

    def _take_now(self, partial: _Partial, pieces: Sequence[Buffer], name: str, call: Call) -> bool:
        """Whether it was taken without waiting."""
        _check_owner(partial, call)
        data = following(pieces, partial.upload.offset)
        if data is None:
            request = chunk_of(pieces)
            _check_request(request, name, partial.upload.offset)
            if request.finish_write:
                return False
            data = request.data
        try:
            return partial.upload.append_nowait(data)
        except StatusError:
            self._forget(name)
            raise

    async def _take(
        self, partial: _Partial, request: WriteChunk, name: str, intake: Intake
    ) -> bool:
        """Whether that was the end of the upload."""
        try:
            if any(request.data):
                for pieces in intake.pieces(request.taken()):
                    await partial.upload.append(*pieces)
            if request.finish_write:
                intake.finish()
                await partial.upload.commit()
                self._forget(name)
        except StatusError:
            self._forget(name)
            raise
        return request.finish_write

    def _forget(self, name: str) -> None:
        partial = self._partials.pop(name, None)
        if partial is not None:
            partial.owner = None
            partial.upload.abort()

    def _expire(self) -> None:
        now = self._now()
        idle = [name for name, one in self._partials.items() if one.owner is None]
        for count, name in enumerate(idle):
            if now - self._partials[name].used > IDLE_S or len(idle) - count > MOST_UPLOADS:
                self._forget(name)


async def _lock(lock: trio.Lock) -> None:
    """Acquire it; without a turn of the scheduler where it is free, as it is for each message."""
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


def _check_owner(partial: _Partial, call: Call) -> None:
    if partial.owner is not call:
        raise AbortedError("another call has taken this upload over")


def _check_request(request: WriteChunk, name: str, offset: int) -> None:
    if request.resource_name not in ("", name):
        raise InvalidArgumentError(
            f"resource_name changed to {request.resource_name[:300]!r} within one write"
        )
    if request.write_offset != offset:
        raise InvalidArgumentError(
            f"write_offset is {request.write_offset} and {offset} bytes are here; ask "
            "QueryWriteStatus where to go on"
        )


def _intake(compressor: str, start: int, size_bytes: int) -> Intake:
    if compressor == "identity":
        return Intake(start)
    return Unpacking(start, compressor, size_bytes - start)


async def _chunks(first: WriteChunk, call: Call, intake: Intake) -> AsyncGenerator[bytes, None]:
    request = first
    while True:
        _check_request(request, first.resource_name, intake.expected)
        for pieces in intake.pieces(request.taken()):
            yield b"".join(pieces)
        if request.finish_write:
            intake.finish()
            return
        found = await next_chunk(call)
        if found is None:
            raise InvalidArgumentError("the write ended without finish_write")
        request = found
