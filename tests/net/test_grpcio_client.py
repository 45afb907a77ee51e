"""Our server under grpcio's client: the interop cases."""

import queue
import threading

import grpc
import pytest
import trio

from tests.net.echo import serving


def same(value: bytes) -> bytes:
    return value


def unary(channel: grpc.Channel, method: str):
    return channel.unary_unary(f"/test.Echo/{method}", same, same)


def streaming(channel: grpc.Channel, method: str):
    return channel.stream_stream(f"/test.Echo/{method}", same, same)


async def with_grpcio(story) -> None:
    """Run `story(channel)` in a thread against a server of ours."""
    async with serving() as server:

        def run() -> None:
            options = [("grpc.max_receive_message_length", -1)]
            with grpc.insecure_channel(server.addresses[0], options=options) as channel:
                story(channel)

        with trio.fail_after(60):
            await trio.to_thread.run_sync(run)


async def test_empty_and_large_unary() -> None:
    def story(channel: grpc.Channel) -> None:
        for method in ("Echo", "SlowEcho"):
            for size in (0, 1, 70_000, 4_100_000):
                assert unary(channel, method)(b"z" * size, timeout=60) == b"z" * size

    await with_grpcio(story)


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests(how: grpc.Compression) -> None:
    """grpcio compresses what it sends; calls and streams of it come plain."""

    def story(channel: grpc.Channel) -> None:
        text = b"again and again " * 10_000
        for method in ("Echo", "SlowEcho"):
            assert unary(channel, method)(text, timeout=60, compression=how) == text
        messages = [text, b"", text[:50_000]] * 20  # more than the stream's window, when plain
        call = streaming(channel, "Both")(iter(messages), timeout=60, compression=how)
        assert list(call) == messages

    await with_grpcio(story)


async def test_client_streaming() -> None:
    def story(channel: grpc.Channel) -> None:
        sizes = (27182, 8, 1828, 45904)
        call = channel.stream_unary("/test.Echo/Up", same, same)
        assert call(bytes(size) for size in sizes) == str(sum(sizes)).encode()

    await with_grpcio(story)


async def test_server_streaming() -> None:
    def story(channel: grpc.Channel) -> None:
        call = channel.unary_stream("/test.Echo/Down", same, same)
        assert [len(m) for m in call(b"10 300000")] == [300_000] * 10
        assert list(call(b"0 0")) == []

    await with_grpcio(story)


async def test_ping_pong() -> None:
    def story(channel: grpc.Channel) -> None:
        outgoing: queue.Queue[bytes | None] = queue.Queue()
        call = streaming(channel, "Both")(iter(outgoing.get, None))
        for size in (31415, 9, 2653, 58979):
            outgoing.put(bytes(size))
            assert next(call) == bytes(size)
        outgoing.put(None)
        assert list(call) == []
        assert call.code() == grpc.StatusCode.OK

    await with_grpcio(story)


async def test_empty_stream() -> None:
    await with_grpcio(lambda channel: list(streaming(channel, "Both")(iter(()))))


async def test_timeout() -> None:
    def story(channel: grpc.Channel) -> None:
        for method in ("Hang", "HangUnary"):
            with pytest.raises(grpc.RpcError) as caught:
                unary(channel, method)(b"", timeout=0.1)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    await with_grpcio(story)


async def test_cancel() -> None:
    def story(channel: grpc.Channel) -> None:
        call = streaming(channel, "Hang")(iter(()))
        ended = threading.Event()
        call.add_callback(ended.set)
        call.cancel()
        assert ended.wait(60)
        assert call.code() == grpc.StatusCode.CANCELLED
        assert unary(channel, "Echo")(b"still there") == b"still there"

    await with_grpcio(story)


async def test_status_and_message_with_unicode() -> None:
    def story(channel: grpc.Channel) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, "Missing")(b"")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "kein Blob: äöü € 100%"
        trailing = dict(caught.value.trailing_metadata())
        assert trailing["grpc-status-details-bin"] == b"\x08\x05"

    await with_grpcio(story)


async def test_unimplemented() -> None:
    def story(channel: grpc.Channel) -> None:
        for call in (unary(channel, "Nothing"), channel.unary_unary("/no.Service/At", same, same)):
            with pytest.raises(grpc.RpcError) as caught:
                call(b"x" * 100_000)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    await with_grpcio(story)


async def test_handler_bug_is_internal() -> None:
    def story(channel: grpc.Channel) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, "Broken")(b"")
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        assert "a bug" not in caught.value.details()

    await with_grpcio(story)


async def test_metadata() -> None:
    def story(channel: grpc.Channel) -> None:
        metadata = (("text", "a b,c"), ("raw-bin", b"\x00\xff\x01"), ("many", "1"), ("many", "2"))
        call = unary(channel, "Metadata")
        assert call(b"text", metadata=metadata) == b"a b,c"
        assert call(b"raw-bin", metadata=metadata) == b"\x00\xff\x01"
        assert call(b"many", metadata=metadata) == b"1,2"
        assert call(b"user-agent").startswith(b"grpc-python")

    await with_grpcio(story)


async def test_too_large_request() -> None:
    def story(channel: grpc.Channel) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, "Echo")(bytes(5_000_000))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert unary(channel, "Echo")(b"still there") == b"still there"

    await with_grpcio(story)


async def test_many_at_once() -> None:
    """1000 calls in flight, with metadata that changes each time."""

    def story(channel: grpc.Channel) -> None:
        call = unary(channel, "SlowEcho")
        futures = [
            call.future(b"%d" % n, metadata=(("n", str(n)),), timeout=60) for n in range(1000)
        ]
        assert [f.result() for f in futures] == [b"%d" % n for n in range(1000)]

    await with_grpcio(story)
