"""Which errors speak of a store, and not of what it was asked for: what composition goes by.

A tier that *failed* is one that another tier may stand in for. A blob that is *not here* may be
in another tier. All other errors (wrong bytes, a range beyond the end) are the caller's.
"""

from collections.abc import Iterable

from builder.base.digest import Digest
from builder.base.errors import (
    AbortedError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
)
from builder.stores.interface import BlobStore, SizedStore


class TooLargeError(ResourceExhaustedError):
    """A blob that this store will never take, however much room it has."""


FAILED = (
    AbortedError,
    CancelledError,
    DeadlineExceededError,
    InternalError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
)
NOT_HERE = (NotFoundError, DataLossError, *FAILED)
NOT_TAKEN = (ResourceExhaustedError, *FAILED)


async def missing_or_all(store: BlobStore, digests: Iterable[Digest]) -> list[Digest]:
    """As `find_missing`; of a store that fails, all are missing."""
    every = list(dict.fromkeys(digests))
    try:
        return await store.find_missing(every)
    except FAILED:
        return every


async def size_in(store: BlobStore, function: str, hash_: str) -> int | None:
    """As `SizedStore.size_of`, of any store; None for one that fails or cannot tell."""
    if not isinstance(store, SizedStore):
        return None
    try:
        return await store.size_of(function, hash_)
    except FAILED:
        return None
