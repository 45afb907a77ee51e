"""Hot: BatchUpdateBlobs, a few hundred blobs at a time.

Blobs that are new and as their digests say are stored by one call of the store's, 8 us each with
framing (`python -m tests.bench wire`, figures.batch_update_blobs_per_s); the others one by one,
which also says what is wrong with them. What does not fit into the receive loop's share is a
task's, in steps.
"""

from binascii import unhexlify
from collections.abc import Awaitable, Sequence
from contextlib import aclosing

import trio

from builder.base.digest import HEX_LENGTHS
from builder.base.errors import StatusError
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import to_status
from builder.server.compressed import plain
from builder.server.messages import bytes_field
from builder.stores.frames import each, write_packed
from builder.stores.interface import BlobStore, BulkStore, InlineStore, LocalPackedStore

Request = pb.BatchUpdateBlobsRequest.Request

INLINE_BLOBS = 256  # of a batch: about 2 ms of small blobs
STEP_BLOBS = 256  # of a task, between which others get their turn
LARGE_BYTES = 64 * 1024  # of a blob that is decompressed by a task
STEP_BYTES = 1024 * 1024  # about 1 ms to hash, in either
RESPONSE, DIGEST, STATUS = 1, 1, 2  # fields of BatchUpdateBlobsResponse and of its Response


class BatchWriter:
    """Writes into `blobs`; data may be compressed by `compressors`."""

    def __init__(self, blobs: BlobStore, compressors: frozenset[str]) -> None:
        self._blobs = blobs
        self._inline = blobs if isinstance(blobs, InlineStore) else None
        self._bulk = blobs if isinstance(blobs, BulkStore) else None
        self._packed = blobs if isinstance(blobs, LocalPackedStore) else None
        self._compressors = compressors

    def write(self, requests: Sequence[Request], function: str) -> bytes | Awaitable[bytes]:
        """The response: a status for each blob that is not stored."""
        some = _first(requests, INLINE_BLOBS)
        answers = self._now(some, function)
        if len(some) == len(requests) and None not in answers:
            return b"".join(answer for answer in answers if answer is not None)
        return self._rest(requests, answers, function)

    async def _rest(
        self, requests: Sequence[Request], answers: list[bytes | None], function: str
    ) -> bytes:
        """`answers` are those of the first requests; None for those that have to wait."""
        done: list[bytes] = []
        while True:
            some = requests[len(done) : len(done) + len(answers)]
            for one, answer in zip(some, answers, strict=True):
                done.append(answer or await self._waited(one, function))
            if len(done) == len(requests):
                return b"".join(done)
            await trio.lowlevel.checkpoint()
            answers = self._now(_first(requests[len(done) :], STEP_BLOBS), function)

    def _now(self, requests: Sequence[Request], function: str) -> list[bytes | None]:
        """For each the answer; None if it has to be waited for."""
        stored = [False] * len(requests)
        if self._bulk is not None and len(requests) > 1:
            blobs = [one.data for one in requests]
            keys = _keys(requests, blobs, function)
            if keys:
                stored = self._bulk.put_many_nowait(function, keys, blobs)
        return [
            _answer(one) if done else self._one(one, function)
            for one, done in zip(requests, stored, strict=True)
        ]

    def _one(self, one: Request, function: str) -> bytes | None:
        if self._inline is None:
            return None
        try:
            if self._packed is not None and self._is_zstd(one):
                digest = from_proto(one.digest, function)
                if self._packed.put_packed_nowait(digest, one.data):
                    return _answer(one)
                if digest.size_bytes >= LARGE_BYTES:
                    return None
            blob = plain(one.compressor, one.data, one.digest.size_bytes, self._compressors)
            if self._inline.put_nowait(from_proto(one.digest, function), blob):
                return _answer(one)
        except StatusError as error:
            return _failed(one, error)
        return None

    def _is_zstd(self, one: Request) -> bool:
        """Whether it is handed on as it came, compressed."""
        return one.compressor == pb.Compressor.ZSTD and "zstd" in self._compressors

    async def _waited(self, one: Request, function: str) -> bytes:
        try:
            digest = from_proto(one.digest, function)
            if self._is_zstd(one):
                async with aclosing(each((one.data,))) as frames:
                    await write_packed(self._blobs, digest, frames)
                return _answer(one)
            blob = plain(one.compressor, one.data, one.digest.size_bytes, self._compressors)
            await self._blobs.put(digest, blob)
        except StatusError as error:
            return _failed(one, error)
        return _answer(one)


def _first(requests: Sequence[Request], most: int) -> Sequence[Request]:
    """As many as one step takes; one at least."""
    taken = 0
    for count, one in enumerate(requests[:most]):
        taken += one.digest.size_bytes
        if taken > STEP_BYTES and count:
            return requests[:count]
    return requests[:most]


def _keys(requests: Sequence[Request], blobs: Sequence[bytes], function: str) -> bytes:
    """The hashes, joined; nothing unless all are well-formed and of data as long as they say."""
    digits = HEX_LENGTHS[function]
    hashes = []
    for one, data in zip(requests, blobs, strict=True):
        digest = one.digest
        hash_ = digest.hash
        if one.compressor or len(hash_) != digits or digest.size_bytes != len(data):
            return b""
        hashes.append(hash_)
    text = "".join(hashes)
    try:
        keys = unhexlify(text)
    except ValueError:
        return b""
    return keys if keys.hex() == text else b""


def _answer(one: Request) -> bytes:
    digest = one.digest.SerializeToString()
    head = bytes_field(DIGEST, len(digest))
    return bytes_field(RESPONSE, len(head) + len(digest)) + head + digest


def _failed(one: Request, error: StatusError) -> bytes:
    digest, status = one.digest.SerializeToString(), to_status(error).SerializeToString()
    inner = bytes_field(DIGEST, len(digest)) + digest + bytes_field(STATUS, len(status)) + status
    return bytes_field(RESPONSE, len(inner)) + inner
