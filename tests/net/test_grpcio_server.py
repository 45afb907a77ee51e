"""Our channel with grpcio's server: the interop cases."""

import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
import trio

from builder.base.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    ResourceExhaustedError,
    UnimplementedError,
    UnknownError,
)
from builder.net.channel import Channel


def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
    return request


def both(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


def down(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    count, size = map(int, request.split())
    for _ in range(count):
        yield bytes(size)


def up(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    return str(sum(map(len, requests))).encode()


def fail(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x09"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "fehlt: äöü € 100%")


def crash(request: bytes, context: grpc.ServicerContext) -> bytes:
    raise RuntimeError("a bug")


def metadata(request: bytes, context: grpc.ServicerContext) -> bytes:
    value = dict(context.invocation_metadata())[request.decode()]
    return value.encode() if isinstance(value, str) else value


def remaining(request: bytes, context: grpc.ServicerContext) -> bytes:
    return str(context.time_remaining()).encode()


def hang(request: bytes, context: grpc.ServicerContext) -> bytes:
    while context.is_active():
        time.sleep(0.01)
    return b""


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Crash": grpc.unary_unary_rpc_method_handler(crash),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
}


@contextmanager
def grpcio_server(*options: tuple[str, int]) -> Iterator[str]:
    everything = (*options, ("grpc.max_receive_message_length", -1))
    server = grpc.server(futures.ThreadPoolExecutor(8), options=everything)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", HANDLERS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0.2).wait()


async def test_empty_and_large_unary() -> None:
    with grpcio_server() as address, trio.fail_after(60):
        async with Channel(address) as channel:
            for size in (0, 1, 70_000, 9_000_000):
                assert await channel.unary("/test.Echo/Echo", bytes(size)) == bytes(size)


async def test_streaming() -> None:
    with grpcio_server() as address, trio.fail_after(60):
        async with Channel(address) as channel:
            async with channel.stream("/test.Echo/Down") as call:
                await call.send(b"20 300000")
                await call.done_sending()
                sizes = []
                while (message := await call.receive()) is not None:
                    sizes.append(len(message))
                assert sizes == [300_000] * 20
            async with channel.stream("/test.Echo/Up") as call:
                for size in (27182, 8, 1828, 45904, 3_000_000):
                    await call.send(bytes(size))
                await call.done_sending()
                assert await call.receive() == b"3074922"
                assert await call.receive() is None


async def test_ping_pong() -> None:
    with grpcio_server() as address, trio.fail_after(60):
        async with Channel(address) as channel, channel.stream("/test.Echo/Both") as call:
            for size in (31415, 9, 2653, 58979):
                await call.send(bytes(size))
                assert await call.receive() == bytes(size)
            await call.done_sending()
            assert await call.receive() is None


async def test_empty_stream() -> None:
    with grpcio_server() as address, trio.fail_after(60):
        async with Channel(address) as channel, channel.stream("/test.Echo/Both") as call:
            await call.done_sending()
            assert await call.receive() is None


async def test_statuses() -> None:
    with grpcio_server() as address, trio.fail_after(60):
        async with Channel(address) as channel:
            with pytest.raises(FailedPreconditionError) as caught:
                await channel.unary("/test.Echo/Fail", b"")
            assert caught.value.message == "fehlt: äöü € 100%"
            assert caught.value.details == b"\x08\x09"
            with pytest.raises(UnknownError):
                await channel.unary("/test.Echo/Crash", b"")
            with pytest.raises(UnimplementedError):
                await channel.unary("/test.Echo/Nothing", bytes(1_000_000))


async def test_metadata() -> None:
    with grpcio_server() as address, trio.fail_after(60):
        async with Channel(address) as channel:
            sent = {"text": "a b,c", "raw-bin": b"\x00\xff\x01"}
            call = channel.unary
            assert await call("/test.Echo/Metadata", b"text", metadata=sent) == b"a b,c"
            assert await call("/test.Echo/Metadata", b"raw-bin", metadata=sent) == b"\x00\xff\x01"
            seconds = float(await call("/test.Echo/Remaining", b"", timeout_s=100))
            assert 90 < seconds <= 100


async def test_timeout_and_cancel() -> None:
    with grpcio_server() as address, trio.fail_after(60):
        async with Channel(address) as channel:
            with pytest.raises(DeadlineExceededError):
                await channel.unary("/test.Echo/Hang", b"", timeout_s=0.1)
            with trio.move_on_after(0.1) as scope:
                await channel.unary("/test.Echo/Hang", b"")
            assert scope.cancelled_caught
            assert await channel.unary("/test.Echo/Echo", b"still there") == b"still there"


async def test_a_server_with_a_small_message_limit() -> None:
    with grpcio_server(("grpc.max_receive_message_length", 1000)) as address, trio.fail_after(60):
        async with Channel(address) as channel:
            with pytest.raises(ResourceExhaustedError):
                await channel.unary("/test.Echo/Echo", bytes(1_000_000))


async def test_more_calls_than_one_connection_takes() -> None:
    """The channel respects MAX_CONCURRENT_STREAMS and opens more connections."""
    with grpcio_server(("grpc.max_concurrent_streams", 3)) as address, trio.fail_after(60):
        async with Channel(address) as channel, trio.open_nursery() as nursery:

            async def one(number: int) -> None:
                body = b"%d" % number
                assert await channel.unary("/test.Echo/Echo", body) == body

            for number in range(200):
                nursery.start_soon(one, number)
