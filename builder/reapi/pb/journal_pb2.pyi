from builder.reapi.pb import remote_execution_pb2 as _remote_execution_pb2
from builder.reapi.pb import workers_pb2 as _workers_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Record(_message.Message):
    __slots__ = ("remembered", "forgotten")
    REMEMBERED_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    remembered: Remembered
    forgotten: str
    def __init__(self, remembered: _Optional[_Union[Remembered, _Mapping]] = ..., forgotten: _Optional[str] = ...) -> None: ...

class Remembered(_message.Message):
    __slots__ = ("operation", "task", "granted", "platform", "priority", "skip_cache", "user")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SKIP_CACHE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    operation: str
    task: str
    granted: _workers_pb2.LeaseGranted
    platform: _remote_execution_pb2.Platform
    priority: int
    skip_cache: bool
    user: str
    def __init__(self, operation: _Optional[str] = ..., task: _Optional[str] = ..., granted: _Optional[_Union[_workers_pb2.LeaseGranted, _Mapping]] = ..., platform: _Optional[_Union[_remote_execution_pb2.Platform, _Mapping]] = ..., priority: _Optional[int] = ..., skip_cache: _Optional[bool] = ..., user: _Optional[str] = ...) -> None: ...
