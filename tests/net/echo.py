"""The service that tests call: one method of each kind, on plain bytes."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from builder.base.errors import NotFoundError
from builder.net.listeners import open_listeners
from builder.net.rpc import Call, Context, Method, Service, StreamHandler
from builder.net.server import Server, serve


def echo(request: bytes, context: Context) -> bytes:
    return request


async def _later(request: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return request


def slow_echo(request: bytes, context: Context):
    return _later(request)


def missing(request: bytes, context: Context) -> bytes:
    raise NotFoundError("kein Blob: äöü € 100%", b"\x08\x05")


def broken(request: bytes, context: Context) -> bytes:
    raise RuntimeError("a bug")


def metadata(request: bytes, context: Context) -> bytes:
    value = context.metadata.get(request.decode(), "")
    return value.encode() if isinstance(value, str) else value


async def both(call: Call) -> None:
    while (message := await call.receive()) is not None:
        await call.send(message)


async def down(call: Call) -> None:
    """`count size`: that many messages of that many bytes."""
    request = await call.receive()
    assert request is not None
    count, size = map(int, request.split())
    for number in range(count):
        await call.send(bytes([number % 256]) * size)


def either(request: bytes, context: Context) -> bytes | StreamHandler:
    """`1 size` is answered in place, more than one message by a task, as `down` does."""
    count, size = map(int, request.split())
    if count == 1:
        return b"\0" * size

    async def several(call: Call) -> None:
        assert await call.receive() is None  # the request is the handler's, and the only one
        for number in range(count):
            await call.send(bytes([number % 256]) * size)

    return several


async def up(call: Call) -> None:
    total = 0
    while (message := await call.receive()) is not None:
        total += len(message)
    await call.send(str(total).encode())


def short_up(request: bytes, context: Context) -> bytes | None:
    """`up`, of one message that is not too long."""
    if request == b"bad":
        raise NotFoundError("bad")
    return str(len(request)).encode() if len(request) < 1000 else None


async def hang(call: Call) -> None:
    await trio.sleep_forever()


async def hang_unary_task() -> bytes:
    await trio.sleep_forever()
    return b""


def hang_unary(request: bytes, context: Context):
    return hang_unary_task()


ECHO = Service(
    "test.Echo",
    (
        Method("/test.Echo/Echo", unary=echo),
        Method("/test.Echo/SlowEcho", unary=slow_echo),
        Method("/test.Echo/Missing", unary=missing),
        Method("/test.Echo/Broken", unary=broken),
        Method("/test.Echo/Metadata", unary=metadata),
        Method("/test.Echo/HangUnary", unary=hang_unary),
        Method("/test.Echo/Both", stream=both),
        Method("/test.Echo/Down", stream=down),
        Method("/test.Echo/Either", single=either),
        Method("/test.Echo/Up", stream=up),
        Method("/test.Echo/ShortUp", stream=up, short=short_up),
        Method("/test.Echo/Hang", stream=hang),
    ),
)


@asynccontextmanager
async def serving(
    *services: Service, tls: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[Server]:
    """A server on a free loopback port, until the block ends."""
    listeners = await open_listeners("127.0.0.1:0", tls)
    async with trio.open_nursery() as nursery:
        run = partial(serve, services or (ECHO,), listeners, **options)
        yield await nursery.start(run)
        nursery.cancel_scope.cancel()
