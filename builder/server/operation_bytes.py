"""Hot: Operations as clients get them, put together from bytes that are there already.

The one that answers an Execute whose result is cached takes 30 us as messages, and 3 as fields
around the serialized ActionResult (`python -m tests.bench wire`, figures.execute_cached_per_cpu_s).
What comes out is to the byte what `operation_messages` makes.
"""

from functools import lru_cache

from builder.base.digest import Digest
from builder.reapi.digests import NUMBERS
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.varints import varint
from builder.schedule.operation import OperationView, Stage
from builder.schedule.spec import ActionKey
from builder.server.messages import bytes_field
from builder.server.operation_messages import LOGS, METADATA, RESPONSE, response_of


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
TYPE_OCTETS = len(METADATA_TYPE)
RESPONSE_TYPE = _field(1, RESPONSE.encode())
STDOUT, STDERR = f"/{LOGS}/stdout".encode(), f"/{LOGS}/stderr".encode()
# The operation's name, and in the metadata its digest, where its logs are once there are any, and
# its digest function: each a field.
Lasting = tuple[bytes, bytes, bytes, bytes]
EXECUTING = Stage.EXECUTING  # a name of an Enum's costs ten times as much as one of ours


def cached_response(result: bytes) -> bytes:
    """The serialized ExecuteResponse of a serialized ActionResult."""
    return b"".join((bytes_field(RESULT, len(result)), result, CACHED))


def cached_operation(name: str, action: Digest, result: bytes) -> bytes:
    """The serialized Operation, which has ended."""
    digest = _known_digest(action.hash, action.size_bytes)
    metadata = STAGES[Stage.COMPLETED] + digest + FUNCTIONS[action.function]
    return _ended(_field(1, name.encode()), metadata, cached_response(result))


def operation_bytes(view: OperationView, lasting: Lasting) -> bytes:
    """The serialized `operation_messages.operation_message`, around what lasts."""
    _, _, stage, _, _, progress, ending = view
    named, digest, logs, function = lasting
    if stage is not EXECUTING and (ending is None or not ending.response):
        logs = b""
    if progress:
        logs += _field(5, progress)
    metadata = b"".join((STAGES[stage], digest, logs, function))
    if ending is None:
        return _open(named, metadata)
    return _ended(named, metadata, response_of(ending))


def lasting_of(name: str, key: ActionKey) -> Lasting:
    """What all messages of an operation have."""
    bare = name.encode()
    size = len(bare) + len(STDOUT)  # as long as the other one
    logs = b"".join((bytes_field(3, size), bare, STDOUT, bytes_field(4, size), bare, STDERR))
    return _field(1, bare), _digest(key.hash, key.size_bytes), logs, FUNCTIONS[key.function]


def _open(named: bytes, metadata: bytes) -> bytes:
    size = len(metadata)
    before = bytes_field(2, size)
    whole = bytes_field(2, TYPE_OCTETS + len(before) + size)
    return b"".join((named, whole, METADATA_TYPE, before, metadata))


def _ended(named: bytes, metadata: bytes, response: bytes) -> bytes:
    size = len(response)
    before = bytes_field(2, size)
    whole = bytes_field(5, len(RESPONSE_TYPE) + len(before) + size)
    return b"".join((_open(named, metadata), DONE, whole, RESPONSE_TYPE, before, response))


def _digest(hash_: str, size_bytes: int) -> bytes:
    """An action's, in the metadata."""
    digest = _field(1, hash_.encode())
    if size_bytes:
        digest += SIZE + varint(size_bytes)
    return _field(2, digest)


_known_digest = lru_cache(4096)(_digest)  # those that are cached are asked for again
