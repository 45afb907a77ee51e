"""What is read from a worker's proof."""

import pytest

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.proof import is_whole, proof_of, succeeded


def result_with(proof: workers_pb2.ExecutionProof) -> pb.ActionResult:
    result = pb.ActionResult()
    result.execution_metadata.auxiliary_metadata.add().Pack(pb.Digest(hash="of another kind"))
    result.execution_metadata.auxiliary_metadata.add().Pack(proof)
    return result


def test_a_proof_is_found_among_other_metadata() -> None:
    proof = workers_pb2.ExecutionProof(backend="namespaces", attempt=2)
    assert proof_of(result_with(proof).execution_metadata) == proof


def test_a_result_without_a_proof_or_with_one_that_is_broken_is_whole() -> None:
    """Other workers' results, and those of clients, are as good as they say."""
    assert is_whole(pb.ActionResult())
    broken = result_with(workers_pb2.ExecutionProof(output_cut=True))
    broken.execution_metadata.auxiliary_metadata[1].value = b"\xff"
    assert is_whole(broken)


def test_output_that_was_cut_is_not_whole() -> None:
    assert not is_whole(result_with(workers_pb2.ExecutionProof(output_cut=True)))


@pytest.mark.parametrize(
    ("response", "good"),
    [
        (pb.ExecuteResponse(result=pb.ActionResult()), True),
        (pb.ExecuteResponse(), False),
        (pb.ExecuteResponse(result=pb.ActionResult(exit_code=1)), False),
        (pb.ExecuteResponse(result=pb.ActionResult(), status={"code": 4}), False),
    ],
)
def test_success_is_exit_code_0_and_status_ok(response: pb.ExecuteResponse, good: bool) -> None:
    assert succeeded(response) is good
