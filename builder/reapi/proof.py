"""What a worker proves of an action, and whether its result may stand for later ones."""

from google.protobuf.message import DecodeError

from builder.base.errors import Code
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2

TYPE = "/" + workers_pb2.ExecutionProof.DESCRIPTOR.full_name


def proof_of(metadata: pb.ExecutedActionMetadata) -> workers_pb2.ExecutionProof:
    """The proof in the metadata; empty where there is none, or none that can be read."""
    proof = workers_pb2.ExecutionProof()
    for one in metadata.auxiliary_metadata:
        if one.type_url.endswith(TYPE):
            try:
                proof.ParseFromString(one.value)
            except DecodeError:
                return workers_pb2.ExecutionProof()
    return proof


def succeeded(response: pb.ExecuteResponse) -> bool:
    return (
        response.status.code == Code.OK
        and response.HasField("result")
        and response.result.exit_code == 0
    )


def is_whole(result: pb.ActionResult) -> bool:
    """Not when some of what the action wrote to stdout or stderr was cut off, or lost."""
    return not proof_of(result.execution_metadata).output_cut
