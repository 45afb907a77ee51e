"""Outputs inside the result, where the client asked for it and they are small.

A hint is no duty (REAPI v2, `inline_stdout`): what does not fit is left to be fetched.
"""

from typing import NamedTuple

from builder.base.errors import NotFoundError
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.interface import BlobStore

MOST_BYTES = 1024 * 1024  # of one result; clients refuse messages above 4 MiB


class Hints(NamedTuple):
    """What a client wants inline."""

    stdout: bool = False
    stderr: bool = False
    files: frozenset[str] = frozenset()


async def inlined(blobs: BlobStore, result: pb.ActionResult, hints: Hints, function: str) -> None:
    """Fill raw fields of `result` by the hints, as far as `MOST_BYTES` allow."""
    room = MOST_BYTES - len(result.stdout_raw) - len(result.stderr_raw)
    wanted: list[tuple[pb.ActionResult | pb.OutputFile, str, pb.Digest]] = []
    if hints.stdout and result.HasField("stdout_digest"):
        wanted.append((result, "stdout_raw", result.stdout_digest))
    if hints.stderr and result.HasField("stderr_digest"):
        wanted.append((result, "stderr_raw", result.stderr_digest))
    wanted += [
        (file, "contents", file.digest) for file in result.output_files if file.path in hints.files
    ]
    for owner, field, digest in wanted:
        if digest.size_bytes > room:
            continue
        try:
            data = await blobs.get(from_proto(digest, function))
        except NotFoundError:  # gone since the look-up; the client will find out by itself
            continue
        setattr(owner, field, data)
        room -= len(data)
