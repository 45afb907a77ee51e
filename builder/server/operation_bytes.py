"""Hot: Operations as clients get them, put together from bytes that are there already.

The one that answers an Execute whose result is cached takes 30 us as messages, and 3 as fields
around the serialized ActionResult (`python -m tests.bench wire`, figures.execute_cached_per_cpu_s).
What comes out is to the byte what `operation_messages` makes.
"""

from functools import lru_cache

from builder.base.digest import Digest
from builder.reapi.digests import NUMBERS
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.operation import OperationView, Stage
from builder.server.messages import bytes_field, varint
from builder.server.operation_messages import LOGS, METADATA, RESPONSE, has_logs, response_of


def _field(number: int, data: bytes) -> bytes:
    return bytes_field(number, len(data)) + data


CACHED = pb.ExecuteResponse(cached_result=True).SerializeToString()
RESULT = pb.ExecuteResponse.DESCRIPTOR.fields_by_name["result"].number
STAGES = {
    stage: pb.ExecuteOperationMetadata(
        stage=pb.ExecutionStage.Value.Name(stage)
    ).SerializeToString()
    for stage in Stage
}
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
    digest = _digest(action.hash, action.size_bytes)
    return _ended(name, digest + FUNCTIONS[action.function], cached_response(result))


def operation_bytes(view: OperationView) -> bytes:
    """The serialized `operation_messages.operation_message`."""
    key = view.key
    metadata = _digest(key.hash, key.size_bytes)
    if has_logs(view):
        logs = f"{view.name}/{LOGS}/"
        metadata += _field(3, f"{logs}stdout".encode()) + _field(4, f"{logs}stderr".encode())
    if view.progress:
        metadata += _field(5, view.progress)
    metadata += FUNCTIONS[key.function]
    if view.ending is not None:
        return _ended(view.name, metadata, response_of(view.ending))
    metadata = STAGES[view.stage] + metadata
    return _field(1, view.name.encode()) + _field(2, METADATA_TYPE + _field(2, metadata))


def _ended(name: str, metadata: bytes, response: bytes) -> bytes:
    return b"".join(
        (
            _field(1, name.encode()),
            _field(2, METADATA_TYPE + _field(2, STAGES[Stage.COMPLETED] + metadata)),
            DONE,
            _field(5, RESPONSE_TYPE + _field(2, response)),
        )
    )


@lru_cache(4096)
def _digest(hash_: str, size_bytes: int) -> bytes:
    """An action's, for each of the messages that tell of it."""
    digest = _field(1, hash_.encode())
    if size_bytes:
        digest += SIZE + varint(size_bytes)
    return _field(2, digest)
