"""Entries of the HTTP cache that are ActionResults: whole, or none at all.

A client that builds without the bytes trusts that a result's outputs are stored. One that named
what has gone would fail its build, and each new attempt at it would get the same result.
"""

from google.protobuf.message import DecodeError

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb.remote_execution_pb2 import ActionResult
from builder.stores.interface import BlobStore
from builder.stores.references import References

MOST_BYTES = 4 * 1024 * 1024  # of a result: what is larger is no client's


async def is_whole(blobs: BlobStore, data: bytes) -> bool:
    """Whether all is stored that these bytes need; it is renewed. What is no result needs nothing:
    other bytes hardly parse, and surely name no digests of the right form."""
    walk = References(blobs, "sha256")
    try:
        await walk.walk(ActionResult.FromString(data))
    except (DecodeError, InvalidArgumentError):
        return True
    return not walk.absent and not await blobs.find_missing(walk.needed)
