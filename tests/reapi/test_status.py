from builder.base.digest import Digest
from builder.base.errors import FailedPreconditionError, NotFoundError
from builder.reapi.pb import error_details_pb2, status_pb2
from builder.reapi.status import MOST_VIOLATIONS, missing, to_error, to_status

A = Digest("a" * 64, 1)
B = Digest("b" * 64, 2, "blake3")


def failure_of(error: FailedPreconditionError) -> error_details_pb2.PreconditionFailure:
    failure = error_details_pb2.PreconditionFailure()
    (detail,) = status_pb2.Status.FromString(error.details).details
    assert detail.Unpack(failure)
    return failure


def test_missing_blobs_are_violations_of_type_missing() -> None:
    """Each blob once, without an instance name, the function named where needed."""
    error = missing([A, B, A])
    assert [(v.type, v.subject) for v in failure_of(error).violations] == [
        ("MISSING", "blobs/" + "a" * 64 + "/1"),
        ("MISSING", "blobs/blake3/" + "b" * 64 + "/2"),
    ]
    assert error.message.startswith("2 inputs missing")


def test_the_list_fits_into_a_trailer() -> None:
    """A long list is cut, the count in the message is not; base64 of it stays below 8 KiB."""
    error = missing([Digest(f"{n:064x}", n) for n in range(1000)])
    assert len(failure_of(error).violations) == MOST_VIOLATIONS
    assert error.message.startswith("1000 inputs")
    assert len(error.details) * 4 / 3 < 8 * 1024


def test_errors_survive_as_messages() -> None:
    """Code, text and details, with and without details."""
    for error in (NotFoundError("no such thing"), missing([A])):
        back = to_error(to_status(error))
        assert (type(back), back.message, back.details) == (
            type(error),
            error.message,
            error.details,
        )
