"""Blobs and results in another REAPI server: how workers and clients reach the storage.

Small blobs go in batches that concurrent calls share, large ones by ByteStream. What comes is
verified: a server that sends other bytes than those named is reported as DATA_LOSS.
"""

import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import aclosing

from builder.base.digest import Digest, hasher, is_empty
from builder.base.errors import (
    DataLossError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    StatusError,
)
from builder.net.rpc import Channel, ClientCall
from builder.reapi.digests import NUMBERS, to_proto
from builder.reapi.names import read_name, write_name
from builder.reapi.pb import bytestream_pb2 as bs
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import to_error
from builder.stores.coalesce import Coalescer
from builder.stores.copying import joined
from builder.stores.kept_result import unpacked
from builder.stores.memory import check_bytes, check_range
from builder.stores.records import RESULTS

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
BYTESTREAM = "/google.bytestream.ByteStream/"
METADATA_HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin"
ACTION_CACHE = "/build.bazel.remote.execution.v2.ActionCache/"
DIGESTS_PER_CALL = 4000  # about 300 KB
OVERHEAD = 160  # bytes of a batch that a blob costs besides its data
PIECE = 256 * 1024  # bytes of one WriteRequest


class RemoteBlobStore:
    """The blobs of one instance. `max_batch_bytes` is the server's announced limit."""

    def __init__(
        self,
        channel: Channel,
        instance: str = "",
        max_batch_bytes: int = 4 * 1024 * 1024 - 64 * 1024,
        new_upload: Callable[[], object] = uuid.uuid4,
    ) -> None:
        self._channel = channel
        self._instance = instance
        self._small = min(max_batch_bytes - OVERHEAD, 1024 * 1024)
        self._new_upload = new_upload
        self._gets: Coalescer[Digest, bytes] = Coalescer(
            self._batch_read, lambda digest: digest.size_bytes + OVERHEAD, max_batch_bytes
        )
        self._puts: Coalescer[tuple[Digest, bytes], None] = Coalescer(
            self._batch_update, lambda item: len(item[1]) + OVERHEAD, max_batch_bytes
        )

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        every = [digest for digest in dict.fromkeys(digests) if not is_empty(digest)]
        missing: set[Digest] = set()
        for function, group in _by_function(every).items():
            for start in range(0, len(group), DIGESTS_PER_CALL):
                missing |= await self._find_missing(
                    function, group[start : start + DIGESTS_PER_CALL]
                )
        return [digest for digest in every if digest in missing]

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        check_range(digest, offset)
        if digest.size_bytes <= self._small:
            data = await self.get(digest)
            data = data[offset:] if limit is None else data[offset : offset + limit]
            if data:
                yield data
            return
        whole = offset == 0 and (limit is None or limit >= digest.size_bytes)
        seen = hasher(digest.function, digest.size_bytes)
        request = bs.ReadRequest(
            resource_name=read_name(self._instance, digest),
            read_offset=offset,
            read_limit=limit or 0,
        )
        if limit == 0:
            return
        async with self._channel.stream(BYTESTREAM + "Read") as call:
            await call.send(request.SerializeToString())
            await call.done_sending()
            while (message := await call.receive()) is not None:
                data = bs.ReadResponse.FromString(message).data
                if whole:
                    seen.update(data)
                if data:
                    yield data
        if whole and seen.hexdigest() != digest.hash:
            raise DataLossError(f"the server sent other bytes than those of {digest}")

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        if digest.size_bytes <= self._small:
            await self.put(digest, await joined(chunks, digest))
            return
        await self._stream_write(digest, chunks)

    async def get(self, digest: Digest) -> bytes:
        if is_empty(digest):
            return b""
        if digest.size_bytes <= self._small:
            return await self._gets.ask(digest)
        return b"".join([piece async for piece in self.read(digest)])

    async def put(self, digest: Digest, data: bytes) -> None:
        check_bytes(digest, data)
        if is_empty(digest):
            return
        if len(data) <= self._small:
            await self._puts.ask((digest, data))
            return
        async with aclosing(_pieces(data)) as pieces:
            await self._stream_write(digest, pieces)

    async def _find_missing(self, function: str, digests: Sequence[Digest]) -> set[Digest]:
        request = pb.FindMissingBlobsRequest(
            instance_name=self._instance,
            blob_digests=[to_proto(digest) for digest in digests],
            digest_function=NUMBERS[function],
        )
        answer = await self._channel.unary(CAS + "FindMissingBlobs", request.SerializeToString())
        missing = pb.FindMissingBlobsResponse.FromString(answer).missing_blob_digests
        return {Digest(found.hash, found.size_bytes, function) for found in missing}

    async def _batch_read(self, digests: Sequence[Digest]) -> list[bytes | StatusError]:
        found: dict[Digest, bytes | StatusError] = {}
        for function, group in _by_function(dict.fromkeys(digests)).items():
            request = pb.BatchReadBlobsRequest(
                instance_name=self._instance,
                digests=[to_proto(digest) for digest in group],
                digest_function=NUMBERS[function],
            )
            answer = await self._channel.unary(CAS + "BatchReadBlobs", request.SerializeToString())
            for one in pb.BatchReadBlobsResponse.FromString(answer).responses:
                digest = Digest(one.digest.hash, one.digest.size_bytes, function)
                found[digest] = (
                    to_error(one.status) if one.status.code else _verified(digest, one.data)
                )
        return [found.get(d) or NotFoundError(f"the server left {d} out") for d in digests]

    async def _batch_update(
        self, blobs: Sequence[tuple[Digest, bytes]]
    ) -> list[StatusError | None]:
        statuses: dict[Digest, StatusError | None] = {}
        data = dict(blobs)
        for function, group in _by_function(data).items():
            request = pb.BatchUpdateBlobsRequest(
                instance_name=self._instance,
                requests=[
                    pb.BatchUpdateBlobsRequest.Request(digest=to_proto(d), data=data[d])
                    for d in group
                ],
                digest_function=NUMBERS[function],
            )
            answer = await self._channel.unary(
                CAS + "BatchUpdateBlobs", request.SerializeToString()
            )
            for one in pb.BatchUpdateBlobsResponse.FromString(answer).responses:
                digest = Digest(one.digest.hash, one.digest.size_bytes, function)
                statuses[digest] = to_error(one.status) if one.status.code else None
        left_out = InternalError("the server did not say whether the blob was stored")
        return [statuses.get(digest, left_out) for digest, _ in blobs]

    async def _stream_write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        name = write_name(self._instance, digest, str(self._new_upload()))
        async with self._channel.stream(BYTESTREAM + "Write") as call:
            sent = await _send(call, name, digest, chunks)
            answer = await call.receive()  # raises if the server refused
        committed = bs.WriteResponse.FromString(answer or b"").committed_size
        if committed != digest.size_bytes:
            raise InvalidArgumentError(
                f"upload of {digest}: {sent} bytes were sent and the server took {committed}"
            )


