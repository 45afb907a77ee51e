"""What real clients sent, octet for octet, replayed. Recorded between the client and this server:
grpcio 1.85 (three unary calls with metadata, one stream), curl 7.88, nghttp and h2load 1.52; and
Bazel 4.2.3 (grpc-java on Netty) with a remote service, four actions from first to last. Paths of
the machine in Bazel's commands are overwritten."""

from collections import Counter
from pathlib import Path

import pytest

from builder.wire import heads
from builder.wire.events import MessageReceived, StreamEnded, StreamOpened
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection
from tests.wire.peers import sent

FOLDER = Path(__file__).parent / "recorded"
ROUTES = {
    "/test.Echo/Echo": heads.Route(True, 1 << 22, None),
    "/test.Echo/Both": heads.Route(False, 1 << 22, None),
}
EXPECTED = {
    "grpcio": [
        *[("/test.Echo/Echo", b"call %d" % number) for number in range(3)],
        "opened /test.Echo/Both",
        b"a",
        b"bc" * 5000,
        "ended",
    ],
    "curl": [("/test.Echo/Echo", b"hello")],
    "nghttp": [("/test.Echo/Echo", b"hello")],
    "h2load": [("/test.Echo/Echo", b"hello")] * 4,
}


def story(name: str, size: int) -> list:
    """What the octets of this client mean, fed in parts of this size."""
    data = bytes.fromhex((FOLDER / f"{name}.hex").read_text().replace("\n", ""))
    connection = ServerConnection(Limits(), ROUTES)
    found: list = []
    for at in range(0, len(data), size):
        for event in connection.receive(data[at : at + size], 0.0):
            match event:
                case (stream_id, head, body):
                    found.append((head.path, body))
                    connection.reply(stream_id, body)
                case StreamOpened(_, head):
                    found.append(f"opened {head.path}")
                case MessageReceived(_, body):
                    found.append(body)
                case StreamEnded(stream):
                    found.append("ended")
                    connection.finish(stream, 0)
        names = [frame_name for frame_name, *_ in sent(connection)]
        assert "RST_STREAM" not in names
        assert "GOAWAY" not in names
    assert not connection.streams
    return found


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_clients(name: str, size: int) -> None:
    assert story(name, size) == EXPECTED[name]


def test_metadata_of_grpcio() -> None:
    """Text, binary and deadline of a real client."""
    data = bytes.fromhex((FOLDER / "grpcio.hex").read_text().replace("\n", ""))
    events = ServerConnection(Limits(), ROUTES).receive(data, 0.0)
    head = next(event[1] for event in events if type(event) is tuple)
    assert head.metadata["x-bin"] == b"\0\1"
    assert head.metadata["text"] == "value"
    assert str(head.metadata["user-agent"]).startswith("grpc-python/")
    assert 4.0 < head.timeout_s <= 5.0


RE = "/build.bazel.remote.execution.v2"
BAZEL_UNARY = {
    f"{RE}.Capabilities/GetCapabilities": 1,
    f"{RE}.ActionCache/GetActionResult": 4,
    f"{RE}.ContentAddressableStorage/FindMissingBlobs": 4,
}
BAZEL_STREAMS = {
    "/google.bytestream.ByteStream/Write": 14,
    "/google.bytestream.ByteStream/Read": 4,
    f"{RE}.Execution/Execute": 4,
}


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_a_build_of_bazel(size: int) -> None:
    """Its table changes with every call: each has a deadline and metadata of its own."""
    data = bytes.fromhex((FOLDER / "bazel.hex").read_text().replace("\n", ""))
    routes = {path: heads.Route(True, 1 << 22, None) for path in BAZEL_UNARY}
    routes |= {path: heads.Route(False, 1 << 22, None) for path in BAZEL_STREAMS}
    connection = ServerConnection(Limits(), routes)
    unary: Counter[str] = Counter()
    streams: Counter[str] = Counter()
    ended = 0
    for at in range(0, len(data), size):
        for event in connection.receive(data[at : at + size], 0.0):
            match event:
                case (stream_id, head, _):
                    unary[head.path] += 1
                    connection.reply(stream_id, b"")
                case StreamOpened(_, head):
                    streams[head.path] += 1
                case StreamEnded(stream):
                    ended += 1
                    connection.finish(stream, 0)
                    continue
                case _:
                    continue
            if not head.path.endswith("Execute"):
                assert 0 < head.timeout_s <= 60
            if head.path in BAZEL_UNARY:
                assert b"bazel" in head.metadata[f"{RE[1:]}.requestmetadata-bin"]
        sent(connection)
    assert (unary, streams, ended) == (BAZEL_UNARY, BAZEL_STREAMS, 22)
    assert not connection.streams
