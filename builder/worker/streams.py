"""What an action wrote to stdout and stderr: always a blob, and inline too when it is small.

Clients that know `stdout_raw` save a round trip; the blob is for those that ask by digest, and
for results that are kept in the action cache.
"""

import os

import trio

from builder.base.digest import Digest, digest_of
from builder.reapi.digests import to_proto
from builder.worker.outputs import Collected

INLINE_BYTES = 16 * 1024


async def add_streams(collected: Collected, stdout: str, stderr: str, function: str) -> None:
    """Read both host files into the result and the blobs.

    The sandbox keeps each under the spec's `output_bytes`; an empty stream sets no field.
    """
    result = collected.result
    if found := await _load(stdout, function):
        digest, data = found
        collected.blobs[digest] = data
        result.stdout_digest.CopyFrom(to_proto(digest))
        result.stdout_raw = data if len(data) <= INLINE_BYTES else b""
    if found := await _load(stderr, function):
        digest, data = found
        collected.blobs[digest] = data
        result.stderr_digest.CopyFrom(to_proto(digest))
        result.stderr_raw = data if len(data) <= INLINE_BYTES else b""


async def _load(path: str, function: str) -> tuple[Digest, bytes] | None:
    size_bytes = os.stat(path).st_size
    if size_bytes == 0:
        return None
    if size_bytes <= INLINE_BYTES:
        return _read(path, function)
    return await trio.to_thread.run_sync(_read, path, function)


def _read(path: str, function: str) -> tuple[Digest, bytes]:
    with open(path, "rb") as file:
        data = file.read()
    return digest_of(data, function), data
