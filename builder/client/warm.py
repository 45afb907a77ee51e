"""The second quickest answer to `bldr build --remote`: outputs are gone, and the server has them.

    receipt (sources are unchanged) --> GetActionResult for all --> read what is gone --> rename

Theory of operation. When the sources look as they did, the actions are those that the receipt
names, so nothing has to be parsed, scanned or hashed: the server is asked for their results over a
plain socket, and what is gone comes back as the last build made it. Whatever is not exactly so - an
unknown result or another one, an output that is no file, a large one, a server that is away -
takes the ordinary way, which can do everything. Nothing is moved into place before all is here and
verified. Measured by `python -m tests.bench cli` (figures.warm_hit_ms).
"""

import marshal
import os
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

from google.protobuf.message import DecodeError

from builder.base.errors import StatusError
from builder.client.noop import STATE, looks
from builder.net.blocking import BlockingChannel
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.times import nanoseconds

GET_RESULT = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult"
BATCH_READ = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs"
MOST_BYTES = 3 * 1024 * 1024  # in one batch; what is larger takes the ordinary way
TOKEN = "BUILDER_TOKEN"  # noqa: S105  the variable's name

Receipt = dict[str, Any]  # as `receipt` writes it
Blob = tuple[str, int]  # SHA-256 and size


def fetch(root: str, path: str, receipt: Receipt) -> bool:
    """Whether all outputs are in place again; the receipt, which lies at `path`, knows of it."""
    gone = {p: e for p, e in _outputs(receipt) if not _is_there(f"{root}/{p}", receipt["made"][p])}
    blobs = dict.fromkeys((hash_, size) for hash_, size, _ in gone.values() if size)
    if any(size > MOST_BYTES for _, size in blobs) or any(
        os.path.isdir(f"{root}/{p}") for p in gone
    ):
        return False
    try:
        with BlockingChannel(receipt["away"][0], os.environ.get(TOKEN, "")) as channel:
            if not _known(channel, receipt):
                return False
            contents = _read(channel, receipt["away"][1], blobs)
        _land(root, gone, contents, receipt)
        _save(path, receipt)
    except (OSError, StatusError, DecodeError, LookupError):
        return False
    return True


def _outputs(receipt: Receipt) -> Iterator[tuple[str, tuple[str, int, bool]]]:
    for *_, action in receipt["targets"]:
        yield from action[2].items()


def _is_there(full: str, seen: tuple[int, ...]) -> bool:
    try:
        return looks(os.lstat(full)) == seen
    except OSError:
        return False


def _known(channel: BlockingChannel, receipt: Receipt) -> bool:
    """Whether the server still has the very results that the receipt tells of."""
    requests = [
        pb.GetActionResultRequest(
            instance_name=receipt["away"][1],
            action_digest=pb.Digest(hash=action[0], size_bytes=action[1]),
            digest_function=pb.DigestFunction.SHA256,
        ).SerializeToString()
        for *_, action in receipt["targets"]
    ]
    answers = channel.unary(GET_RESULT, requests)
    return all(
        _is_same(pb.ActionResult.FromString(answer), stored_at, action[2])
        for answer, (_, stored_at, _, _, action) in zip(answers, receipt["targets"], strict=True)
    )


def _is_same(
    result: pb.ActionResult, stored_at: float, files: Mapping[str, tuple[str, int, bool]]
) -> bool:
    found = {
        file.path: (file.digest.hash, file.digest.size_bytes, file.is_executable)
        for file in result.output_files
    }
    made_at = nanoseconds(result.execution_metadata.worker_completed_timestamp) / 1e9
    return found == files and made_at == stored_at


def _read(channel: BlockingChannel, instance: str, blobs: Iterable[Blob]) -> dict[Blob, bytes]:
    """Verified. Raises LookupError for what the server does not have, or has not as it should."""
    found: dict[Blob, bytes] = {}
    requests = [_batch(instance, batch).SerializeToString() for batch in _batches(blobs)]
    for answer in channel.unary(BATCH_READ, requests):
        for one in pb.BatchReadBlobsResponse.FromString(answer).responses:
            if one.status.code or sha256(one.data).hexdigest() != one.digest.hash:
                raise LookupError(one.digest.hash)
            found[one.digest.hash, len(one.data)] = one.data
    return found


def _batch(instance: str, blobs: list[Blob]) -> pb.BatchReadBlobsRequest:
    return pb.BatchReadBlobsRequest(
        instance_name=instance,
        digests=[pb.Digest(hash=hash_, size_bytes=size) for hash_, size in blobs],
        digest_function=pb.DigestFunction.SHA256,
    )


def _batches(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    batch: list[Blob] = []
    total = 0
    for blob in blobs:
        if batch and total + blob[1] > MOST_BYTES:
            yield batch
            batch, total = [], 0
        batch.append(blob)
        total += blob[1]
    if batch:
        yield batch


def _land(
    root: str,
    gone: Mapping[str, tuple[str, int, bool]],
    contents: Mapping[Blob, bytes],
    receipt: Receipt,
) -> None:
    """All beside the project first, then each into its place. Raises OSError, LookupError."""
    staged = f"{root}/{STATE}/tmp/warm.{os.getpid()}"  # noqa: S108  the project's own
    written: dict[str, str] = {}
    try:
        for number, (path, (hash_, size, executable)) in enumerate(gone.items()):
            data = contents[hash_, size] if size else b""
            written[path] = f"{staged}.{number}"
            mode = 0o777 if executable else 0o666  # as the umask leaves it
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(written[path], flags, mode), "wb") as file:
                file.write(data)
        for path, temporary in written.items():
            os.makedirs(os.path.dirname(f"{root}/{path}"), exist_ok=True)
            os.rename(temporary, f"{root}/{path}")
            receipt["made"][path] = looks(os.lstat(f"{root}/{path}"))
    finally:
        for temporary in written.values():
            if os.path.lexists(temporary):
                os.unlink(temporary)


def _save(path: str, receipt: Receipt) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        file.write(marshal.dumps(receipt))
    os.replace(temporary, path)
