"""Clients that we did not write, grpcio and curl, ask a running service."""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from builder.base.digest import Digest, digest_of
from builder.reapi.digests import to_proto
from builder.reapi.pb import operations_pb2, remote_execution_pb2, workers_pb2
from tests.e2e.service import Service

pytestmark = pytest.mark.slow
REAPI = "build.bazel.remote.execution.v2"
Result = remote_execution_pb2.ExecuteResponse


@pytest.fixture(scope="module")
def channel(service: Service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.reapi) as channel:
        yield channel


def upload(channel: grpc.Channel, *blobs: bytes) -> list[Digest]:
    digests = [digest_of(blob) for blob in blobs]
    request = remote_execution_pb2.BatchUpdateBlobsRequest()
    for digest, blob in zip(digests, blobs, strict=True):
        request.requests.add(digest=to_proto(digest), data=blob)
    call = channel.unary_unary(
        f"/{REAPI}.ContentAddressableStorage/BatchUpdateBlobs",
        request_serializer=remote_execution_pb2.BatchUpdateBlobsRequest.SerializeToString,
        response_deserializer=remote_execution_pb2.BatchUpdateBlobsResponse.FromString,
    )
    assert [r.status.code for r in call(request, timeout=60).responses] == [0] * len(blobs)
    return digests


def execute(channel: grpc.Channel, *command: str, salt: str = "") -> Result:
    """Run a command with no inputs, and wait for its response."""
    directory = remote_execution_pb2.Directory().SerializeToString()
    message = remote_execution_pb2.Command(arguments=command, output_paths=["out/file.txt"])
    message.platform.properties.add(name="OSFamily", value="linux")
    message.environment_variables.add(name="SALT", value=salt)
    text = message.SerializeToString()
    action = remote_execution_pb2.Action(
        command_digest=to_proto(digest_of(text)), input_root_digest=to_proto(digest_of(directory))
    ).SerializeToString()
    digest = upload(channel, text, directory, action)[-1]
    call = channel.unary_stream(
        f"/{REAPI}.Execution/Execute",
        request_serializer=remote_execution_pb2.ExecuteRequest.SerializeToString,
        response_deserializer=operations_pb2.Operation.FromString,
    )
    request = remote_execution_pb2.ExecuteRequest(action_digest=to_proto(digest))
    operations = list(call(request, timeout=60))
    assert operations[-1].done, operations
    response = Result()
    assert operations[-1].response.Unpack(response)
    return response


def test_reflection_lists_what_is_served(channel: grpc.Channel) -> None:
    """Each service of the API is named to a client that asks by reflection."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=60)
    names = {service.name for service in answer.list_services_response.service}
    wanted = ("ActionCache", "Capabilities", "ContentAddressableStorage", "Execution")
    assert {f"{REAPI}.{name}" for name in wanted} <= names
    assert {"google.bytestream.ByteStream", "google.longrunning.Operations"} <= names
    assert {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= names


def test_health_is_serving(channel: grpc.Channel) -> None:
    """grpc's own health client is told SERVING."""
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=""), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_each_result_carries_its_proof(channel: grpc.Channel) -> None:
    """Worker, isolation and every timestamp are set, and no later step precedes an earlier."""
    response = execute(
        channel, "/bin/sh", "-c", "echo here > out/file.txt; echo said", salt="proof"
    )
    assert response.status.code == 0, response
    assert response.result.exit_code == 0, response
    assert response.result.stdout_raw == b"said\n"
    metadata = response.result.execution_metadata
    assert metadata.worker
    assert metadata.worker in response.message
    assert "(hermetic: " in response.message
    steps = ["queued", "worker_start", "input_fetch_start", "input_fetch_completed"]
    steps += ["execution_start", "execution_completed", "output_upload_start"]
    steps += ["output_upload_completed", "worker_completed"]
    times = [getattr(metadata, f"{step}_timestamp").ToNanoseconds() for step in steps]
    assert times[0] > 0
    assert times == sorted(times), dict(zip(steps, times, strict=True))
    proof = workers_pb2.ExecutionProof()
    assert any(packed.Unpack(proof) for packed in metadata.auxiliary_metadata)
    assert "namespaces" in proof.backend
    assert proof.guarantees
    assert proof.outcome == "exited"


def test_the_second_time_is_a_hit_and_a_failure_is_not_kept(channel: grpc.Channel) -> None:
    """Exit code 0 is served from the cache the next time; any other is run again."""
    good = ("/bin/sh", "-c", "echo > out/file.txt; date +%N")
    first = execute(channel, *good, salt="hit")
    second = execute(channel, *good, salt="hit")
    assert (first.cached_result, second.cached_result) == (False, True)
    assert first.result.stdout_raw == second.result.stdout_raw
    bad = ("/bin/sh", "-c", "date +%N; exit 7")
    failures = [execute(channel, *bad, salt="miss") for _ in range(2)]
    assert [f.result.exit_code for f in failures] == [7, 7]
    assert [f.cached_result for f in failures] == [False, False]
    assert failures[0].result.stdout_raw != failures[1].result.stdout_raw


def test_what_no_pool_can_run_is_refused_at_once(channel: grpc.Channel) -> None:
    """A platform that nobody offers is an error that names the property, not a wait."""
    message = remote_execution_pb2.Command(arguments=["true"])
    message.platform.properties.add(name="OSFamily", value="plan9")
    directory = remote_execution_pb2.Directory().SerializeToString()
    text = message.SerializeToString()
    action = remote_execution_pb2.Action(
        command_digest=to_proto(digest_of(text)), input_root_digest=to_proto(digest_of(directory))
    ).SerializeToString()
    digest = upload(channel, text, directory, action)[-1]
    call = channel.unary_stream(
        f"/{REAPI}.Execution/Execute",
        request_serializer=remote_execution_pb2.ExecuteRequest.SerializeToString,
        response_deserializer=operations_pb2.Operation.FromString,
    )
    request = remote_execution_pb2.ExecuteRequest(action_digest=to_proto(digest))
    try:
        (last,) = list(call(request, timeout=60))[-1:]
        code, text_of_error = last.error.code, last.error.message
        response = Result()
        if last.response.Unpack(response):
            code, text_of_error = response.status.code, response.status.message
    except grpc.RpcError as error:
        code, text_of_error = error.code().value[0], error.details()
    assert code in (3, 9), (code, text_of_error)
    assert "OSFamily" in text_of_error
    assert "plan9" in text_of_error


def test_curl_gets_the_capabilities(service: Service, tmp_path: Path) -> None:
    """A plain HTTP/2 client reads the message and the status in the trailers."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed: apt-get install curl")
    body, head = tmp_path / "body", tmp_path / "head"
    body.write_bytes(struct.pack(">BI", 0, 0))
    argv = [curl, "-sS", "--http2-prior-knowledge", "-D", str(head), "--data-binary", f"@{body}"]
    argv += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    argv += [f"http://{service.reapi}/{REAPI}.Capabilities/GetCapabilities"]
    answer = subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout
    compressed, size = struct.unpack_from(">BI", answer)
    capabilities = remote_execution_pb2.ServerCapabilities.FromString(answer[5:])
    assert (compressed, size) == (0, len(answer) - 5)
    assert (capabilities.low_api_version.major, capabilities.low_api_version.minor) == (2, 0)
    assert capabilities.execution_capabilities.exec_enabled
    assert capabilities.cache_capabilities.action_cache_update_capabilities.update_enabled
    assert "grpc-status: 0" in head.read_text().lower()
