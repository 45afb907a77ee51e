import datetime

from builder.reapi.pb import duration_pb2 as _duration_pb2
from builder.reapi.pb import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TestStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NO_STATUS: _ClassVar[TestStatus]
    PASSED: _ClassVar[TestStatus]
    FLAKY: _ClassVar[TestStatus]
    TIMEOUT: _ClassVar[TestStatus]
    FAILED: _ClassVar[TestStatus]
    INCOMPLETE: _ClassVar[TestStatus]
    REMOTE_FAILURE: _ClassVar[TestStatus]
    FAILED_TO_BUILD: _ClassVar[TestStatus]
    TOOL_HALTED_BEFORE_TESTING: _ClassVar[TestStatus]
NO_STATUS: TestStatus
PASSED: TestStatus
FLAKY: TestStatus
TIMEOUT: TestStatus
FAILED: TestStatus
INCOMPLETE: TestStatus
REMOTE_FAILURE: TestStatus
FAILED_TO_BUILD: TestStatus
TOOL_HALTED_BEFORE_TESTING: TestStatus

class BuildEventId(_message.Message):
    __slots__ = ("pattern", "target_completed", "action_completed", "test_summary", "test_result", "target_configured")
    class PatternExpandedId(_message.Message):
        __slots__ = ("pattern",)
        PATTERN_FIELD_NUMBER: _ClassVar[int]
        pattern: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, pattern: _Optional[_Iterable[str]] = ...) -> None: ...
    class TargetConfiguredId(_message.Message):
        __slots__ = ("label", "aspect")
        LABEL_FIELD_NUMBER: _ClassVar[int]
        ASPECT_FIELD_NUMBER: _ClassVar[int]
        label: str
        aspect: str
        def __init__(self, label: _Optional[str] = ..., aspect: _Optional[str] = ...) -> None: ...
    class TargetCompletedId(_message.Message):
        __slots__ = ("label", "aspect")
        LABEL_FIELD_NUMBER: _ClassVar[int]
        ASPECT_FIELD_NUMBER: _ClassVar[int]
        label: str
        aspect: str
        def __init__(self, label: _Optional[str] = ..., aspect: _Optional[str] = ...) -> None: ...
    class ActionCompletedId(_message.Message):
        __slots__ = ("primary_output", "label")
        PRIMARY_OUTPUT_FIELD_NUMBER: _ClassVar[int]
        LABEL_FIELD_NUMBER: _ClassVar[int]
        primary_output: str
        label: str
        def __init__(self, primary_output: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...
    class TestResultId(_message.Message):
        __slots__ = ("label", "run", "shard", "attempt")
        LABEL_FIELD_NUMBER: _ClassVar[int]
        RUN_FIELD_NUMBER: _ClassVar[int]
        SHARD_FIELD_NUMBER: _ClassVar[int]
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        label: str
        run: int
        shard: int
        attempt: int
        def __init__(self, label: _Optional[str] = ..., run: _Optional[int] = ..., shard: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...
    class TestSummaryId(_message.Message):
        __slots__ = ("label",)
        LABEL_FIELD_NUMBER: _ClassVar[int]
        label: str
        def __init__(self, label: _Optional[str] = ...) -> None: ...
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    TARGET_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    ACTION_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    TEST_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    TEST_RESULT_FIELD_NUMBER: _ClassVar[int]
    TARGET_CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    pattern: BuildEventId.PatternExpandedId
    target_completed: BuildEventId.TargetCompletedId
    action_completed: BuildEventId.ActionCompletedId
    test_summary: BuildEventId.TestSummaryId
    test_result: BuildEventId.TestResultId
    target_configured: BuildEventId.TargetConfiguredId
    def __init__(self, pattern: _Optional[_Union[BuildEventId.PatternExpandedId, _Mapping]] = ..., target_completed: _Optional[_Union[BuildEventId.TargetCompletedId, _Mapping]] = ..., action_completed: _Optional[_Union[BuildEventId.ActionCompletedId, _Mapping]] = ..., test_summary: _Optional[_Union[BuildEventId.TestSummaryId, _Mapping]] = ..., test_result: _Optional[_Union[BuildEventId.TestResultId, _Mapping]] = ..., target_configured: _Optional[_Union[BuildEventId.TargetConfiguredId, _Mapping]] = ...) -> None: ...

class Aborted(_message.Message):
    __slots__ = ("reason", "description")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    reason: int
    description: str
    def __init__(self, reason: _Optional[int] = ..., description: _Optional[str] = ...) -> None: ...

class BuildStarted(_message.Message):
    __slots__ = ("uuid", "start_time_millis", "build_tool_version", "command", "workspace_directory", "start_time")
    UUID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    BUILD_TOOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    uuid: str
    start_time_millis: int
    build_tool_version: str
    command: str
    workspace_directory: str
    start_time: _timestamp_pb2.Timestamp
    def __init__(self, uuid: _Optional[str] = ..., start_time_millis: _Optional[int] = ..., build_tool_version: _Optional[str] = ..., command: _Optional[str] = ..., workspace_directory: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TargetConfigured(_message.Message):
    __slots__ = ("target_kind",)
    TARGET_KIND_FIELD_NUMBER: _ClassVar[int]
    target_kind: str
    def __init__(self, target_kind: _Optional[str] = ...) -> None: ...

class ActionExecuted(_message.Message):
    __slots__ = ("success", "exit_code", "label", "type")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    success: bool
    exit_code: int
    label: str
    type: str
    def __init__(self, success: _Optional[bool] = ..., exit_code: _Optional[int] = ..., label: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class TargetComplete(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class TestResult(_message.Message):
    __slots__ = ("test_attempt_duration_millis", "cached_locally", "status", "execution_info", "test_attempt_duration")
    class ExecutionInfo(_message.Message):
        __slots__ = ("strategy", "cached_remotely")
        STRATEGY_FIELD_NUMBER: _ClassVar[int]
        CACHED_REMOTELY_FIELD_NUMBER: _ClassVar[int]
        strategy: str
        cached_remotely: bool
        def __init__(self, strategy: _Optional[str] = ..., cached_remotely: _Optional[bool] = ...) -> None: ...
    TEST_ATTEMPT_DURATION_MILLIS_FIELD_NUMBER: _ClassVar[int]
    CACHED_LOCALLY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_INFO_FIELD_NUMBER: _ClassVar[int]
    TEST_ATTEMPT_DURATION_FIELD_NUMBER: _ClassVar[int]
    test_attempt_duration_millis: int
    cached_locally: bool
    status: TestStatus
    execution_info: TestResult.ExecutionInfo
    test_attempt_duration: _duration_pb2.Duration
    def __init__(self, test_attempt_duration_millis: _Optional[int] = ..., cached_locally: _Optional[bool] = ..., status: _Optional[_Union[TestStatus, str]] = ..., execution_info: _Optional[_Union[TestResult.ExecutionInfo, _Mapping]] = ..., test_attempt_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TestSummary(_message.Message):
    __slots__ = ("overall_status",)
    OVERALL_STATUS_FIELD_NUMBER: _ClassVar[int]
    overall_status: TestStatus
    def __init__(self, overall_status: _Optional[_Union[TestStatus, str]] = ...) -> None: ...

class BuildFinished(_message.Message):
    __slots__ = ("finish_time_millis", "exit_code", "finish_time")
    class ExitCode(_message.Message):
        __slots__ = ("name", "code")
        NAME_FIELD_NUMBER: _ClassVar[int]
        CODE_FIELD_NUMBER: _ClassVar[int]
        name: str
        code: int
        def __init__(self, name: _Optional[str] = ..., code: _Optional[int] = ...) -> None: ...
    FINISH_TIME_MILLIS_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    finish_time_millis: int
    exit_code: BuildFinished.ExitCode
    finish_time: _timestamp_pb2.Timestamp
    def __init__(self, finish_time_millis: _Optional[int] = ..., exit_code: _Optional[_Union[BuildFinished.ExitCode, _Mapping]] = ..., finish_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BuildMetrics(_message.Message):
    __slots__ = ("action_summary", "target_metrics", "timing_metrics")
    class ActionSummary(_message.Message):
        __slots__ = ("actions_created", "actions_executed", "runner_count")
        class RunnerCount(_message.Message):
            __slots__ = ("name", "count")
            NAME_FIELD_NUMBER: _ClassVar[int]
            COUNT_FIELD_NUMBER: _ClassVar[int]
            name: str
            count: int
            def __init__(self, name: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
        ACTIONS_CREATED_FIELD_NUMBER: _ClassVar[int]
        ACTIONS_EXECUTED_FIELD_NUMBER: _ClassVar[int]
        RUNNER_COUNT_FIELD_NUMBER: _ClassVar[int]
        actions_created: int
        actions_executed: int
        runner_count: _containers.RepeatedCompositeFieldContainer[BuildMetrics.ActionSummary.RunnerCount]
        def __init__(self, actions_created: _Optional[int] = ..., actions_executed: _Optional[int] = ..., runner_count: _Optional[_Iterable[_Union[BuildMetrics.ActionSummary.RunnerCount, _Mapping]]] = ...) -> None: ...
    class TargetMetrics(_message.Message):
        __slots__ = ("targets_configured",)
        TARGETS_CONFIGURED_FIELD_NUMBER: _ClassVar[int]
        targets_configured: int
        def __init__(self, targets_configured: _Optional[int] = ...) -> None: ...
    class TimingMetrics(_message.Message):
        __slots__ = ("cpu_time_in_ms", "wall_time_in_ms")
        CPU_TIME_IN_MS_FIELD_NUMBER: _ClassVar[int]
        WALL_TIME_IN_MS_FIELD_NUMBER: _ClassVar[int]
        cpu_time_in_ms: int
        wall_time_in_ms: int
        def __init__(self, cpu_time_in_ms: _Optional[int] = ..., wall_time_in_ms: _Optional[int] = ...) -> None: ...
    ACTION_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    TARGET_METRICS_FIELD_NUMBER: _ClassVar[int]
    TIMING_METRICS_FIELD_NUMBER: _ClassVar[int]
    action_summary: BuildMetrics.ActionSummary
    target_metrics: BuildMetrics.TargetMetrics
    timing_metrics: BuildMetrics.TimingMetrics
    def __init__(self, action_summary: _Optional[_Union[BuildMetrics.ActionSummary, _Mapping]] = ..., target_metrics: _Optional[_Union[BuildMetrics.TargetMetrics, _Mapping]] = ..., timing_metrics: _Optional[_Union[BuildMetrics.TimingMetrics, _Mapping]] = ...) -> None: ...

class BuildEvent(_message.Message):
    __slots__ = ("id", "children", "last_message", "aborted", "started", "action", "completed", "test_summary", "test_result", "finished", "configured", "build_metrics")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    LAST_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    TEST_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    TEST_RESULT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    BUILD_METRICS_FIELD_NUMBER: _ClassVar[int]
    id: BuildEventId
    children: _containers.RepeatedCompositeFieldContainer[BuildEventId]
    last_message: bool
    aborted: Aborted
    started: BuildStarted
    action: ActionExecuted
    completed: TargetComplete
    test_summary: TestSummary
    test_result: TestResult
    finished: BuildFinished
    configured: TargetConfigured
    build_metrics: BuildMetrics
    def __init__(self, id: _Optional[_Union[BuildEventId, _Mapping]] = ..., children: _Optional[_Iterable[_Union[BuildEventId, _Mapping]]] = ..., last_message: _Optional[bool] = ..., aborted: _Optional[_Union[Aborted, _Mapping]] = ..., started: _Optional[_Union[BuildStarted, _Mapping]] = ..., action: _Optional[_Union[ActionExecuted, _Mapping]] = ..., completed: _Optional[_Union[TargetComplete, _Mapping]] = ..., test_summary: _Optional[_Union[TestSummary, _Mapping]] = ..., test_result: _Optional[_Union[TestResult, _Mapping]] = ..., finished: _Optional[_Union[BuildFinished, _Mapping]] = ..., configured: _Optional[_Union[TargetConfigured, _Mapping]] = ..., build_metrics: _Optional[_Union[BuildMetrics, _Mapping]] = ...) -> None: ...