class RemoteActionCache:
    """Results in another REAPI server; that server checks what they reference."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def lookup(self, instance: str, action: Digest) -> pb.ActionResult | None:
        request = pb.GetActionResultRequest(
            instance_name=instance,
            action_digest=to_proto(action),
            digest_function=NUMBERS[action.function],
        )
        try:
            answer = await self._channel.unary(
                ACTION_CACHE + "GetActionResult", request.SerializeToString()
            )
        except NotFoundError:
            return None
        return pb.ActionResult.FromString(answer)

    async def store(
        self, instance: str, action: Digest, result: pb.ActionResult, metadata: bytes = b""
    ) -> None:
        request = pb.UpdateActionResultRequest(
            instance_name=instance,
            action_digest=to_proto(action),
            action_result=result,
            digest_function=NUMBERS[action.function],
        )
        await self._channel.unary(
            ACTION_CACHE + "UpdateActionResult",
            request.SerializeToString(),
            metadata={METADATA_HEADER: metadata} if metadata else None,
        )


class RemoteRecords:
    """Results of actions in another REAPI server's `instance`, as records; it has no others, and
    counts its hits by itself."""

    def __init__(self, channel: Channel, instance: str = "") -> None:
        self._cache = RemoteActionCache(channel)
        self._instance = instance

    async def get(self, space: str, hash_: str) -> bytes | None:
        action = _action(space, hash_)
        if action is None:
            return None
        result = await self._cache.lookup(self._instance, action)
        return None if result is None else result.SerializeToString(deterministic=True)

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        action = _action(space, hash_)
        if action is not None:
            entry = unpacked(data)
            result = pb.ActionResult.FromString(entry.result)
            await self._cache.store(self._instance, action, result, entry.metadata)


def _action(space: str, name: str) -> Digest | None:
    """The digest of the action that a record is of; None for a record of something else."""
    if not space.startswith(RESULTS):
        return None
    hash_, _, size = name.partition("-")
    return Digest(hash_, int(size), space.split("/")[1])


def _by_function(digests: Iterable[Digest]) -> dict[str, list[Digest]]:
    groups: dict[str, list[Digest]] = {}
    for digest in digests:
        groups.setdefault(digest.function, []).append(digest)
    return groups


def _verified(digest: Digest, data: bytes) -> bytes | StatusError:
    try:
        check_bytes(digest, data)
    except InvalidArgumentError as error:
        return DataLossError(f"the server sent damaged bytes: {error.message}")
    return data


async def _pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


async def _send(call: ClientCall, name: str, digest: Digest, chunks: AsyncIterable[bytes]) -> int:
    """Send the whole upload, or what the server wants of it; the number of bytes sent.

    A server may end the call early, because it has the blob or because it refuses it; then a
    send fails, and what it said is waiting to be received.
    """
    sent = 0
    async for chunk in chunks:
        view = memoryview(chunk)
        if sent + len(view) > digest.size_bytes:
            raise InvalidArgumentError(f"more bytes came than {digest} has")
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            last = sent + len(piece) == digest.size_bytes
            head = bs.WriteRequest(resource_name=name, write_offset=sent, finish_write=last)
            prefix = head.SerializeToString() + b"\x52" + varint(len(piece))  # field 10, bytes
            try:
                await call.send([prefix, piece])
            except StatusError:
                return sent
            sent += len(piece)
            name = ""
    if sent != digest.size_bytes:
        raise InvalidArgumentError(f"{sent} bytes came for {digest}")
    await call.done_sending()
    return sent


def varint(value: int) -> bytes:
    """A protobuf base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
