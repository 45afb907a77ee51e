"""Blobs and results in another REAPI server: how workers and clients reach the storage.

Small blobs go in batches that concurrent calls share, large ones by ByteStream. What comes is
verified, what comes compressed by unpacking it: a server that sends other bytes than those named is
reported as DATA_LOSS before it has sent all of them.

Frames are asked of, and sent to, a server that announces zstd; others are given plain bytes.
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
from functools import partial

from builder.base.digest import Digest, is_empty
from builder.base.errors import (
    DataLossError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    StatusError,
    UnimplementedError,
)
from builder.net.rpc import Channel
from builder.reapi.compression import compressed, decompressed
from builder.reapi.digests import NUMBERS, to_proto
from builder.reapi.names import read_name, write_name
from builder.reapi.pb import bytestream_pb2 as bs
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.status import to_error
from builder.stores.coalesce import Coalescer
from builder.stores.copying import joined
from builder.stores.frames import compressing, each, unpacking
from builder.stores.kept_result import unpacked
from builder.stores.memory import check_bytes, check_range
from builder.stores.proven import FramesProof, PlainProof, proven
from builder.stores.records import RESULTS
from builder.stores.remote_upload import Pieces, frame_pieces, plain_pieces, upload

CAPABILITIES = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
BYTESTREAM = "/google.bytestream.ByteStream/"
METADATA_HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin"
ACTION_CACHE = "/build.bazel.remote.execution.v2.ActionCache/"
DIGESTS_PER_CALL = 4000  # about 300 KB
OVERHEAD = 160  # bytes of a batch that a blob costs besides its data
SLACK = 64 * 1024  # bytes that frames of a small blob may have beyond its own
IDENTITY, ZSTD = pb.Compressor.IDENTITY, pb.Compressor.ZSTD
Form = pb.Compressor.Value  # how a blob is on the wire


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
        self._packs: bool | None = None  # whether the server announces zstd; None: not asked yet
        self._gets, self._packed_gets = (
            Coalescer[Digest, bytes](
                partial(self._batch_read, form),
                lambda digest: digest.size_bytes + OVERHEAD,
                max_batch_bytes,
            )
            for form in (IDENTITY, ZSTD)
        )
        self._puts, self._packed_puts = (
            Coalescer[tuple[Digest, bytes], None](
                partial(self._batch_update, form),
                lambda item: max(item[0].size_bytes, len(item[1])) + OVERHEAD,
                max_batch_bytes,
            )
            for form in (IDENTITY, ZSTD)
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
        if limit == 0:
            return
        request = bs.ReadRequest(
            resource_name=read_name(self._instance, digest),
            read_offset=offset,
            read_limit=limit or 0,
        )
        pieces = self._stream_read(request)
        if offset == 0 and (limit is None or limit >= digest.size_bytes):
            pieces = proven(digest, pieces, PlainProof(digest))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def is_packed(self, digest: Digest) -> bool:
        """Whether the server is asked for it compressed; how it keeps it, nobody tells."""
        return not is_empty(digest) and await self._server_packs()

    async def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        if not await self.is_packed(digest):
            frames = compressing("zstd", self.read(digest), digest.size_bytes)
        elif digest.size_bytes <= self._small:
            yield await self._packed_gets.ask(digest)
            return
        else:
            name = read_name(self._instance, digest, "zstd")
            frames = self._stream_read(bs.ReadRequest(resource_name=name))
            frames = proven(digest, frames, FramesProof(digest))
        async with aclosing(frames):
            async for piece in frames:
                yield piece

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        if not await self.is_packed(digest):
            async with aclosing(unpacking(digest, frames)) as pieces:
                await self.write(digest, pieces)
        elif digest.size_bytes <= self._small:
            data = await joined(frames, digest, digest.size_bytes + SLACK)
            await self._packed_puts.ask((digest, data))
        else:
            await self._stream_write(digest, "zstd", frame_pieces(frames))

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        if digest.size_bytes <= self._small:
            await self.put(digest, await joined(chunks, digest))
            return
        await self._stream_write(digest, "identity", plain_pieces(digest, chunks))

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
        async with aclosing(each((data,))) as pieces:
            await self.write(digest, pieces)

    async def _find_missing(self, function: str, digests: Sequence[Digest]) -> set[Digest]:
        request = pb.FindMissingBlobsRequest(
            instance_name=self._instance,
            blob_digests=[to_proto(digest) for digest in digests],
            digest_function=NUMBERS[function],
        )
        answer = await self._channel.unary(CAS + "FindMissingBlobs", request.SerializeToString())
        missing = pb.FindMissingBlobsResponse.FromString(answer).missing_blob_digests
        return {Digest(found.hash, found.size_bytes, function) for found in missing}

    async def _server_packs(self) -> bool:
        """Whether it announces zstd. One that does not answer is asked again the next time; what
        is wrong with it, the call says that does without."""
        if self._packs is None:
            request = pb.GetCapabilitiesRequest(instance_name=self._instance)
            try:
                answer = await self._channel.unary(CAPABILITIES, request.SerializeToString())
            except StatusError as error:
                self._packs = False if isinstance(error, UnimplementedError) else None
                return False
            cache = pb.ServerCapabilities.FromString(answer).cache_capabilities
            batch = cache.supported_batch_update_compressors
            self._packs = ZSTD in cache.supported_compressors and ZSTD in batch
        return self._packs

    async def _stream_read(self, request: bs.ReadRequest) -> AsyncGenerator[bytes, None]:
        async with self._channel.stream(BYTESTREAM + "Read") as call:
            await call.send(request.SerializeToString())
            await call.done_sending()
            while (message := await call.receive()) is not None:
                if data := bs.ReadResponse.FromString(message).data:
                    yield data

    async def _batch_read(self, form: Form, digests: Sequence[Digest]) -> list[bytes | StatusError]:
        """Verified blobs, or with ZSTD frames of them."""
        found: dict[Digest, bytes | StatusError] = {}
        for function, group in _by_function(dict.fromkeys(digests)).items():
            request = pb.BatchReadBlobsRequest(
                instance_name=self._instance,
                digests=[to_proto(digest) for digest in group],
                digest_function=NUMBERS[function],
                acceptable_compressors=[form] if form else [],
            )
            answer = await self._channel.unary(CAS + "BatchReadBlobs", request.SerializeToString())
            for one in pb.BatchReadBlobsResponse.FromString(answer).responses:
                digest = Digest(one.digest.hash, one.digest.size_bytes, function)
                found[digest] = (
                    to_error(one.status) if one.status.code else _verified(digest, one, form)
                )
        return [found.get(d) or NotFoundError(f"the server left {d} out") for d in digests]

    async def _batch_update(
        self, form: Form, blobs: Sequence[tuple[Digest, bytes]]
    ) -> list[StatusError | None]:
        statuses: dict[Digest, StatusError | None] = {}
        data = dict(blobs)
        for function, group in _by_function(data).items():
            request = pb.BatchUpdateBlobsRequest(
                instance_name=self._instance,
                requests=[
                    pb.BatchUpdateBlobsRequest.Request(
                        digest=to_proto(d), data=data[d], compressor=form
                    )
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

    async def _stream_write(self, digest: Digest, compressor: str, pieces: Pieces) -> None:
        name = write_name(self._instance, digest, str(self._new_upload()), compressor)
        sent, committed = await upload(self._channel, name, pieces)
        is_plain = compressor == "identity"  # else -1 says that it was here already
        if committed != digest.size_bytes if is_plain else committed not in (sent, -1):
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


def _verified(
    digest: Digest, answer: pb.BatchReadBlobsResponse.Response, form: Form
) -> bytes | StatusError:
    """The blob in the form that was asked for, however it came."""
    data = plain = answer.data
    try:
        if answer.compressor == ZSTD:
            plain = decompressed("zstd", data, digest.size_bytes)
        check_bytes(digest, plain)
    except InvalidArgumentError as error:
        return DataLossError(f"the server sent damaged bytes: {error.message}")
    if answer.compressor == form:
        return data
    return plain if form == IDENTITY else compressed("zstd", plain)
