"""What an action wrote to stdout and stderr: always a blob, and inline too when it is small.

Clients that know `stdout_raw` save a round trip; the blob is for those that ask by digest, and
for results that are kept in the action cache.
"""

from builder.base.digest import Digest, digest_of
from builder.reapi.digests import to_proto
from builder.worker.outputs import Collected

INLINE_BYTES = 16 * 1024


def add_streams(collected: Collected, stdout: str, stderr: str, function: str) -> None:
    """Read both host files into the result and the blobs. Blocking.

    The sandbox keeps each under the spec's `output_bytes`; an empty stream sets no field.
    """
    result = collected.result
    if data := _read(stdout):
        digest = _blob(collected, data, function)
        result.stdout_digest.CopyFrom(to_proto(digest))
        if len(data) <= INLINE_BYTES:
            result.stdout_raw = data
    if data := _read(stderr):
        digest = _blob(collected, data, function)
        result.stderr_digest.CopyFrom(to_proto(digest))
        if len(data) <= INLINE_BYTES:
            result.stderr_raw = data


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _blob(collected: Collected, data: bytes, function: str) -> Digest:
    digest = digest_of(data, function)
    collected.blobs[digest] = data
    return digest
