"""The same bare GetActionResult on three servers: our wire, h2 with trio, grpcio's asyncio server.
grpcio's has ByteStream.Read besides: a gigabyte out of memory, whatever is asked for.

`python -m tests.bench.wire_servers_parts KIND CORE` prints its port and serves until stdin ends.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from functools import partial

import h2.config
import h2.connection
import h2.events
import h2.settings
import trio

from builder.net.listeners import open_listeners
from builder.net.rpc import Context, Method, Service
from builder.net.server import serve
from builder.reapi.pb import bytestream_pb2 as bs_pb
from builder.reapi.pb import remote_execution_pb2 as re_pb

PATH = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult"
READ = "/google.bytestream.ByteStream/Read"
ENTRIES = 1000
PIECES, PIECE = 4096, 256 * 1024  # messages of a read, and bytes of each
TOKEN = "bench-token"


def digest(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def action_result(number: int) -> bytes:
    result = re_pb.ActionResult(exit_code=0)
    for name in ("a.o", "a.d"):
        file = result.output_files.add(path=f"bazel-out/k8/bin/{name}")
        file.digest.hash = digest(number)
        file.digest.size_bytes = number
    result.execution_metadata.worker = "worker-1"
    return result.SerializeToString()


CACHE = {digest(number): action_result(number) for number in range(ENTRIES)}
parse = re_pb.GetActionResultRequest.FromString


def answer(request: bytes) -> bytes:
    return CACHE[parse(request).action_digest.hash]


def ours(request: bytes, context: Context) -> bytes:
    return CACHE[parse(request).action_digest.hash]


SERVICE = Service("bench", (Method(PATH, unary=ours),))


def ready(port: int) -> None:
    print(port, flush=True)


async def stdin_ends() -> None:
    await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


async def serve_bare() -> None:
    listeners = await open_listeners("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, [SERVICE], listeners))
        ready(int(listeners[0].address.rpartition(":")[2]))
        await stdin_ends()
        nursery.cancel_scope.cancel()


# ---- h2 with trio, written as its documentation does


async def h2_connection(stream: trio.SocketStream) -> None:
    config = h2.config.H2Configuration(client_side=False, header_encoding=None)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    connection.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000})
    bodies: dict[int, list[bytes]] = {}
    await stream.send_all(connection.data_to_send())
    while data := await stream.receive_some(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                assert (b":path", PATH.encode()) in event.headers
                bodies[event.stream_id] = []
            elif isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id].append(event.data)
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                body = b"".join(bodies.pop(event.stream_id))
                result = answer(body[5:])
                stream_id = event.stream_id
                connection.send_headers(
                    stream_id, [(":status", "200"), ("content-type", "application/grpc")]
                )
                connection.send_data(stream_id, b"\0" + len(result).to_bytes(4, "big") + result)
                connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
        await stream.send_all(connection.data_to_send())


async def h2_guarded(stream: trio.SocketStream) -> None:
    try:
        await h2_connection(stream)
    except trio.BrokenResourceError:
        await stream.aclose()


async def serve_h2() -> None:
    async with trio.open_nursery() as nursery:
        serve_tcp = partial(trio.serve_tcp, h2_guarded, 0, host="127.0.0.1")
        listeners = await nursery.start(serve_tcp)
        ready(listeners[0].socket.getsockname()[1])
        await stdin_ends()
        nursery.cancel_scope.cancel()


# ---- grpcio's asyncio server


async def serve_grpcio() -> None:
    import grpc

    async def handler(request: re_pb.GetActionResultRequest, context: object) -> bytes:
        return CACHE[request.action_digest.hash]

    piece = bs_pb.ReadResponse(data=bytes(PIECE)).SerializeToString()

    async def read(request: bytes, context: object) -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            yield piece

    server = grpc.aio.server()
    handlers = {
        PATH: grpc.unary_unary_rpc_method_handler(
            handler, request_deserializer=parse, response_serializer=lambda result: result
        ),
        READ: grpc.unary_stream_rpc_method_handler(read),
    }
    for path, one in handlers.items():
        service, _, method = path[1:].partition("/")
        served = grpc.method_handlers_generic_handler(service, {method: one})
        server.add_generic_rpc_handlers((served,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready(port)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


def main() -> None:
    kind, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    if kind == "bare":
        trio.run(serve_bare)
    elif kind == "h2":
        trio.run(serve_h2)
    else:
        asyncio.run(serve_grpcio())


if __name__ == "__main__":
    main()
