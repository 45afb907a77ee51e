"""Services whose uploads count for the quota of their instance.

What an upload is stands in its first message, so one that is too much is refused before its bytes
come. Services without quotas are used as they are, and this costs nothing; with them it costs the
instances that have one a second look at their requests.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from google.protobuf.message import DecodeError

from builder.base.digest import HEX_LENGTHS, Digest
from builder.base.errors import InvalidArgumentError
from builder.net.rpc import Buffer, Call, Context, Following, Method, Service, StreamHandler
from builder.reapi.digests import from_proto, function_of
from builder.reapi.names import parse_read, parse_write
from builder.reapi.pb import bytestream_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.quotas import Quotas
from builder.server.routing import instance_of
from builder.server.wrapped import Wrapped

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
READ = "/google.bytestream.ByteStream/Read"
WRITE = "/google.bytestream.ByteStream/Write"
FUNCTIONS = tuple(HEX_LENGTHS)  # whichever of them the instance serves
Count = Callable[[Quotas, str, bytes], None]


def bounded(services: Sequence[Service], quotas: Quotas) -> list[Service]:
    """These services, whose uploads count."""
    if not quotas:
        return list(services)
    return [
        Service(one.name, tuple(_bounded(method, quotas) for method in one.methods))
        for one in services
    ]


def _bounded(method: Method, quotas: Quotas) -> Method:
    count = COUNTS.get(method.path)
    if count is None:
        return method
    unary, stream = method.unary, method.stream
    single, short = method.single, method.short

    def look(data: bytes) -> None:
        instance = instance_of(data)
        if quotas.counts(instance):
            with suppress(DecodeError, InvalidArgumentError):  # the service says what is wrong
                count(quotas, instance, data)

    def counted_unary(data: bytes, context: Context) -> bytes | Awaitable[bytes]:
        assert unary is not None
        look(data)
        return unary(data, context)

    def counted_short(data: bytes, context: Context) -> bytes | None:
        assert short is not None
        look(data)
        return short(data, context)

    async def counted_stream(call: Call) -> None:
        assert stream is not None
        await stream(_Counted(call, look))

    def counted_single(data: bytes, context: Context) -> bytes | StreamHandler | Following:
        assert single is not None
        look(data)
        return single(data, context)

    return replace(
        method,
        unary=None if unary is None else counted_unary,
        stream=None if stream is None else counted_stream,
        single=None if single is None else counted_single,
        short=None if short is None else counted_short,
    )


class _Counted(Wrapped):
    """A call whose first request is looked at."""

    def __init__(self, call: Call, look: Callable[[bytes], None]) -> None:
        super().__init__(call)
        self._look = look
        self._begun = False

    async def receive(self) -> bytes | None:
        message = await self._call.receive()
        if message is not None and not self._begun:
            self._look(message)
        self._begun = True
        return message

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        if self._begun:
            return await self._call.receive_pieces()
        message = await self.receive()
        return None if message is None else (message,)


def _batch(quotas: Quotas, instance: str, data: bytes) -> None:
    request = pb.BatchUpdateBlobsRequest.FromString(data)
    quotas.take(instance, _named(request.digest_function, (one.digest for one in request.requests)))


def _splice(quotas: Quotas, instance: str, data: bytes) -> None:
    request = pb.SpliceBlobRequest.FromString(data)
    quotas.take(instance, _named(request.digest_function, (request.blob_digest,)))


def _write(quotas: Quotas, instance: str, data: bytes) -> None:
    name = bytestream_pb2.WriteRequest.FromString(data).resource_name
    quotas.take(instance, [parse_write(name, FUNCTIONS).digest])


def _asked(quotas: Quotas, instance: str, data: bytes) -> None:
    request = pb.FindMissingBlobsRequest.FromString(data)
    first = request.blob_digests[0].hash if request.blob_digests else ""
    function = function_of(request.digest_function, first, FUNCTIONS)
    quotas.renew(instance, function, request.blob_digests)


def _batch_read(quotas: Quotas, instance: str, data: bytes) -> None:
    request = pb.BatchReadBlobsRequest.FromString(data)
    first = request.digests[0].hash if request.digests else ""
    function = function_of(request.digest_function, first, FUNCTIONS)
    quotas.renew(instance, function, request.digests)


def _read(quotas: Quotas, instance: str, data: bytes) -> None:
    digest = parse_read(bytestream_pb2.ReadRequest.FromString(data).resource_name, FUNCTIONS).digest
    quotas.renew(instance, digest.function, [digest])


COUNTS: dict[str, Count] = {
    f"{CAS}BatchUpdateBlobs": _batch,
    f"{CAS}SpliceBlob": _splice,
    f"{CAS}FindMissingBlobs": _asked,
    f"{CAS}BatchReadBlobs": _batch_read,
    READ: _read,
    WRITE: _write,
}


def _named(function: int, digests: Iterable[pb.Digest]) -> list[Digest]:
    """Those that are digests; the service refuses the others."""
    found = []
    for one in digests:
        with suppress(InvalidArgumentError):
            found.append(from_proto(one, function_of(function, one.hash, FUNCTIONS)))
    return found
