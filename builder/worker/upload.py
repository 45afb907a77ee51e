"""Blobs of outputs into the store."""

from collections.abc import AsyncIterator, Mapping

import trio

from builder.base.digest import Digest, is_empty
from builder.base.errors import InternalError, ResourceExhaustedError, StatusError
from builder.net.together import each
from builder.stores.interface import BlobStore
from builder.worker.outputs import pieces

# So little is sent at once rather than asked for first: one round trip instead of two.
ASK_FROM_BYTES = 64 * 1024
UPLOADS_AT_ONCE = 32


class StoreFullError(ResourceExhaustedError):
    """The store does not take the outputs, whichever worker has made them."""


async def upload(blobs: BlobStore, root: int, found: Mapping[Digest, bytes | str]) -> None:
    """Store each blob: bytes as they are, a path from the file beneath the descriptor `root`.

    Raises a StatusError that is never the action's fault, and StoreFullError where it is not this
    worker's either.
    """
    wanted = [digest for digest in found if not is_empty(digest)]
    if sum(digest.size_bytes for digest in wanted) > ASK_FROM_BYTES:
        wanted = await blobs.find_missing(wanted)

    async def send(digest: Digest) -> None:
        source = found[digest]
        if isinstance(source, bytes):
            await blobs.put(digest, source)
        else:
            await blobs.write(digest, _read(root, source))

    try:
        await each(send, wanted, UPLOADS_AT_ONCE)
    except ResourceExhaustedError as error:
        raise StoreFullError(f"uploading outputs failed: {error.message}") from error
    except StatusError as error:
        if error.code.name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"):
            # not about the action: the storage refused what this worker sent it
            raise InternalError(f"uploading outputs failed: {error.message}") from error
        raise


async def _read(root: int, path: str) -> AsyncIterator[bytes]:
    source = pieces(root, path)
    while (piece := await trio.to_thread.run_sync(next, source, None)) is not None:
        yield piece
