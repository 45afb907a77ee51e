import datetime

from builder.reapi.pb import remote_execution_pb2 as _remote_execution_pb2
from builder.reapi.pb import duration_pb2 as _duration_pb2
from builder.reapi.pb import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StealRequest(_message.Message):
    __slots__ = ("thief", "lease_ids", "most")
    THIEF_FIELD_NUMBER: _ClassVar[int]
    LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    thief: str
    lease_ids: _containers.RepeatedScalarFieldContainer[str]
    most: int
    def __init__(self, thief: _Optional[str] = ..., lease_ids: _Optional[_Iterable[str]] = ..., most: _Optional[int] = ...) -> None: ...

class StealResponse(_message.Message):
    __slots__ = ("lease_ids",)
    LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    lease_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lease_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class FromWorker(_message.Message):
    __slots__ = ("hello", "heartbeat", "progress", "finished", "returned", "draining", "output", "yielded")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    YIELDED_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    progress: LeaseProgress
    finished: LeaseFinished
    returned: LeaseReturned
    draining: Draining
    output: Output
    yielded: LeaseYielded
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., progress: _Optional[_Union[LeaseProgress, _Mapping]] = ..., finished: _Optional[_Union[LeaseFinished, _Mapping]] = ..., returned: _Optional[_Union[LeaseReturned, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., yielded: _Optional[_Union[LeaseYielded, _Mapping]] = ...) -> None: ...

class ToWorker(_message.Message):
    __slots__ = ("welcome", "granted", "cancelled", "drain", "output_wanted", "recalled", "peers", "acknowledged")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_WANTED_FIELD_NUMBER: _ClassVar[int]
    RECALLED_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    granted: LeaseGranted
    cancelled: LeaseCancelled
    drain: Drain
    output_wanted: OutputWanted
    recalled: LeaseRecalled
    peers: Peers
    acknowledged: LeaseAcknowledged
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., granted: _Optional[_Union[LeaseGranted, _Mapping]] = ..., cancelled: _Optional[_Union[LeaseCancelled, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., output_wanted: _Optional[_Union[OutputWanted, _Mapping]] = ..., recalled: _Optional[_Union[LeaseRecalled, _Mapping]] = ..., peers: _Optional[_Union[Peers, _Mapping]] = ..., acknowledged: _Optional[_Union[LeaseAcknowledged, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("worker_name", "join_token", "slots", "platform", "guarantees", "backend", "running_lease_ids", "version", "capacity", "pid", "host", "backlog", "peer_address", "peer_token")
    WORKER_NAME_FIELD_NUMBER: _ClassVar[int]
    JOIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    GUARANTEES_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    RUNNING_LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_FIELD_NUMBER: _ClassVar[int]
    PEER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PEER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    worker_name: str
    join_token: str
    slots: int
    platform: _remote_execution_pb2.Platform
    guarantees: _containers.RepeatedScalarFieldContainer[str]
    backend: str
    running_lease_ids: _containers.RepeatedScalarFieldContainer[str]
    version: str
    capacity: _containers.RepeatedCompositeFieldContainer[Resource]
    pid: int
    host: str
    backlog: int
    peer_address: str
    peer_token: str
    def __init__(self, worker_name: _Optional[str] = ..., join_token: _Optional[str] = ..., slots: _Optional[int] = ..., platform: _Optional[_Union[_remote_execution_pb2.Platform, _Mapping]] = ..., guarantees: _Optional[_Iterable[str]] = ..., backend: _Optional[str] = ..., running_lease_ids: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., capacity: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., pid: _Optional[int] = ..., host: _Optional[str] = ..., backlog: _Optional[int] = ..., peer_address: _Optional[str] = ..., peer_token: _Optional[str] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("name", "amount")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    amount: int
    def __init__(self, name: _Optional[str] = ..., amount: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("heartbeat_interval", "unknown_lease_ids")
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    heartbeat_interval: _duration_pb2.Duration
    unknown_lease_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., unknown_lease_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("running_lease_ids", "cpu_fraction", "memory_fraction", "persistent_workers", "programs", "waiting_lease_ids", "steals")
    RUNNING_LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    CPU_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FRACTION_FIELD_NUMBER: _ClassVar[int]
    PERSISTENT_WORKERS_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    WAITING_LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    STEALS_FIELD_NUMBER: _ClassVar[int]
    running_lease_ids: _containers.RepeatedScalarFieldContainer[str]
    cpu_fraction: float
    memory_fraction: float
    persistent_workers: int
    programs: _containers.RepeatedScalarFieldContainer[str]
    waiting_lease_ids: _containers.RepeatedScalarFieldContainer[str]
    steals: Steals
    def __init__(self, running_lease_ids: _Optional[_Iterable[str]] = ..., cpu_fraction: _Optional[float] = ..., memory_fraction: _Optional[float] = ..., persistent_workers: _Optional[int] = ..., programs: _Optional[_Iterable[str]] = ..., waiting_lease_ids: _Optional[_Iterable[str]] = ..., steals: _Optional[_Union[Steals, _Mapping]] = ...) -> None: ...

class Steals(_message.Message):
    __slots__ = ("attempted", "succeeded", "empty", "failed")
    ATTEMPTED_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    attempted: int
    succeeded: int
    empty: int
    failed: int
    def __init__(self, attempted: _Optional[int] = ..., succeeded: _Optional[int] = ..., empty: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

class LeaseGranted(_message.Message):
    __slots__ = ("lease_id", "instance_name", "digest_function", "action_digest", "action", "queued_timestamp", "request_metadata", "attempt", "timeout", "absolute_symlinks", "traceparent", "memory_bytes", "note", "avoid", "order")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    QUEUED_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_METADATA_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_SYMLINKS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AVOID_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    instance_name: str
    digest_function: _remote_execution_pb2.DigestFunction.Value
    action_digest: _remote_execution_pb2.Digest
    action: _remote_execution_pb2.Action
    queued_timestamp: _timestamp_pb2.Timestamp
    request_metadata: _remote_execution_pb2.RequestMetadata
    attempt: int
    timeout: _duration_pb2.Duration
    absolute_symlinks: bool
    traceparent: str
    memory_bytes: int
    note: str
    avoid: _containers.RepeatedScalarFieldContainer[str]
    order: float
    def __init__(self, lease_id: _Optional[str] = ..., instance_name: _Optional[str] = ..., digest_function: _Optional[_Union[_remote_execution_pb2.DigestFunction.Value, str]] = ..., action_digest: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., action: _Optional[_Union[_remote_execution_pb2.Action, _Mapping]] = ..., queued_timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_metadata: _Optional[_Union[_remote_execution_pb2.RequestMetadata, _Mapping]] = ..., attempt: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., absolute_symlinks: _Optional[bool] = ..., traceparent: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., note: _Optional[str] = ..., avoid: _Optional[_Iterable[str]] = ..., order: _Optional[float] = ...) -> None: ...

class LeaseProgress(_message.Message):
    __slots__ = ("lease_id", "stage", "metadata")
    class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[LeaseProgress.Stage]
        FETCHING: _ClassVar[LeaseProgress.Stage]
        EXECUTING: _ClassVar[LeaseProgress.Stage]
        UPLOADING: _ClassVar[LeaseProgress.Stage]
    UNKNOWN: LeaseProgress.Stage
    FETCHING: LeaseProgress.Stage
    EXECUTING: LeaseProgress.Stage
    UPLOADING: LeaseProgress.Stage
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    stage: LeaseProgress.Stage
    metadata: _remote_execution_pb2.ExecutedActionMetadata
    def __init__(self, lease_id: _Optional[str] = ..., stage: _Optional[_Union[LeaseProgress.Stage, str]] = ..., metadata: _Optional[_Union[_remote_execution_pb2.ExecutedActionMetadata, _Mapping]] = ...) -> None: ...

class LeaseFinished(_message.Message):
    __slots__ = ("lease_id", "response", "infrastructure_failure", "store_full")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    INFRASTRUCTURE_FAILURE_FIELD_NUMBER: _ClassVar[int]
    STORE_FULL_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    response: _remote_execution_pb2.ExecuteResponse
    infrastructure_failure: bool
    store_full: bool
    def __init__(self, lease_id: _Optional[str] = ..., response: _Optional[_Union[_remote_execution_pb2.ExecuteResponse, _Mapping]] = ..., infrastructure_failure: _Optional[bool] = ..., store_full: _Optional[bool] = ...) -> None: ...

class LeaseReturned(_message.Message):
    __slots__ = ("lease_id", "reason")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    reason: str
    def __init__(self, lease_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class LeaseYielded(_message.Message):
    __slots__ = ("lease_id", "thief")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    THIEF_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    thief: str
    def __init__(self, lease_id: _Optional[str] = ..., thief: _Optional[str] = ...) -> None: ...

class LeaseRecalled(_message.Message):
    __slots__ = ("lease_id", "reason")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    reason: str
    def __init__(self, lease_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Peers(_message.Message):
    __slots__ = ("peer",)
    class Peer(_message.Message):
        __slots__ = ("worker_name", "address", "token", "lease_ids")
        WORKER_NAME_FIELD_NUMBER: _ClassVar[int]
        ADDRESS_FIELD_NUMBER: _ClassVar[int]
        TOKEN_FIELD_NUMBER: _ClassVar[int]
        LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
        worker_name: str
        address: str
        token: str
        lease_ids: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, worker_name: _Optional[str] = ..., address: _Optional[str] = ..., token: _Optional[str] = ..., lease_ids: _Optional[_Iterable[str]] = ...) -> None: ...
    PEER_FIELD_NUMBER: _ClassVar[int]
    peer: _containers.RepeatedCompositeFieldContainer[Peers.Peer]
    def __init__(self, peer: _Optional[_Iterable[_Union[Peers.Peer, _Mapping]]] = ...) -> None: ...

class LeaseCancelled(_message.Message):
    __slots__ = ("lease_id", "reason")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    reason: str
    def __init__(self, lease_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class OutputWanted(_message.Message):
    __slots__ = ("request_id", "lease_id", "stderr", "offset")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    lease_id: str
    stderr: bool
    offset: int
    def __init__(self, request_id: _Optional[str] = ..., lease_id: _Optional[str] = ..., stderr: _Optional[bool] = ..., offset: _Optional[int] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("request_id", "data", "ended")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    data: bytes
    ended: bool
    def __init__(self, request_id: _Optional[str] = ..., data: _Optional[bytes] = ..., ended: _Optional[bool] = ...) -> None: ...

class LeaseAcknowledged(_message.Message):
    __slots__ = ("lease_ids",)
    LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    lease_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lease_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("grace", "reason")
    GRACE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    grace: _duration_pb2.Duration
    reason: str
    def __init__(self, grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class ExecutionProof(_message.Message):
    __slots__ = ("backend", "guarantees", "limits", "user_cpu", "system_cpu", "peak_memory_bytes", "processes", "setup", "cleanup", "outcome", "attempt", "image", "audit", "output_cut", "undeclared", "persistent_worker", "spec", "read_bytes", "written_bytes", "reused")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    GUARANTEES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    USER_CPU_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_CPU_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    SETUP_FIELD_NUMBER: _ClassVar[int]
    CLEANUP_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_CUT_FIELD_NUMBER: _ClassVar[int]
    UNDECLARED_FIELD_NUMBER: _ClassVar[int]
    PERSISTENT_WORKER_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    REUSED_FIELD_NUMBER: _ClassVar[int]
    backend: str
    guarantees: _containers.RepeatedScalarFieldContainer[str]
    limits: _containers.RepeatedScalarFieldContainer[str]
    user_cpu: _duration_pb2.Duration
    system_cpu: _duration_pb2.Duration
    peak_memory_bytes: int
    processes: int
    setup: _duration_pb2.Duration
    cleanup: _duration_pb2.Duration
    outcome: str
    attempt: int
    image: str
    audit: Audit
    output_cut: bool
    undeclared: _containers.RepeatedScalarFieldContainer[str]
    persistent_worker: PersistentWorker
    spec: str
    read_bytes: int
    written_bytes: int
    reused: int
    def __init__(self, backend: _Optional[str] = ..., guarantees: _Optional[_Iterable[str]] = ..., limits: _Optional[_Iterable[str]] = ..., user_cpu: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., system_cpu: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., peak_memory_bytes: _Optional[int] = ..., processes: _Optional[int] = ..., setup: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cleanup: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., outcome: _Optional[str] = ..., attempt: _Optional[int] = ..., image: _Optional[str] = ..., audit: _Optional[_Union[Audit, _Mapping]] = ..., output_cut: _Optional[bool] = ..., undeclared: _Optional[_Iterable[str]] = ..., persistent_worker: _Optional[_Union[PersistentWorker, _Mapping]] = ..., spec: _Optional[str] = ..., read_bytes: _Optional[int] = ..., written_bytes: _Optional[int] = ..., reused: _Optional[int] = ...) -> None: ...

class PersistentWorker(_message.Message):
    __slots__ = ("key", "request", "fell_back")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    FELL_BACK_FIELD_NUMBER: _ClassVar[int]
    key: str
    request: int
    fell_back: str
    def __init__(self, key: _Optional[str] = ..., request: _Optional[int] = ..., fell_back: _Optional[str] = ...) -> None: ...

class Audit(_message.Message):
    __slots__ = ("level", "complete", "outside", "outside_count", "count")
    class Access(_message.Message):
        __slots__ = ("name", "use", "program", "there")
        NAME_FIELD_NUMBER: _ClassVar[int]
        USE_FIELD_NUMBER: _ClassVar[int]
        PROGRAM_FIELD_NUMBER: _ClassVar[int]
        THERE_FIELD_NUMBER: _ClassVar[int]
        name: str
        use: str
        program: str
        there: bool
        def __init__(self, name: _Optional[str] = ..., use: _Optional[str] = ..., program: _Optional[str] = ..., there: _Optional[bool] = ...) -> None: ...
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_FIELD_NUMBER: _ClassVar[int]
    OUTSIDE_COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    level: str
    complete: bool
    outside: _containers.RepeatedCompositeFieldContainer[Audit.Access]
    outside_count: int
    count: int
    def __init__(self, level: _Optional[str] = ..., complete: _Optional[bool] = ..., outside: _Optional[_Iterable[_Union[Audit.Access, _Mapping]]] = ..., outside_count: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...
