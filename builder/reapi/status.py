"""Errors as `google.rpc.Status`, with the details that clients act on.

Bazel uploads again and retries only when every detail of a FAILED_PRECONDITION is a
PreconditionFailure whose violations are all of type MISSING; subjects carry no instance name.
"""

from collections.abc import Iterable

from builder.base.digest import Digest
from builder.base.errors import FailedPreconditionError, StatusError, from_status
from builder.reapi.digests import path_of
from builder.reapi.pb import error_details_pb2, status_pb2

# A violation takes about 130 bytes in base64; clients refuse trailers above about 8 KiB.
MOST_VIOLATIONS = 50


def missing(digests: Iterable[Digest], what: str = "inputs") -> FailedPreconditionError:
    """FAILED_PRECONDITION that lists the blobs which a client has to upload again."""
    every = list(dict.fromkeys(digests))
    failure = error_details_pb2.PreconditionFailure()
    for digest in every[:MOST_VIOLATIONS]:
        failure.violations.add(type="MISSING", subject=f"blobs/{path_of(digest)}")
    first = path_of(every[0]) if every else "?"
    message = f"{len(every)} {what} missing from the storage, the first is {first}; upload again"
    status = status_pb2.Status(code=FailedPreconditionError.code, message=message)
    status.details.add().Pack(failure)
    return FailedPreconditionError(message, status.SerializeToString())


def to_status(error: StatusError) -> status_pb2.Status:
    """The message for a field of a response, details included."""
    if error.details:
        return status_pb2.Status.FromString(error.details)
    return status_pb2.Status(code=error.code, message=error.message)


def to_error(status: status_pb2.Status) -> StatusError:
    """The error for a received message whose code is not OK."""
    details = status.SerializeToString() if status.details else b""
    return from_status(status.code, status.message, details)
