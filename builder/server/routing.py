"""Calls go to the storage of their instance: one service for each storage, over the same methods.

Field 1 of every request is the name of the instance, or a resource's name that begins with it
(REAPI v2, google.bytestream, google.longrunning), so nothing else of a call has to be read here.
Without routes the services are used as they are, and this costs nothing.
"""

from collections.abc import Awaitable, Mapping, Sequence

from builder.net.rpc import Buffer, Call, Context, Following, Method, Service, StreamHandler
from builder.reapi.names import KEYWORDS
from builder.server.wrapped import Wrapped

NAME_TAG = b"\x0a"  # field 1, a string


def routed(default: Service, routes: Mapping[str, Service]) -> Service:
    """`default`, whose calls of an instance of `routes` go to that service's methods."""
    by_path = {
        instance: {method.path: method for method in service.methods}
        for instance, service in routes.items()
    }
    return Service(
        default.name,
        tuple(
            _routed(method, {name: found[method.path] for name, found in by_path.items()})
            for method in default.methods
        ),
    )


def instance_of(message: bytes) -> str:
    """The instance that a request is for; "" where it names none."""
    segments = _first_field(message).split("/")
    for number, segment in enumerate(segments):
        if segment in KEYWORDS:
            return "/".join(segments[:number])
    return "/".join(segments)


def _routed(method: Method, routes: Mapping[str, Method]) -> Method:
    def unary(data: bytes, context: Context) -> bytes | Awaitable[bytes]:
        chosen = routes.get(instance_of(data), method).unary
        assert chosen is not None
        return chosen(data, context)

    def single(data: bytes, context: Context) -> bytes | StreamHandler | Following:
        chosen = routes.get(instance_of(data), method).single
        assert chosen is not None
        return chosen(data, context)

    def short(data: bytes, context: Context) -> bytes | None:
        chosen = routes.get(instance_of(data), method).short
        return None if chosen is None else chosen(data, context)

    async def stream(call: Call) -> None:
        first = await call.receive()
        chosen = (method if first is None else routes.get(instance_of(first), method)).stream
        assert chosen is not None
        await chosen(_Begun(call, first))

    return Method(
        method.path,
        unary=None if method.unary is None else unary,
        stream=None if method.stream is None else stream,
        single=None if method.single is None else single,
        short=None if method.short is None else short,
        max_request_bytes=method.max_request_bytes,
        pieces=method.pieces,
        runs=method.runs,
    )


class _Begun(Wrapped):
    """A call whose first request has been read; it is received again."""

    def __init__(self, call: Call, first: bytes | None) -> None:
        super().__init__(call)
        self._first = first
        self._begun = False

    async def receive(self) -> bytes | None:
        if self._begun:
            return await self._call.receive()
        self._begun = True
        return self._first

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        if self._begun:
            return await self._call.receive_pieces()
        self._begun = True
        return None if self._first is None else (self._first,)


def _first_field(message: bytes) -> str:
    """Field 1 of a message that begins with it, as every serializer writes it; else ""."""
    if message[:1] != NAME_TAG:
        return ""
    size = shift = 0
    for at in range(1, min(len(message), 6)):
        size |= (message[at] & 0x7F) << shift
        if message[at] < 0x80:
            return message[at + 1 : at + 1 + size].decode("utf-8", "replace")
        shift += 7
    return ""
