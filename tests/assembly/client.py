"""A client of a service that shares nothing with ours: grpcio, and messages of grpcio-tools."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from tests.assembly.independent import message

REAPI = "build.bazel.remote.execution.v2"


def digest(data: bytes) -> Any:
    return message(f"{REAPI}.Digest")(hash=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


class Client:
    """Calls to one address; a context manager."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def put(self, *blobs: bytes) -> None:
        request = message(f"{REAPI}.BatchUpdateBlobsRequest")()
        for blob in blobs:
            request.requests.add(digest=digest(blob), data=blob)
        call = self._channel.unary_unary(
            f"/{REAPI}.ContentAddressableStorage/BatchUpdateBlobs",
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message(f"{REAPI}.BatchUpdateBlobsResponse").FromString,
        )
        answer = call(request, timeout=60)
        assert [one.status.code for one in answer.responses] == [0] * len(blobs)

    def get(self, wanted: Any) -> bytes:
        call = self._channel.unary_stream(
            "/google.bytestream.ByteStream/Read",
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message("google.bytestream.ReadResponse").FromString,
        )
        name = f"blobs/{wanted.hash}/{wanted.size_bytes}"
        request = message("google.bytestream.ReadRequest")(resource_name=name)
        return b"".join(one.data for one in call(request, timeout=60))

    def execute(
        self,
        script: str,
        files: Mapping[str, bytes] | None = None,
        *outputs: str,
        timeout_s: int = 0,
        lost: Sequence[bytes] = (),
        platform: Mapping[str, str] | None = None,
    ) -> Any:
        """The ExecuteResponse of a shell script; `lost` are inputs that are not uploaded."""
        wanted = self.prepare(
            script, files, *outputs, timeout_s=timeout_s, lost=lost, platform=platform
        )
        call = self._channel.unary_stream(
            f"/{REAPI}.Execution/Execute",
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message("google.longrunning.Operation").FromString,
        )
        request = message(f"{REAPI}.ExecuteRequest")(action_digest=wanted)
        return response_of(list(call(request, timeout=120))[-1])

    def execute_for_sure(self, script: str) -> Any:
        """As `execute`, whatever becomes of the connection: the one operation is waited for."""
        wanted = self.prepare(script)
        stub = {
            name: self._channel.unary_stream(
                f"/{REAPI}.Execution/{name}",
                request_serializer=lambda value: value.SerializeToString(),
                response_deserializer=message("google.longrunning.Operation").FromString,
            )
            for name in ("Execute", "WaitExecution")
        }
        request = message(f"{REAPI}.ExecuteRequest")(action_digest=wanted)
        updates, last = stub["Execute"](request, timeout=120), None
        while last is None or not last.done:
            try:
                for update in updates:
                    last = update
            except grpc.RpcError as error:
                if last is None or error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise  # asked again, it would be another operation
                time.sleep(0.1)  # the service is being started again
            request = message(f"{REAPI}.WaitExecutionRequest")(name=last.name)
            updates = stub["WaitExecution"](request, timeout=120)
        return response_of(last)

    def prepare(
        self,
        script: str,
        files: Mapping[str, bytes] | None = None,
        *outputs: str,
        timeout_s: int = 0,
        lost: Sequence[bytes] = (),
        platform: Mapping[str, str] | None = None,
    ) -> Any:
        """The digest of an action that is uploaded."""
        root = message(f"{REAPI}.Directory")()
        for name, data in sorted((files or {}).items()):
            root.files.add(name=name, digest=digest(data))
        command = message(f"{REAPI}.Command")(
            arguments=["/bin/sh", "-ec", script], output_paths=outputs
        )
        parts = [root.SerializeToString(), command.SerializeToString()]
        action = message(f"{REAPI}.Action")(
            input_root_digest=digest(parts[0]), command_digest=digest(parts[1])
        )
        for name, value in sorted((platform or {}).items()):
            action.platform.properties.add(name=name, value=value)
        if timeout_s:
            action.timeout.seconds = timeout_s
        data = action.SerializeToString()
        self.put(*parts, data, *(one for one in (files or {}).values() if one not in lost))
        return digest(data)


def response_of(operation: Any) -> Any:
    assert operation.done
    response = message(f"{REAPI}.ExecuteResponse")()
    assert operation.response.Unpack(response)
    return response
