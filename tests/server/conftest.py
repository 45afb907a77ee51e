"""Services on a real port, and a foreign client: grpcio with messages of its own compiler."""

import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trio
from grpc_tools import protoc

from builder.net.listeners import open_listeners
from builder.net.rpc import Service
from builder.net.server import serve

PROTOS = Path(__file__).parent.parent.parent / "schema" / "proto"
WELL_KNOWN = Path(protoc.__file__).parent / "_proto"
MODULES = {
    "re": "build.bazel.remote.execution.v2.remote_execution_pb2",
    "re_grpc": "build.bazel.remote.execution.v2.remote_execution_pb2_grpc",
    "bs": "google.bytestream.bytestream_pb2",
    "bs_grpc": "google.bytestream.bytestream_pb2_grpc",
    "ops": "google.longrunning.operations_pb2",
    "ops_grpc": "google.longrunning.operations_pb2_grpc",
    "status": "google.rpc.status_pb2",
    "details": "google.rpc.error_details_pb2",
    "bes": "google.devtools.build.v1.publish_build_event_pb2",
    "bes_grpc": "google.devtools.build.v1.publish_build_event_pb2_grpc",
    "events": "google.devtools.build.v1.build_events_pb2",
    "asset": "build.bazel.remote.asset.v1.remote_asset_pb2",
    "asset_grpc": "build.bazel.remote.asset.v1.remote_asset_pb2_grpc",
    "logstream": "build.bazel.remote.logstream.v1.remote_logstream_pb2",
    "logstream_grpc": "build.bazel.remote.logstream.v1.remote_logstream_pb2_grpc",
}


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Modules compiled from our `.proto` files by grpcio-tools, in the default descriptor pool."""
    out = tmp_path_factory.mktemp("foreign")
    names = ["build", "google"]
    files = [str(p.relative_to(PROTOS)) for name in names for p in (PROTOS / name).rglob("*.proto")]
    arguments = ["protoc", f"-I{PROTOS}", f"-I{WELL_KNOWN}"]
    arguments += [f"--python_out={out}", f"--grpc_python_out={out}", *sorted(files)]
    assert protoc.main(arguments) == 0
    (out / "build" / "__init__.py").touch()  # else the packaging tool of that name is found
    sys.path.insert(0, str(out))
    try:
        importlib.invalidate_caches()
        yield SimpleNamespace(**{k: importlib.import_module(v) for k, v in MODULES.items()})
    finally:
        sys.path.remove(str(out))


Start = Callable[..., Awaitable[grpc.Channel]]


@pytest.fixture
async def start(nursery: trio.Nursery) -> AsyncIterator[Start]:
    """`await start(*services)` serves them on a port of their own and gives a grpcio channel."""
    channels: list[grpc.Channel] = []

    async def starter(*services: Service) -> grpc.Channel:
        listeners = await open_listeners("127.0.0.1:0")
        await nursery.start(serve, services, listeners)
        channel = grpc.insecure_channel(
            listeners[0].address, options=[("grpc.use_local_subchannel_pool", 1)]
        )
        channels.append(channel)
        return channel

    yield starter
    for channel in channels:
        channel.close()
    nursery.cancel_scope.cancel()


async def ask(method: Callable[..., Any], request: Any) -> Any:
    """A blocking call of grpcio, in a thread; a stream comes back as a list."""

    def call() -> Any:
        answer = method(request, timeout=60)
        return list(answer) if hasattr(answer, "__next__") else answer

    return await trio.to_thread.run_sync(call)


async def refused(method: Callable[..., Any], request: Any) -> tuple[str, str]:
    """The status that a call ends with: name of the code, message."""
    try:
        await ask(method, request)
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""
