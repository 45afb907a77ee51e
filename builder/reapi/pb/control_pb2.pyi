import datetime

from builder.reapi.pb import remote_execution_pb2 as _remote_execution_pb2
from builder.reapi.pb import workers_pb2 as _workers_pb2
from builder.reapi.pb import duration_pb2 as _duration_pb2
from builder.reapi.pb import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ("details",)
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    details: bool
    def __init__(self, details: _Optional[bool] = ...) -> None: ...

class ScalePoolRequest(_message.Message):
    __slots__ = ("workers", "pool")
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    workers: int
    pool: str
    def __init__(self, workers: _Optional[int] = ..., pool: _Optional[str] = ...) -> None: ...

class DrainWorkerRequest(_message.Message):
    __slots__ = ("worker", "grace")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    worker: str
    grace: _duration_pb2.Duration
    def __init__(self, worker: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DrainWorkerResponse(_message.Message):
    __slots__ = ("running",)
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    running: int
    def __init__(self, running: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("state", "uptime", "version", "workers", "queue", "executions", "pool", "worker", "action", "problems", "stores", "queues", "instances", "pools", "tiers", "stealing")
    STATE_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    STORES_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    STEALING_FIELD_NUMBER: _ClassVar[int]
    state: str
    uptime: _duration_pb2.Duration
    version: str
    workers: WorkerCounts
    queue: QueueCounts
    executions: ExecutionFigures
    pool: PoolState
    worker: _containers.RepeatedCompositeFieldContainer[Worker]
    action: _containers.RepeatedCompositeFieldContainer[Action]
    problems: _containers.RepeatedScalarFieldContainer[str]
    stores: _containers.RepeatedCompositeFieldContainer[StoreState]
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    instances: _containers.RepeatedCompositeFieldContainer[InstanceUsage]
    pools: _containers.RepeatedCompositeFieldContainer[PoolState]
    tiers: _containers.RepeatedCompositeFieldContainer[Tier]
    stealing: Stealing
    def __init__(self, state: _Optional[str] = ..., uptime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., version: _Optional[str] = ..., workers: _Optional[_Union[WorkerCounts, _Mapping]] = ..., queue: _Optional[_Union[QueueCounts, _Mapping]] = ..., executions: _Optional[_Union[ExecutionFigures, _Mapping]] = ..., pool: _Optional[_Union[PoolState, _Mapping]] = ..., worker: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ..., action: _Optional[_Iterable[_Union[Action, _Mapping]]] = ..., problems: _Optional[_Iterable[str]] = ..., stores: _Optional[_Iterable[_Union[StoreState, _Mapping]]] = ..., queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ..., instances: _Optional[_Iterable[_Union[InstanceUsage, _Mapping]]] = ..., pools: _Optional[_Iterable[_Union[PoolState, _Mapping]]] = ..., tiers: _Optional[_Iterable[_Union[Tier, _Mapping]]] = ..., stealing: _Optional[_Union[Stealing, _Mapping]] = ...) -> None: ...

class Stealing(_message.Message):
    __slots__ = ("backlog", "attempted", "succeeded", "empty", "failed", "moved", "refused", "recalled")
    BACKLOG_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTED_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    backlog: int
    attempted: int
    succeeded: int
    empty: int
    failed: int
    moved: int
    refused: int
    recalled: int
    def __init__(self, backlog: _Optional[int] = ..., attempted: _Optional[int] = ..., succeeded: _Optional[int] = ..., empty: _Optional[int] = ..., failed: _Optional[int] = ..., moved: _Optional[int] = ..., refused: _Optional[int] = ..., recalled: _Optional[int] = ...) -> None: ...

class InstanceUsage(_message.Message):
    __slots__ = ("name", "uploaded_bytes", "quota_bytes", "refused_uploads", "blobs", "quota_blobs", "results", "quota_results")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UPLOADED_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_UPLOADS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BLOBS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    QUOTA_RESULTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    uploaded_bytes: int
    quota_bytes: int
    refused_uploads: int
    blobs: int
    quota_blobs: int
    results: int
    quota_results: int
    def __init__(self, name: _Optional[str] = ..., uploaded_bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., refused_uploads: _Optional[int] = ..., blobs: _Optional[int] = ..., quota_blobs: _Optional[int] = ..., results: _Optional[int] = ..., quota_results: _Optional[int] = ...) -> None: ...

class StoreState(_message.Message):
    __slots__ = ("name", "entries", "used_bytes", "capacity_bytes", "evicted_entries", "refused_writes", "leased_bytes", "ages")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_BYTES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REFUSED_WRITES_FIELD_NUMBER: _ClassVar[int]
    LEASED_BYTES_FIELD_NUMBER: _ClassVar[int]
    AGES_FIELD_NUMBER: _ClassVar[int]
    name: str
    entries: int
    used_bytes: int
    capacity_bytes: int
    evicted_entries: int
    refused_writes: int
    leased_bytes: int
    ages: _containers.RepeatedCompositeFieldContainer[AgedBytes]
    def __init__(self, name: _Optional[str] = ..., entries: _Optional[int] = ..., used_bytes: _Optional[int] = ..., capacity_bytes: _Optional[int] = ..., evicted_entries: _Optional[int] = ..., refused_writes: _Optional[int] = ..., leased_bytes: _Optional[int] = ..., ages: _Optional[_Iterable[_Union[AgedBytes, _Mapping]]] = ...) -> None: ...

class Tier(_message.Message):
    __slots__ = ("name", "kind", "trouble", "hits", "misses", "read_bytes", "written_bytes", "failures")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    trouble: str
    hits: int
    misses: int
    read_bytes: int
    written_bytes: int
    failures: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., trouble: _Optional[str] = ..., hits: _Optional[int] = ..., misses: _Optional[int] = ..., read_bytes: _Optional[int] = ..., written_bytes: _Optional[int] = ..., failures: _Optional[int] = ...) -> None: ...

class AgedBytes(_message.Message):
    __slots__ = ("within", "bytes")
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    within: _duration_pb2.Duration
    bytes: int
    def __init__(self, within: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., bytes: _Optional[int] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("platform", "waiting", "workers", "slots", "oldest")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    platform: str
    waiting: int
    workers: int
    slots: int
    oldest: _duration_pb2.Duration
    def __init__(self, platform: _Optional[str] = ..., waiting: _Optional[int] = ..., workers: _Optional[int] = ..., slots: _Optional[int] = ..., oldest: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WorkerCounts(_message.Message):
    __slots__ = ("total", "idle", "busy", "draining", "slots", "slots_busy")
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_BUSY_FIELD_NUMBER: _ClassVar[int]
    total: int
    idle: int
    busy: int
    draining: int
    slots: int
    slots_busy: int
    def __init__(self, total: _Optional[int] = ..., idle: _Optional[int] = ..., busy: _Optional[int] = ..., draining: _Optional[int] = ..., slots: _Optional[int] = ..., slots_busy: _Optional[int] = ...) -> None: ...

class QueueCounts(_message.Message):
    __slots__ = ("pending", "executing", "completed")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    EXECUTING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    pending: int
    executing: int
    completed: int
    def __init__(self, pending: _Optional[int] = ..., executing: _Optional[int] = ..., completed: _Optional[int] = ...) -> None: ...

class ExecutionFigures(_message.Message):
    __slots__ = ("succeeded", "failed", "cache_hits", "cache_misses", "mean_execution")
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISSES_FIELD_NUMBER: _ClassVar[int]
    MEAN_EXECUTION_FIELD_NUMBER: _ClassVar[int]
    succeeded: int
    failed: int
    cache_hits: int
    cache_misses: int
    mean_execution: _duration_pb2.Duration
    def __init__(self, succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., cache_hits: _Optional[int] = ..., cache_misses: _Optional[int] = ..., mean_execution: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PoolState(_message.Message):
    __slots__ = ("minimum", "maximum", "desired", "autoscale", "decision", "predicted_load", "trend", "next_action", "ready", "starting", "leaving", "held", "policy", "provider", "name")
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    AUTOSCALE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LOAD_FIELD_NUMBER: _ClassVar[int]
    TREND_FIELD_NUMBER: _ClassVar[int]
    NEXT_ACTION_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    minimum: int
    maximum: int
    desired: int
    autoscale: bool
    decision: str
    predicted_load: float
    trend: float
    next_action: str
    ready: int
    starting: int
    leaving: int
    held: int
    policy: str
    provider: str
    name: str
    def __init__(self, minimum: _Optional[int] = ..., maximum: _Optional[int] = ..., desired: _Optional[int] = ..., autoscale: _Optional[bool] = ..., decision: _Optional[str] = ..., predicted_load: _Optional[float] = ..., trend: _Optional[float] = ..., next_action: _Optional[str] = ..., ready: _Optional[int] = ..., starting: _Optional[int] = ..., leaving: _Optional[int] = ..., held: _Optional[int] = ..., policy: _Optional[str] = ..., provider: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("name", "state", "backend", "slots", "slots_busy", "platform", "host", "pid", "connected", "guarantees", "health", "ailment", "capacity", "free", "persistent_workers", "backlog")
    class PlatformEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_BUSY_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    GUARANTEES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    AILMENT_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    PERSISTENT_WORKERS_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: str
    backend: str
    slots: int
    slots_busy: int
    platform: _containers.ScalarMap[str, str]
    host: str
    pid: int
    connected: _timestamp_pb2.Timestamp
    guarantees: _containers.RepeatedScalarFieldContainer[str]
    health: str
    ailment: str
    capacity: _containers.RepeatedScalarFieldContainer[str]
    free: _containers.RepeatedScalarFieldContainer[str]
    persistent_workers: int
    backlog: int
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., backend: _Optional[str] = ..., slots: _Optional[int] = ..., slots_busy: _Optional[int] = ..., platform: _Optional[_Mapping[str, str]] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., connected: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., guarantees: _Optional[_Iterable[str]] = ..., health: _Optional[str] = ..., ailment: _Optional[str] = ..., capacity: _Optional[_Iterable[str]] = ..., free: _Optional[_Iterable[str]] = ..., persistent_workers: _Optional[int] = ..., backlog: _Optional[int] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("operation", "action", "stage", "reason", "reason_code", "worker", "target", "mnemonic", "queued", "priority", "tool", "invocation", "instance", "started", "ended", "outcome", "exit_code", "execution")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MNEMONIC_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TOOL_FIELD_NUMBER: _ClassVar[int]
    INVOCATION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    operation: str
    action: str
    stage: str
    reason: str
    reason_code: str
    worker: str
    target: str
    mnemonic: str
    queued: _timestamp_pb2.Timestamp
    priority: int
    tool: str
    invocation: str
    instance: str
    started: _timestamp_pb2.Timestamp
    ended: _timestamp_pb2.Timestamp
    outcome: str
    exit_code: int
    execution: _duration_pb2.Duration
    def __init__(self, operation: _Optional[str] = ..., action: _Optional[str] = ..., stage: _Optional[str] = ..., reason: _Optional[str] = ..., reason_code: _Optional[str] = ..., worker: _Optional[str] = ..., target: _Optional[str] = ..., mnemonic: _Optional[str] = ..., queued: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[int] = ..., tool: _Optional[str] = ..., invocation: _Optional[str] = ..., instance: _Optional[str] = ..., started: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outcome: _Optional[str] = ..., exit_code: _Optional[int] = ..., execution: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListActionsRequest(_message.Message):
    __slots__ = ("limit", "invocation", "failures", "skip", "slowest", "target", "ran", "worker")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    INVOCATION_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    SLOWEST_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    RAN_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    limit: int
    invocation: str
    failures: bool
    skip: int
    slowest: bool
    target: str
    ran: bool
    worker: str
    def __init__(self, limit: _Optional[int] = ..., invocation: _Optional[str] = ..., failures: _Optional[bool] = ..., skip: _Optional[int] = ..., slowest: _Optional[bool] = ..., target: _Optional[str] = ..., ran: _Optional[bool] = ..., worker: _Optional[str] = ...) -> None: ...

class ListActionsResponse(_message.Message):
    __slots__ = ("actions", "more")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    actions: _containers.RepeatedCompositeFieldContainer[Action]
    more: bool
    def __init__(self, actions: _Optional[_Iterable[_Union[Action, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class GetActionRequest(_message.Message):
    __slots__ = ("id", "wait")
    ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    id: str
    wait: bool
    def __init__(self, id: _Optional[str] = ..., wait: _Optional[bool] = ...) -> None: ...

class ActionDetails(_message.Message):
    __slots__ = ("summary", "action", "command", "timeline", "inputs", "input_count", "input_bytes", "response", "proof", "stdout", "stderr", "notes", "kept")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TIMELINE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    INPUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    summary: Action
    action: _remote_execution_pb2.Action
    command: _remote_execution_pb2.Command
    timeline: _containers.RepeatedCompositeFieldContainer[Moment]
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    input_count: int
    input_bytes: int
    response: _remote_execution_pb2.ExecuteResponse
    proof: _workers_pb2.ExecutionProof
    stdout: bytes
    stderr: bytes
    notes: _containers.RepeatedScalarFieldContainer[str]
    kept: str
    def __init__(self, summary: _Optional[_Union[Action, _Mapping]] = ..., action: _Optional[_Union[_remote_execution_pb2.Action, _Mapping]] = ..., command: _Optional[_Union[_remote_execution_pb2.Command, _Mapping]] = ..., timeline: _Optional[_Iterable[_Union[Moment, _Mapping]]] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., input_count: _Optional[int] = ..., input_bytes: _Optional[int] = ..., response: _Optional[_Union[_remote_execution_pb2.ExecuteResponse, _Mapping]] = ..., proof: _Optional[_Union[_workers_pb2.ExecutionProof, _Mapping]] = ..., stdout: _Optional[bytes] = ..., stderr: _Optional[bytes] = ..., notes: _Optional[_Iterable[str]] = ..., kept: _Optional[str] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("at", "what", "reason_code", "worker")
    AT_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    what: str
    reason_code: str
    worker: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., what: _Optional[str] = ..., reason_code: _Optional[str] = ..., worker: _Optional[str] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("path", "digest", "executable", "target")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    path: str
    digest: _remote_execution_pb2.Digest
    executable: bool
    target: str
    def __init__(self, path: _Optional[str] = ..., digest: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., executable: _Optional[bool] = ..., target: _Optional[str] = ...) -> None: ...

class CancelActionRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ExplainMissRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class MissExplanation(_message.Message):
    __slots__ = ("action", "earlier", "conclusion", "differences", "more_differences")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    EARLIER_FIELD_NUMBER: _ClassVar[int]
    CONCLUSION_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    MORE_DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    action: Action
    earlier: Action
    conclusion: str
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    more_differences: int
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ..., earlier: _Optional[_Union[Action, _Mapping]] = ..., conclusion: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ..., more_differences: _Optional[int] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("kind", "name", "before", "after", "diff")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    before: str
    after: str
    diff: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., diff: _Optional[str] = ...) -> None: ...
