"""Rules of gRPC's PROTOCOL-HTTP2.md that no other test shows; all of them: `test_rfc_sections`."""

import pytest

from builder.wire import frames, grpc
from builder.wire.events import ConnectionEnded
from builder.wire.frames import ErrorCode
from builder.wire.grpc import Code
from tests.wire.peers import block, fields, frame, message, request, sent, started
from tests.wire.test_client import HEAD, calling

H, D = frames.HEADERS, frames.DATA


def opened(headers: list) -> tuple:
    """The event of a unary call with these fields; it is not refused."""
    connection = started()
    (event,) = connection.receive(
        frame(H, 4, 1, block(headers)) + frame(D, 1, 1, message(b"x")), 0.0
    )
    assert not sent(connection)
    return event


@pytest.mark.parametrize("kind", ["", "+proto", "+json", "+own", ";charset=utf-8"])
def test_content_types(kind: str) -> None:
    """Content-Type begins with application/grpc; what comes after + is the application's."""
    headers = [one for one in request() if one[0] != "content-type"]
    _, head, body = opened([*headers, ("content-type", f"application/grpc{kind}")])
    assert (head.path, body) == ("/t.S/Unary", b"x")


@pytest.mark.parametrize("kind", ["application/grpc-web", "application/grpcs", "application/json"])
def test_other_content_types_are_415(kind: str) -> None:
    """Which no client of HTTP takes for a success."""
    connection = started()
    headers = [one for one in request() if one[0] != "content-type"]
    connection.receive(frame(H, 5, 1, block([*headers, ("content-type", kind)])), 0.0)
    ((_, _, _, payload),) = sent(connection)
    assert fields(payload)[":status"] == "415"


@pytest.mark.parametrize("path", ["/t.S/unary", "/T.S/Unary", "/t.S/Unary/", "//t.S/Unary"])
def test_paths_are_case_sensitive(path: str) -> None:
    """Another Service-Name or method is UNIMPLEMENTED."""
    connection = started()
    assert connection.receive(frame(H, 5, 1, block(request(path))), 0.0) == []
    assert fields(sent(connection)[0][3])["grpc-status"] == str(int(Code.UNIMPLEMENTED))


def test_what_may_be_left_out() -> None:
    """Authority, Timeout, Message-Type, encodings and User-Agent; no Timeout is no limit."""
    _, head, _ = opened(request(authority=None))
    assert head.timeout_s is None
    assert dict(head.metadata) == {}


def test_what_may_be_said_of_a_message() -> None:
    """Message-Type, Message-Accept-Encoding and Message-Encoding are known names."""
    said = [
        ("grpc-message-type", "t.Message"),
        ("grpc-accept-encoding", "identity,gzip,snappy"),
        ("grpc-encoding", "identity"),
        ("user-agent", "grpc-java-android/0.9.1 (gingerbread/1.2.4; nexus5; tmobile)"),
    ]
    _, head, body = opened(request("/t.S/Unary", *said))
    assert body == b"x"
    assert head.metadata["user-agent"] == said[-1][1]


@pytest.mark.parametrize("value", [b"caf\xe9", b"a\tb", b"", b"\xff\xfe", b"a" * 300])
def test_values_that_are_no_ascii_are_no_error(value: bytes) -> None:
    """They are valid in HTTP: taken or thrown away, and the call goes on."""
    _, _, body = opened([*request(), (b"x-text", value)])
    assert body == b"x"


def test_values_of_one_name_stay_in_order() -> None:
    """However they came: as several fields, or joined."""
    _, head, _ = opened(request("/t.S/Unary", ("k", "1"), ("other", "x"), ("k", "2")))
    found = head.metadata["k"]
    assert (found if isinstance(found, str) else ",".join(found)) in ("1,2", "1, 2")


@pytest.mark.parametrize("code", [*ErrorCode, 77])
def test_a_reset_stream_has_a_status(code: int) -> None:
    """The table of the chapter Errors; what it does not name is INTERNAL."""
    named = {
        ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
        ErrorCode.CANCEL: Code.CANCELLED,
        ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
        ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
    }
    assert grpc.status_of_reset(code) == named.get(code, Code.INTERNAL)


def test_an_http_status_has_a_code() -> None:
    """Broken deployments answer without Status: one is made of theirs, and never OK."""
    assert all(grpc.status_of_http(status) != Code.OK for status in range(100, 600))
    assert grpc.status_of_http(401) == Code.UNAUTHENTICATED
    assert grpc.status_of_http(200) == grpc.status_of_http(500) == Code.UNKNOWN


@pytest.mark.parametrize(("octets", "is_over"), [(1000, False), (30_000, True)])
def test_metadata_of_an_answer_is_bounded(octets: int, is_over: bool) -> None:
    """A connection that sends far more than the client has said it takes is ended."""
    connection, _ = calling(max_header_list=2048)
    raw = frames.headers(1, block([*HEAD, ("x", "y" * octets)]), False, 16_384)
    events = connection.receive(raw, 0.0)
    assert isinstance(events[-1], ConnectionEnded) is is_over
