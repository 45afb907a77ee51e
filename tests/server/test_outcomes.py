"""What the scheduler learns of a result, from the proof that comes with it."""

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.schedule import effects
from builder.server.worker_messages import granted, info_of, outcome_of


def finished(proof: workers_pb2.ExecutionProof | None) -> workers_pb2.LeaseFinished:
    message = workers_pb2.LeaseFinished(lease_id="a/1")
    message.response.result.exit_code = 137
    metadata = message.response.result.execution_metadata
    metadata.execution_start_timestamp.seconds = 10
    metadata.execution_completed_timestamp.seconds = 14
    metadata.auxiliary_metadata.add().Pack(pb.RequestMetadata(target_id="//a"))
    if proof is not None:
        metadata.auxiliary_metadata.add().Pack(proof)
    return message


def test_memory_and_cpu_are_taken_from_the_proof() -> None:
    """Peak, both kinds of CPU time, and whether it was killed for memory."""
    proof = workers_pb2.ExecutionProof(peak_memory_bytes=7, outcome="out-of-memory")
    proof.user_cpu.FromMilliseconds(1500)
    proof.system_cpu.FromMilliseconds(500)
    outcome = outcome_of(finished(proof))
    assert (outcome.execution_s, outcome.cpu_s, outcome.peak_memory_bytes) == (4.0, 2.0, 7)
    assert outcome.out_of_memory
    assert not outcome.succeeded


def test_whose_fault_it_was_is_told() -> None:
    """The worker's, or that of a store that is full."""
    message = finished(None)
    message.infrastructure_failure = True
    assert (outcome_of(message).infrastructure_failure, outcome_of(message).store_full) == (
        True,
        False,
    )
    message.store_full = True
    assert outcome_of(message).store_full


def test_a_wall_clock_that_jumped_teaches_nothing() -> None:
    """What the worker measured by another clock is believed."""
    message = finished(None)
    metadata = message.response.result.execution_metadata
    metadata.execution_completed_timestamp.seconds += 86_400
    metadata.virtual_execution_duration.FromMilliseconds(4500)
    assert outcome_of(message).execution_s == 4.5


def test_without_a_proof_nothing_is_learned() -> None:
    """Nor by one that is no message at all."""
    for message in (finished(None), finished(workers_pb2.ExecutionProof())):
        message.response.result.execution_metadata.auxiliary_metadata[-1].value = b"\xff\xff"
        outcome = outcome_of(message)
        assert (outcome.cpu_s, outcome.peak_memory_bytes, outcome.out_of_memory) == (0.0, 0, False)


def test_a_larger_slot_and_the_note_travel_with_the_lease() -> None:
    """The pieces are one message, as the worker reads it."""
    payload = workers_pb2.LeaseGranted(instance_name="main").SerializeToString()
    grant = effects.GrantLease("s", "a/2", 2, payload, 4096, "was killed for memory")
    told = workers_pb2.ToWorker.FromString(granted(grant)).granted
    assert (told.instance_name, told.attempt) == ("main", 2)
    assert (told.memory_bytes, told.note) == (4096, "was killed for memory")


def test_capacities_are_announced() -> None:
    """Sorted; what there is nothing of is left out."""
    hello = workers_pb2.Hello(worker_name="w", slots=1)
    for name, amount in (("memory", 5), ("gpu", 2), ("nothing", 0)):
        hello.capacity.add(name=name, amount=amount)
    assert info_of(hello).capacity == (("gpu", 2), ("memory", 5))
