"""Hot: BatchReadBlobs answered by frames around the stored bytes, without message objects.

A request that is written as clients do, for plain blobs, is split on the wire; each answer is its
digest as it came, then the data. What is in the page cache is answered at once, up to the share
that one batch may take of the receive loop; the rest by a task, in steps. The store's look-up,
read and check are what a blob costs, framing 1 us of it (`python -m tests.bench wire`,
figures.batch_read_blobs_per_s).
"""

from collections.abc import Awaitable, Sequence
from functools import lru_cache

import trio

from builder.base.digest import Digest
from builder.base.errors import StatusError
from builder.reapi.digest_list import Element
from builder.reapi.status import to_status
from builder.server.messages import bytes_field
from builder.stores.interface import BlobStore, InlineStore

INLINE_BLOBS = 512  # of a batch: about 3 ms of small blobs
INLINE_BYTES = 1024 * 1024  # of a batch: about 2 ms to check and copy
STEP_BLOBS = 512  # of a task, between which others get their turn
STEP_BYTES = 1024 * 1024
RESPONSE, DATA, STATUS = 1, 2, 3  # fields of BatchReadBlobsResponse and of its Response
DIGEST_TAG = b"\x0a"  # field 1 of Response


class BatchReader:
    """Blobs of a store, framed."""

    def __init__(self, blobs: BlobStore, inline: InlineStore) -> None:
        self._blobs = blobs
        self._inline = inline

    def read(self, elements: Sequence[Element], function: str) -> bytes | Awaitable[bytes]:
        """The response; a blob that is not here has a status instead of data. Hashes are hex."""
        out: list[bytes] = []
        done, _ = self._some(elements, 0, function, out, INLINE_BLOBS)
        if done == len(elements):
            return b"".join(out)
        return self._rest(elements, done, function, out)

    def _some(
        self, elements: Sequence[Element], start: int, function: str, out: list[bytes], most: int
    ) -> tuple[int, bool]:
        """Answer some from `start` on: up to where, and whether that one has to be waited for."""
        get = self._inline.get_nowait
        taken = 0
        for at in range(start, min(len(elements), start + most)):
            hash_, size, element = elements[at]
            taken += size
            if taken > INLINE_BYTES:
                return at, at == start
            try:
                data = get(Digest(hash_, size, function))
            except StatusError as error:
                out += _failed(element, error)
                continue
            if data is None:
                return at, True
            out += _found(element, data)
        return min(len(elements), start + most), False

    async def _rest(
        self, elements: Sequence[Element], start: int, function: str, out: list[bytes]
    ) -> bytes:
        while start < len(elements):
            await trio.lowlevel.checkpoint()
            start, waits = self._some(elements, start, function, out, STEP_BLOBS)
            if waits:
                hash_, size, element = elements[start]
                try:
                    out += _found(element, await self._blobs.get(Digest(hash_, size, function)))
                except StatusError as error:
                    out += _failed(element, error)
                start += 1
        return b"".join(out)


def _found(element: bytes, data: bytes) -> tuple[bytes, ...]:
    whole, head = _heads(DATA, len(element), len(data))
    return whole, element[1:], head, data


@lru_cache(4096)
def _heads(field: int, element_size: int, data_size: int) -> tuple[bytes, bytes]:
    """What comes before a digest, its own tag included, and what between it and the data."""
    head = bytes_field(field, data_size) if data_size else b""
    whole = bytes_field(RESPONSE, element_size + len(head) + data_size)
    return whole + DIGEST_TAG, head


def _failed(element: bytes, error: StatusError) -> tuple[bytes, ...]:
    status = to_status(error).SerializeToString()
    whole, head = _heads(STATUS, len(element), len(status))
    return whole, element[1:], head, status
