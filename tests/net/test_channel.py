"""Our channel and our server with each other."""

import pytest
import trio

from builder.base.errors import (
    DeadlineExceededError,
    InternalError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from builder.net.channel import Channel
from tests.net.echo import serving


async def test_unary() -> None:
    """A unary call brings back what the handler answered, at once or later."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        for path in ("/test.Echo/Echo", "/test.Echo/SlowEcho"):
            for size in (0, 1, 1000, 16 * 1024, 100_000, 4_000_000):
                with trio.fail_after(60):
                    assert await channel.unary(path, b"x" * size) == b"x" * size


async def test_bidirectional() -> None:
    """Each message comes back before the next is sent."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        with trio.fail_after(60):
            async with channel.stream("/test.Echo/Both") as call:
                for number in range(20):
                    await call.send(b"%d" % number)
                    assert await call.receive() == b"%d" % number
                await call.done_sending()
                assert await call.receive() is None


async def test_status() -> None:
    """A StatusError crosses the wire with code, message and details."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        with pytest.raises(NotFoundError) as caught:
            await channel.unary("/test.Echo/Missing", b"")
        assert caught.value.message == "kein Blob: äöü € 100%"
        assert caught.value.details == b"\x08\x05"
        with pytest.raises(UnimplementedError):
            await channel.unary("/test.Echo/Nothing", b"")
        with pytest.raises(InternalError):
            await channel.unary("/test.Echo/Broken", b"")


async def test_deadline() -> None:
    """A call ends with DEADLINE_EXCEEDED when its time is over."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        for path in ("/test.Echo/Hang", "/test.Echo/HangUnary"):
            with pytest.raises(DeadlineExceededError):
                await channel.unary(path, b"", timeout_s=0.05)


async def test_streams_of_many_megabytes() -> None:
    """64 MiB go up and down within the windows."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        with trio.fail_after(60):
            async with channel.stream("/test.Echo/Down") as call:
                await call.send(b"64 1048576")
                await call.done_sending()
                total = 0
                while (message := await call.receive()) is not None:
                    total += len(message)
                assert total == 64 * 1048576
            async with channel.stream("/test.Echo/Up") as call:
                for _ in range(64):
                    await call.send([b"a" * 48576, memoryview(b"b" * 1_000_000)])
                await call.done_sending()
                assert await call.receive() == b"67108864"
                assert await call.receive() is None


async def test_nobody_there() -> None:
    """UNAVAILABLE says which address cannot be reached."""
    async with Channel("127.0.0.1:1") as channel:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
            await channel.unary("/x/Y", b"")


async def test_drain() -> None:
    """A draining server lets open calls end, takes no new ones, and then ends."""
    async with serving() as server, Channel(server.addresses[0]) as channel:
        with trio.fail_after(60):
            async with channel.stream("/test.Echo/Both") as call, trio.open_nursery() as nursery:
                await call.send(b"a")
                assert await call.receive() == b"a"
                nursery.start_soon(server.drain)
                await trio.testing.wait_all_tasks_blocked(0.05)
                await call.send(b"b")
                assert await call.receive() == b"b"
                await call.done_sending()
                assert await call.receive() is None
            with pytest.raises(UnavailableError):
                await channel.unary("/test.Echo/Echo", b"")
