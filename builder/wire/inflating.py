"""Compressed messages of requests (gRPC's compression.md): gzip, and deflate in its zlib format.

A few octets can stand for gigabytes, so decompression stops where the limit of a message does.
"""

import zlib
from typing import Final

WINDOW_BITS: Final = {"gzip": 31, "deflate": 15}  # of zlib: 16 more mean gzip's header
ACCEPTED: Final = ",".join(("identity", *WINDOW_BITS))


def inflate(data: bytes, encoding: str, limit: int) -> bytes:
    """The message, or its first `limit` + 1 octets. Raises ValueError for what is not whole."""
    state = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        message = state.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"a message is not {encoding}: {error}") from None
    if len(message) <= limit and (not state.eof or state.unused_data):
        raise ValueError(f"a message is not whole {encoding}: it ends early or late")
    return message
