"""What travels between workers and the scheduler: messages to events, effects to messages."""

from collections.abc import Sequence
from typing import assert_never

from builder.reapi.pb import duration_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.proof import proof_of, succeeded
from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.schedule.platform import canonical
from builder.schedule.resources import amounts
from builder.schedule.spec import Outcome
from builder.schedule.workers import RUNS
from builder.server.messages import bytes_field
from builder.server.watching import WantOutput

GRANTED = workers_pb2.ToWorker.DESCRIPTOR.fields_by_name["granted"].number
MOST_BACKLOG = 1000
OUT_OF_MEMORY = "out-of-memory"  # as ExecutionProof.outcome says it
PHASES = {
    workers_pb2.LeaseProgress.FETCHING: "fetches its inputs",
    workers_pb2.LeaseProgress.EXECUTING: RUNS,
    workers_pb2.LeaseProgress.UPLOADING: "uploads its outputs",
}
Message = (
    effects.WelcomeWorker
    | effects.CancelLease
    | effects.RecallLease
    | effects.IntroducePeers
    | effects.DrainWorker
    | WantOutput
)


def info_of(hello: workers_pb2.Hello) -> WorkerInfo:
    return WorkerInfo(
        name=hello.worker_name,
        slots=hello.slots,
        properties=canonical((pair.name, pair.value) for pair in hello.platform.properties),
        identity=f"{hello.host or 'unknown host'}, process {hello.pid}",
        backend=hello.backend,
        guarantees=tuple(hello.guarantees),
        host=hello.host,
        pid=hello.pid,
        version=hello.version,
        capacity=amounts((one.name, one.amount) for one in hello.capacity if one.amount > 0),
        backlog=min(max(hello.backlog, 0), MOST_BACKLOG),
        peer=hello.peer_address,
        peer_token=hello.peer_token,
    )


def event_of(session: str, message: workers_pb2.FromWorker) -> events.Event | None:
    """The event, or None for a message of a newer worker, or a second Hello."""
    match message.WhichOneof("kind"):
        case "finished":
            finished = message.finished
            return events.LeaseFinished(session, finished.lease_id, outcome_of(finished))
        case "heartbeat":
            beat = message.heartbeat
            running = tuple(beat.running_lease_ids)
            return events.HeartbeatReceived(
                session,
                running,
                beat.cpu_fraction,
                beat.memory_fraction,
                beat.persistent_workers,
                tuple(beat.waiting_lease_ids),
                _steals(beat.steals) if beat.HasField("steals") else (0, 0, 0, 0),
                tuple(beat.programs),
            )
        case "progress":
            progress = message.progress
            metadata = progress.metadata.SerializeToString()
            phase = PHASES.get(progress.stage, RUNS)
            return events.LeaseProgressed(session, progress.lease_id, phase, metadata)
        case "returned":
            returned = message.returned
            return events.LeaseReturned(session, returned.lease_id, returned.reason)
        case "yielded":
            yielded = message.yielded
            return events.LeaseYielded(session, yielded.lease_id, yielded.thief)
        case "draining":
            return events.WorkerDraining(session, message.draining.reason)
        case _:
            return None


def _steals(told: workers_pb2.Steals) -> tuple[int, int, int, int]:
    every = (told.attempted, told.succeeded, told.empty, told.failed)
    attempted, succeeded, empty, failed = (max(count, 0) for count in every)
    return attempted, succeeded, empty, failed


def outcome_of(finished: workers_pb2.LeaseFinished) -> Outcome:
    response = finished.response
    metadata = response.result.execution_metadata
    proof = proof_of(metadata)
    return Outcome(
        response=response.SerializeToString(),
        succeeded=succeeded(response),
        infrastructure_failure=finished.infrastructure_failure,
        store_full=finished.store_full,
        message=response.status.message or response.message,
        execution_s=_execution_s(metadata),
        cpu_s=_seconds(proof.user_cpu) + _seconds(proof.system_cpu),
        peak_memory_bytes=proof.peak_memory_bytes,
        out_of_memory=proof.outcome == OUT_OF_MEMORY,
        cut=proof.output_cut,
    )


def _seconds(duration: duration_pb2.Duration) -> float:
    return duration.seconds + duration.nanos / 1e9


def _execution_s(metadata: pb.ExecutedActionMetadata) -> float:
    """By the worker's clock that does not jump, if it says so."""
    if metadata.HasField("virtual_execution_duration"):
        return _seconds(metadata.virtual_execution_duration)
    start = metadata.execution_start_timestamp
    end = metadata.execution_completed_timestamp
    return max(end.seconds - start.seconds + (end.nanos - start.nanos) / 1e9, 0.0)


def acknowledgement(leases: Sequence[str]) -> bytes:
    """A ToWorker message of its own, or what may be joined to one."""
    acknowledged = workers_pb2.LeaseAcknowledged(lease_ids=leases)
    return workers_pb2.ToWorker(acknowledged=acknowledged).SerializeToString()


def granted(effect: effects.GrantLease) -> bytes:
    """A ToWorker message. A message's bytes may be joined: the action was serialized when it was
    admitted."""
    _, lease, attempt, payload, memory_bytes, note, order_s = effect
    tail = workers_pb2.LeaseGranted(
        lease_id=lease, attempt=attempt, memory_bytes=memory_bytes, note=note, order=order_s
    ).SerializeToString()
    return b"".join((bytes_field(GRANTED, len(payload) + len(tail)), payload, tail))


def message_of(effect: Message) -> bytes:
    """A ToWorker message."""
    match effect:
        case effects.CancelLease(_, lease, why):
            cancelled = workers_pb2.LeaseCancelled(lease_id=lease, reason=why)
            message = workers_pb2.ToWorker(cancelled=cancelled)
        case effects.RecallLease(_, lease, why):
            recalled = workers_pb2.LeaseRecalled(lease_id=lease, reason=why)
            message = workers_pb2.ToWorker(recalled=recalled)
        case effects.IntroducePeers(_, victims):
            message = workers_pb2.ToWorker()
            for name, address, token, leases in victims:
                message.peers.peer.add(
                    worker_name=name, address=address, token=token, lease_ids=leases
                )
        case effects.WelcomeWorker(_, interval_s, unknown):
            message = workers_pb2.ToWorker()
            message.welcome.unknown_lease_ids.extend(unknown)
            message.welcome.heartbeat_interval.FromNanoseconds(round(interval_s * 1e9))
        case effects.DrainWorker(_, grace_s, why):
            message = workers_pb2.ToWorker()
            message.drain.reason = why
            message.drain.grace.FromNanoseconds(round(grace_s * 1e9))
        case WantOutput(request_id, lease, stderr, offset):
            wanted = workers_pb2.OutputWanted(
                request_id=request_id, lease_id=lease, stderr=stderr, offset=offset
            )
            message = workers_pb2.ToWorker(output_wanted=wanted)
        case _:
            assert_never(effect)
    return message.SerializeToString()
