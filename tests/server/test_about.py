"""What the server says about itself: capabilities, health, reflection."""

from types import SimpleNamespace

import pytest
import trio
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from builder.server.capabilities import CapabilitiesService, Served
from builder.server.cas import NAME as CAS
from builder.server.health import HealthService
from builder.server.instances import Instances
from builder.server.reflection import NAMES, ReflectionService
from tests.server.conftest import Start, ask, refused


async def test_capabilities_of_a_cache(start: Start, foreign: SimpleNamespace) -> None:
    """A service without execution announces the cache alone, from 2.0 on."""
    served = Served(max_batch_bytes=4_000_000, execution=False)
    channel = await start(CapabilitiesService(served, Instances(["main"])).service())
    stub = foreign.re_grpc.CapabilitiesStub(channel)
    request = foreign.re.GetCapabilitiesRequest(instance_name="main")
    answer = await ask(stub.GetCapabilities, request)
    cache = answer.cache_capabilities
    functions = foreign.re.DigestFunction
    assert list(cache.digest_functions) == [functions.SHA256, functions.BLAKE3]
    assert cache.action_cache_update_capabilities.update_enabled
    assert cache.max_batch_total_size_bytes == 4_000_000
    assert cache.symlink_absolute_path_strategy == foreign.re.SymlinkAbsolutePathStrategy.DISALLOWED
    assert list(cache.supported_compressors) == []
    assert not answer.HasField("execution_capabilities")
    assert (answer.low_api_version.major, answer.low_api_version.minor) == (2, 0)
    assert (answer.high_api_version.major, answer.high_api_version.minor) == (2, 11)
    request.instance_name = "other"
    assert (await refused(stub.GetCapabilities, request))[0] == "INVALID_ARGUMENT"


async def test_capabilities_of_execution(start: Start, foreign: SimpleNamespace) -> None:
    """A service that executes says so, with its priorities and functions, old field included."""
    served = Served(
        max_batch_bytes=1, execution=True, priorities=(-5, 5), functions=["blake3"],
        compressors=["zstd"], absolute_symlinks=True,
    )  # fmt: skip
    channel = await start(CapabilitiesService(served, Instances()).service())
    stub = foreign.re_grpc.CapabilitiesStub(channel)
    answer = await ask(stub.GetCapabilities, foreign.re.GetCapabilitiesRequest(instance_name="x"))
    execution = answer.execution_capabilities
    assert execution.exec_enabled
    assert execution.digest_function == foreign.re.DigestFunction.BLAKE3
    assert list(execution.digest_functions) == [foreign.re.DigestFunction.BLAKE3]
    [priorities] = execution.execution_priority_capabilities.priorities
    assert (priorities.min_priority, priorities.max_priority) == (-5, 5)
    assert list(answer.cache_capabilities.supported_compressors) == [foreign.re.Compressor.ZSTD]


async def test_health(start: Start) -> None:
    """Check, List and Watch tell what was set; unknown services are NOT_FOUND."""
    health = HealthService([CAS], ["disk", "queue"])
    stub = health_pb2_grpc.HealthStub(await start(health.service()))
    request = health_pb2.HealthCheckRequest
    serving, not_serving = 1, 2
    assert (await ask(stub.Check, request())).status == not_serving
    health.set(True)
    assert (await ask(stub.Check, request(service=CAS))).status == serving
    health.set(False, CAS)
    assert (await ask(stub.Check, request())).status == serving
    health.set_parts({"disk"})
    parts = {"builder.health.disk": not_serving, "builder.health.queue": serving}
    assert (await ask(stub.Check, request(service="builder.health.disk"))).status == not_serving
    listed = (await ask(stub.List, health_pb2.HealthListRequest())).statuses
    assert {name: one.status for name, one in listed.items()} == {
        "": serving,
        CAS: not_serving,
        **parts,
    }
    assert (await refused(stub.Check, request(service="x")))[0] == "NOT_FOUND"


@pytest.mark.parametrize(("name", "told"), [("", [2, 1, 2]), ("unknown", [3])])
async def test_health_is_watched(start: Start, name: str, told: list[int]) -> None:
    """Watch tells the status at once and after each change; an unknown service is 3."""
    health = HealthService([])
    stub = health_pb2_grpc.HealthStub(await start(health.service()))
    stream = stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60)
    heard = []
    for number, _ in enumerate(told):
        heard.append((await trio.to_thread.run_sync(next, stream)).status)
        health.set(number % 2 == 0)
    assert heard == told
    stream.cancel()


async def test_reflection_by_grpcios_client(start: Start) -> None:
    """grpcio's own client finds services, methods and messages without any `.proto` file."""
    channel = await start(*ReflectionService([CAS]).services())

    def explore() -> tuple[list[str], list[str], str]:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        service = pool.FindServiceByName(CAS)
        field = pool.FindMessageTypeByName("build.bazel.remote.execution.v2.Action")
        return (
            list(database.get_services()),
            [method.name for method in service.methods],
            field.fields_by_name["timeout"].message_type.full_name,
        )

    names, methods, kind = await trio.to_thread.run_sync(explore)
    assert sorted(names) == sorted([CAS, *NAMES])
    assert "FindMissingBlobs" in methods
    assert kind == "google.protobuf.Duration"


@pytest.mark.parametrize("version", NAMES)
async def test_reflection_of_what_is_not_there(start: Start, version: str) -> None:
    """What is not known is answered with an error, and the stream goes on; both versions."""
    channel = await start(*ReflectionService([]).services())
    request = reflection_pb2.ServerReflectionRequest
    method = channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=request.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        request(file_by_filename="no.proto"),
        request(file_containing_symbol="no.Such"),
        request(all_extension_numbers_of_type="no.Such"),
        request(),
        request(all_extension_numbers_of_type="grpc.health.v1.HealthCheckRequest", host="h"),
    ]
    answers = await ask(method, iter(asked))
    assert [a.error_response.error_code for a in answers] == [5, 5, 5, 3, 0]
    assert answers[-1].valid_host == "h"
    assert answers[-1].original_request == asked[-1]
