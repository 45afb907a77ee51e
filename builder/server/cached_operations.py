"""Hot: the Operation that answers an Execute whose result is cached, around the cache's own bytes.

Building it as messages takes 30 us, as fields around the serialized ActionResult 3
(`python -m tests.bench wire`, figures.execute_cached_per_cpu_s). What comes out is to the byte
what `operation_messages.finished_message` makes.
"""

from builder.base.digest import Digest
from builder.reapi.digests import NUMBERS
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.messages import bytes_field, varint
from builder.server.operation_messages import METADATA, RESPONSE


def _field(number: int, data: bytes) -> bytes:
    return bytes_field(number, len(data)) + data


CACHED = pb.ExecuteResponse(cached_result=True).SerializeToString()
RESULT = pb.ExecuteResponse.DESCRIPTOR.fields_by_name["result"].number
COMPLETED = pb.ExecuteOperationMetadata(stage=pb.ExecutionStage.COMPLETED).SerializeToString()
FUNCTIONS = {
    name: pb.ExecuteOperationMetadata(digest_function=number).SerializeToString()
    for name, number in NUMBERS.items()
}
SIZE = b"\x10"  # tag of Digest.size_bytes
DONE = b"\x18\x01"  # Operation.done
METADATA_TYPE = _field(1, METADATA.encode())  # of an Any
RESPONSE_TYPE = _field(1, RESPONSE.encode())


def cached_response(result: bytes) -> bytes:
    """The serialized ExecuteResponse of a serialized ActionResult."""
    return b"".join((bytes_field(RESULT, len(result)), result, CACHED))


def cached_operation(name: str, action: Digest, result: bytes) -> bytes:
    """The serialized Operation, which has ended."""
    digest = _field(1, action.hash.encode())
    if action.size_bytes:
        digest += SIZE + varint(action.size_bytes)
    metadata = COMPLETED + _field(2, digest) + FUNCTIONS[action.function]
    return b"".join(
        (
            _field(1, name.encode()),
            _field(2, METADATA_TYPE + _field(2, metadata)),
            DONE,
            _field(5, RESPONSE_TYPE + _field(2, cached_response(result))),
        )
    )
