"""Which storage a call goes to: by its first field, and nothing else of it."""

from collections.abc import Sequence

import pytest

from builder.net.rpc import Buffer, Call, Context, Method, Peer, Service
from builder.reapi.pb import bytestream_pb2 as bs
from builder.reapi.pb import operations_pb2 as ops
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.routing import instance_of, routed

HASH = "ab" * 32
LONG = "a/" * 100 + "b"


@pytest.mark.parametrize("instance", ["", "main", "a/b/c", LONG])
def test_every_kind_of_request_names_its_instance_first(instance: str) -> None:
    """In the field of that name, or before a resource's keyword."""
    prefix = f"{instance}/" if instance else ""
    digest = pb.Digest(hash=HASH, size_bytes=5)
    for message in (
        pb.FindMissingBlobsRequest(instance_name=instance, blob_digests=[digest]),
        pb.GetActionResultRequest(instance_name=instance, action_digest=digest),
        pb.ExecuteRequest(instance_name=instance, action_digest=digest),
        pb.GetTreeRequest(instance_name=instance, root_digest=digest),
        bs.ReadRequest(resource_name=f"{prefix}blobs/{HASH}/5"),
        bs.ReadRequest(resource_name=f"{prefix}compressed-blobs/zstd/{HASH}/5"),
        bs.WriteRequest(resource_name=f"{prefix}uploads/u/blobs/{HASH}/5", data=b"hello"),
        ops.GetOperationRequest(name=f"{prefix}operations/7"),
    ):
        assert instance_of(message.SerializeToString()) == instance


@pytest.mark.parametrize("message", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff", b"\x12\x01x"])
def test_a_request_without_a_name_is_of_the_default(message: bytes) -> None:
    """Whatever it is: the default's service says what is wrong with it."""
    assert instance_of(message) == ""


class Told:
    """A call with these requests; remembers the answers."""

    path = "/s/Stream"
    metadata = {"a": "b"}  # noqa: RUF012 -- it is never changed
    peer = Peer("here")
    deadline = 7.0

    def __init__(self, requests: list[bytes]) -> None:
        self.requests = requests
        self.sent: list[object] = []

    async def receive(self) -> bytes | None:
        return self.requests.pop(0) if self.requests else None

    async def receive_pieces(self) -> Sequence[Buffer] | None:
        return [self.requests.pop(0)] if self.requests else None

    async def send(self, message: Buffer | Sequence[Buffer]) -> None:
        self.sent.append(message)


def service(name: bytes) -> Service:
    async def stream(call: Call) -> None:
        assert (call.path, call.metadata, call.deadline) == ("/s/Stream", {"a": "b"}, 7.0)
        assert call.peer == Peer("here")
        while (message := await call.receive()) is not None:
            await call.send([name, message])

    def unary(data: bytes, _context: Context) -> bytes:
        return name

    return Service(
        "s",
        (
            Method("/s/Unary", unary=unary, max_request_bytes=9),
            Method("/s/Single", single=unary),
            Method("/s/Stream", stream=stream, short=unary),
        ),
    )


async def test_calls_go_to_their_service() -> None:
    """Of every kind; a stream's first request is received by whoever serves it."""
    made = routed(service(b"default"), {"own": service(b"own")})
    assert made.name == "s"
    one, single, stream = made.methods
    assert one.max_request_bytes == 9
    for instance, name in (("own", b"own"), ("", b"default"), ("other", b"default")):
        request = pb.ExecuteRequest(instance_name=instance).SerializeToString()
        call = Told([request, b"second"])
        assert one.unary is not None
        assert single.single is not None
        assert stream.stream is not None
        assert one.unary(request, call) == name
        assert single.single(request, call) == name
        assert stream.short is not None
        assert stream.short(request, call) == name
        await stream.stream(call)
        assert call.sent == [[name, request], [name, b"second"]]
    nothing = Told([])
    await stream.stream(nothing)
    assert nothing.sent == []
