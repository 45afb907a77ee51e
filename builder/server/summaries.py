"""Actions of the history and of the scheduler as operators see them."""

from builder.reapi.digests import path_of
from builder.reapi.pb import control_pb2 as pb
from builder.reapi.pb import remote_execution_pb2
from builder.reapi.pb.timestamp_pb2 import Timestamp
from builder.reapi.times import nanoseconds
from builder.schedule.operation import Stage
from builder.schedule.reasons import ReasonCode
from builder.server.operation_messages import digest_of_key
from builder.server.shelf import Record

CANCELLED = (ReasonCode.CANCELLED, ReasonCode.ABANDONED)


def timestamp(at: float, offset_ns: int) -> Timestamp:
    """Of a time of trio's; the offset is that of the wall clock."""
    stamp = Timestamp()
    stamp.FromNanoseconds(round(at * 1e9) + offset_ns)
    return stamp


def outcome_of(record: Record) -> str:
    """`succeeded`, `failed`, `cached`, `cancelled`, `refused`, `lost`, or nothing."""
    ending = record.ending
    if ending is None:
        return ""
    if ending.response:
        return "cached" if record.cached else "succeeded" if ending.succeeded else "failed"
    if ending.reason.code in CANCELLED:
        return "cancelled"
    started = any(moment.stage is Stage.EXECUTING for moment in record.moments)
    return "lost" if started else "refused"


def response_of(record: Record) -> remote_execution_pb2.ExecuteResponse:
    """Of an operation that has ended; empty for others."""
    response = remote_execution_pb2.ExecuteResponse()
    ending = record.ending
    if ending is not None and ending.response:
        response.ParseFromString(ending.response)
    elif ending is not None:
        response.status.code = ending.code
        response.status.message = ending.reason.sentence
    return response


def summary(record: Record, offset_ns: int) -> pb.Action:
    """One action in a line; who gets it may not change it. The offset is always the same."""
    if record.told is not None:
        return record.told
    key, client, last = record.spec.key, record.spec.client, record.last
    response = response_of(record)
    action = pb.Action(
        operation=record.operation,
        action=path_of(digest_of_key(key)),
        stage=last.stage.name.lower(),
        reason=last.reason.sentence,
        reason_code=last.reason.code.value,
        worker=next((m.worker for m in reversed(record.moments) if m.worker), ""),
        target=client.target,
        mnemonic=client.mnemonic,
        tool=client.tool,
        invocation=client.invocation,
        instance=key.instance,
        priority=record.spec.priority,
        queued=timestamp(record.moments[0].at, offset_ns),
        outcome=outcome_of(record),
        exit_code=response.result.exit_code,
    )
    if record.ending is not None:
        action.ended.CopyFrom(timestamp(last.at, offset_ns))
    started = started_at(record)
    if started is not None:
        action.started.CopyFrom(timestamp(started, offset_ns))
    if response.HasField("result"):
        metadata = response.result.execution_metadata
        start, end = metadata.execution_start_timestamp, metadata.execution_completed_timestamp
        action.execution.FromNanoseconds(max(nanoseconds(end) - nanoseconds(start), 0))
    if record.ending is not None:
        record.told = action
    return action


def started_at(record: Record) -> float | None:
    """When the last attempt began: the first moment of the last run of executing ones."""
    started = None
    for moment in record.moments:
        if moment.stage is Stage.EXECUTING:
            started = moment.at if started is None else started
        elif moment.stage is Stage.QUEUED:
            started = None
    return started


def moments(record: Record, offset_ns: int) -> list[pb.Moment]:
    return [
        pb.Moment(
            at=timestamp(moment.at, offset_ns),
            what=moment.reason.sentence,
            reason_code=moment.reason.code.value,
            worker=moment.worker,
        )
        for moment in record.moments
    ]
