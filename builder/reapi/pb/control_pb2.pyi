import datetime

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
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: int
    def __init__(self, workers: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("state", "uptime", "version", "workers", "queue", "executions", "pool", "worker", "action", "problems")
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
    def __init__(self, state: _Optional[str] = ..., uptime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., version: _Optional[str] = ..., workers: _Optional[_Union[WorkerCounts, _Mapping]] = ..., queue: _Optional[_Union[QueueCounts, _Mapping]] = ..., executions: _Optional[_Union[ExecutionFigures, _Mapping]] = ..., pool: _Optional[_Union[PoolState, _Mapping]] = ..., worker: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ..., action: _Optional[_Iterable[_Union[Action, _Mapping]]] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

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
    __slots__ = ("minimum", "maximum", "desired", "autoscale", "decision", "predicted_load", "trend", "next_action", "ready", "starting", "leaving", "held", "policy", "provider")
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
    def __init__(self, minimum: _Optional[int] = ..., maximum: _Optional[int] = ..., desired: _Optional[int] = ..., autoscale: _Optional[bool] = ..., decision: _Optional[str] = ..., predicted_load: _Optional[float] = ..., trend: _Optional[float] = ..., next_action: _Optional[str] = ..., ready: _Optional[int] = ..., starting: _Optional[int] = ..., leaving: _Optional[int] = ..., held: _Optional[int] = ..., policy: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("name", "state", "backend", "slots", "slots_busy", "platform", "host", "pid", "connected", "guarantees")
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
    def __init__(self, name: _Optional[str] = ..., state: _Optional[str] = ..., backend: _Optional[str] = ..., slots: _Optional[int] = ..., slots_busy: _Optional[int] = ..., platform: _Optional[_Mapping[str, str]] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., connected: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., guarantees: _Optional[_Iterable[str]] = ...) -> None: ...

class Action(_message.Message):
    __slots__ = ("operation", "action", "stage", "reason", "reason_code", "worker", "target", "mnemonic", "queued", "priority")
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
    def __init__(self, operation: _Optional[str] = ..., action: _Optional[str] = ..., stage: _Optional[str] = ..., reason: _Optional[str] = ..., reason_code: _Optional[str] = ..., worker: _Optional[str] = ..., target: _Optional[str] = ..., mnemonic: _Optional[str] = ..., queued: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[int] = ...) -> None: ...
