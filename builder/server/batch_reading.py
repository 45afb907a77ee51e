"""Hot: BatchReadBlobs answered by frames around the stored bytes, without message objects.

A request that is written as clients do, for plain blobs, is split on the wire; each answer is its
digest as it came, then the data. What is in the page cache is answered at once, up to the share
that one batch may take of the receive loop; the rest by a task, in steps. The small blobs of a
step are one question to the store. One of a kilobyte costs 3 us, half of it in the store
(`python -m tests.bench wire`, figures.batch_read_blobs_per_s).
"""

from collections.abc import Awaitable, Sequence
from functools import lru_cache

import trio

from builder.base.digest import Digest
from builder.base.errors import StatusError
from builder.reapi.digest_list import sizes_of
from builder.reapi.status import to_status
from builder.server.messages import bytes_field
from builder.stores.interface import BlobStore, BulkStore, InlineStore

STEP_BLOBS = 512  # of a batch, in place or of a task: about 2 ms of small blobs
STEP_BYTES = 1024 * 1024  # about 1 ms to check and copy
RESPONSE, DATA, STATUS = 1, 2, 3  # fields of BatchReadBlobsResponse and of its Response
DIGEST_TAG = b"\x0a"  # field 1 of Response

Late = tuple[int, int]  # the index of a blob, and where its answer goes


class BatchReader:
    """Blobs of a store, framed."""

    def __init__(self, blobs: BlobStore, inline: InlineStore) -> None:
        self._blobs = blobs
        self._inline = inline
        self._bulk = inline if isinstance(inline, BulkStore) else None

    def read(self, wanted: "Wanted") -> bytes | Awaitable[bytes]:
        """The response; a blob that is not here has a status instead of data."""
        out: list[bytes] = []
        done = wanted.step(0)
        late = self._some(wanted, 0, done, out)
        if done == len(wanted.elements) and not late:
            return b"".join(out)
        return self._rest(wanted, done, out, late)

    def _some(self, wanted: "Wanted", start: int, stop: int, out: list[bytes]) -> list[Late]:
        """Answer these; those that have to be waited for, each with its place in `out`."""
        sizes = wanted.sizes[start:stop]
        blobs: Sequence[bytes | None] = (None,) * len(sizes)
        if self._bulk is not None:
            keys = wanted.keys[start * wanted.width : stop * wanted.width]
            blobs = self._bulk.get_many_nowait(wanted.function, keys, sizes)
        late: list[Late] = []
        for at, (element, blob) in enumerate(zip(wanted.elements[start:stop], blobs, strict=True)):
            found = self._one(wanted.digest(start + at)) if blob is None else blob
            if isinstance(found, bytes):
                whole, head = _heads(DATA, len(element), len(found))
                out += (whole, element[1:], head, found)
            elif found is None:
                late.append((start + at, len(out)))
                out.append(b"")
            else:
                out.append(_failed(element, found))
        return late

    def _one(self, digest: Digest) -> bytes | StatusError | None:
        try:
            return self._inline.get_nowait(digest)
        except StatusError as error:
            return error

    async def _rest(
        self, wanted: "Wanted", start: int, out: list[bytes], late: list[Late]
    ) -> bytes:
        while True:
            for at, place in late:
                out[place] = await self._waited(wanted.elements[at], wanted.digest(at))
            if start == len(wanted.elements):
                return b"".join(out)
            await trio.lowlevel.checkpoint()
            stop = wanted.step(start)
            late = self._some(wanted, start, stop, out)
            start = stop

    async def _waited(self, element: bytes, digest: Digest) -> bytes:
        try:
            data = await self._blobs.get(digest)
        except StatusError as error:
            return _failed(element, error)
        whole, head = _heads(DATA, len(element), len(data))
        return b"".join((whole, element[1:], head, data))


class Wanted:
    """What a request asks for, in columns."""

    def __init__(self, elements: Sequence[bytes], digits: int, function: str, keys: bytes) -> None:
        self.elements = elements
        self.function = function
        self.keys = keys
        self.width = digits // 2
        self.sizes = sizes_of(elements, digits)

    def digest(self, at: int) -> Digest:
        key = self.keys[at * self.width : (at + 1) * self.width]
        return Digest(key.hex(), self.sizes[at], self.function)

    def step(self, start: int) -> int:
        """Where a step ends that begins there: after one blob at least."""
        stop = min(start + STEP_BLOBS, len(self.sizes))
        if sum(self.sizes[start:stop]) <= STEP_BYTES:
            return stop
        taken = self.sizes[start]
        for at in range(start + 1, stop):
            taken += self.sizes[at]
            if taken > STEP_BYTES:
                return at
        return stop


@lru_cache(4096)
def _heads(field: int, element_size: int, data_size: int) -> tuple[bytes, bytes]:
    """What comes before a digest, its own tag included, and what between it and the data."""
    head = bytes_field(field, data_size) if data_size else b""
    whole = bytes_field(RESPONSE, element_size + len(head) + data_size)
    return whole + DIGEST_TAG, head


def _failed(element: bytes, error: StatusError) -> bytes:
    status = to_status(error).SerializeToString()
    whole, head = _heads(STATUS, len(element), len(status))
    return b"".join((whole, element[1:], head, status))
