"""Operations as their clients see them: google.longrunning.Operation.

`Operation.error` stays unset, always: clients look for the status inside the ExecuteResponse.
"""

from builder.base.digest import Digest
from builder.reapi.digests import NUMBERS, to_proto
from builder.reapi.pb import operations_pb2, status_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.schedule.operation import Ending, OperationView, Stage
from builder.schedule.spec import ActionKey

TYPE = "type.googleapis.com/"
METADATA = TYPE + pb.ExecuteOperationMetadata.DESCRIPTOR.full_name
LOGS = "logstreams"  # beneath an operation's name: what its action writes
RESPONSE = TYPE + pb.ExecuteResponse.DESCRIPTOR.full_name


def digest_of_key(key: ActionKey) -> Digest:
    return Digest(key.hash, key.size_bytes, key.function)


def operation_message(view: OperationView) -> operations_pb2.Operation:
    """The state of an operation of the scheduler's."""
    logs = has_logs(view)
    message = _message(view.name, digest_of_key(view.key), view.stage, view.progress, logs=logs)
    if view.ending is not None:
        _end(message, response_of(view.ending))
    return message


def has_logs(view: OperationView) -> bool:
    """Whether what its action writes, or has written, can be read."""
    return view.stage is Stage.EXECUTING or (view.ending is not None and bool(view.ending.response))


def finished_message(name: str, action: Digest, response: bytes) -> operations_pb2.Operation:
    """One that has ended, with a serialized ExecuteResponse."""
    message = _message(name, action, Stage.COMPLETED, b"", logs=False)
    _end(message, response)
    return message


def response_of(ending: Ending) -> bytes:
    """The serialized ExecuteResponse: a worker's, or a status of our own."""
    if ending.response:
        return ending.response
    status = status_pb2.Status(code=ending.code, message=f"the action {ending.reason.sentence}")
    return pb.ExecuteResponse(status=status).SerializeToString()


def _message(
    name: str, action: Digest, stage: Stage, progress: bytes, *, logs: bool
) -> operations_pb2.Operation:
    metadata = pb.ExecuteOperationMetadata(
        stage=pb.ExecutionStage.Value.Name(stage),
        action_digest=to_proto(action),
        digest_function=NUMBERS[action.function],
    )
    if logs:
        metadata.stdout_stream_name = f"{name}/{LOGS}/stdout"
        metadata.stderr_stream_name = f"{name}/{LOGS}/stderr"
    if progress:
        metadata.partial_execution_metadata.ParseFromString(progress)
    message = operations_pb2.Operation(name=name)
    message.metadata.type_url = METADATA
    message.metadata.value = metadata.SerializeToString()
    return message


def _end(message: operations_pb2.Operation, response: bytes) -> None:
    message.done = True
    message.response.type_url = RESPONSE
    message.response.value = response
