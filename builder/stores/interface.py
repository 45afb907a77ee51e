"""What a blob store and an action cache are. Each way of storing is one module beside this one.

Both speak of things that are there or not there; policy (who may write, which instance) is the
services' business.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Protocol

from builder.base.digest import Digest
from builder.reapi.pb.remote_execution_pb2 import ActionResult


class BlobStore(Protocol):
    """Blobs by digest. The empty blob is always present."""

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that are not here, each once, in the order of asking. Renews those that are."""
        ...

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        """The blob's bytes from `offset`, at most `limit`, in pieces of at most 1 MiB.

        Raises NotFoundError before the first piece, OutOfRangeError beyond the end.
        """
        ...

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        """Store a blob; it is there, whole and verified, when this returns.

        Raises InvalidArgumentError when the bytes are not those that the digest names,
        ResourceExhaustedError when there is no room. Writing what is present is no error.
        """
        ...

    async def get(self, digest: Digest) -> bytes:
        """A small blob, whole. Raises NotFoundError."""
        ...

    async def put(self, digest: Digest, data: bytes) -> None:
        """`write` for a small blob in memory."""
        ...


class ActionCache(Protocol):
    """Results by action digest, per instance."""

    async def lookup(self, instance: str, action: Digest) -> ActionResult | None:
        """The result if it is here *and* every blob that it references is; renews all of them."""
        ...

    async def store(self, instance: str, action: Digest, result: ActionResult) -> None: ...
