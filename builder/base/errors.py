"""One tree of errors; each leaf knows its gRPC code (google.rpc.Code).

    BuilderError                  anything that may be shown to a person
    ├── UsageError                bad arguments, config or Builderfile: exit code 2
    └── StatusError               has a gRPC status; crosses the wire unchanged
        ├── CancelledError                 1
        ├── UnknownError                   2
        ├── InvalidArgumentError           3
        ├── DeadlineExceededError          4
        ├── NotFoundError                  5
        ├── AlreadyExistsError             6
        ├── PermissionDeniedError          7
        ├── ResourceExhaustedError         8
        ├── FailedPreconditionError        9
        ├── AbortedError                  10
        ├── OutOfRangeError               11
        ├── UnimplementedError            12
        ├── InternalError                 13
        ├── UnavailableError              14
        ├── DataLossError                 15
        └── UnauthenticatedError          16

A message says what is wrong, which thing it is, and what to do about it.
"""

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class BuilderError(Exception):
    """Something a person can understand and act on."""


class UsageError(BuilderError):
    """Input that cannot be right: arguments, config, Builderfile. Ends with exit code 2."""


class StatusError(BuilderError):
    """An error with a gRPC status.

    `details` is a serialized `google.rpc.Status` for the `grpc-status-details-bin` trailer,
    or empty.
    """

    code: ClassVar[Code] = Code.UNKNOWN

    def __init__(self, message: str, details: bytes = b"") -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class CancelledError(StatusError):
    code = Code.CANCELLED


class UnknownError(StatusError):
    code = Code.UNKNOWN


class InvalidArgumentError(StatusError):
    code = Code.INVALID_ARGUMENT


class DeadlineExceededError(StatusError):
    code = Code.DEADLINE_EXCEEDED


class NotFoundError(StatusError):
    code = Code.NOT_FOUND


class AlreadyExistsError(StatusError):
    code = Code.ALREADY_EXISTS


class PermissionDeniedError(StatusError):
    code = Code.PERMISSION_DENIED


class ResourceExhaustedError(StatusError):
    code = Code.RESOURCE_EXHAUSTED


class FailedPreconditionError(StatusError):
    code = Code.FAILED_PRECONDITION


class AbortedError(StatusError):
    code = Code.ABORTED


class OutOfRangeError(StatusError):
    code = Code.OUT_OF_RANGE


class UnimplementedError(StatusError):
    code = Code.UNIMPLEMENTED


class InternalError(StatusError):
    code = Code.INTERNAL


class UnavailableError(StatusError):
    code = Code.UNAVAILABLE


class DataLossError(StatusError):
    code = Code.DATA_LOSS


class UnauthenticatedError(StatusError):
    code = Code.UNAUTHENTICATED


BY_CODE: dict[int, type[StatusError]] = {
    kind.code.value: kind for kind in StatusError.__subclasses__()
}


def from_status(code: int, message: str, details: bytes = b"") -> StatusError:
    """The error for a received status; a code that gRPC does not know becomes UNKNOWN."""
    return BY_CODE.get(code, UnknownError)(message, details)
