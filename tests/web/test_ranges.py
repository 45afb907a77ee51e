"""Which part of a file a request is for: examples of RFC 9110, 14.1.2 and 14.2, and its edges."""

import pytest

from builder.web.ranges import asked


@pytest.mark.parametrize(
    ("text", "status", "start", "stop"),
    [
        ("bytes=0-499", 206, 0, 500),
        ("bytes=500-999", 206, 500, 1000),
        ("bytes=9500-", 206, 9500, 10_000),
        ("bytes=-500", 206, 9500, 10_000),
        ("bytes=-20000", 200, 0, 10_000),
        ("bytes=0-", 200, 0, 10_000),
        ("Bytes = 9999-10000", 206, 9999, 10_000),
        ("bytes=10000-", 416, 10_000, 10_000),
        ("bytes=20000-30000", 416, 10_000, 10_000),
        ("bytes=-0", 416, 10_000, 10_000),
        ("bytes=5-4", 200, 0, 10_000),
        ("bytes=-", 200, 0, 10_000),
        ("bytes=0-1,5-6", 200, 0, 10_000),
        ("lines=0-1", 200, 0, 10_000),
        ("bytes=\u0663-", 200, 0, 10_000),
        ("", 200, 0, 10_000),
    ],
)
def test_parts(text: str, status: int, start: int, stop: int) -> None:
    part = asked({"range": text}, 10_000)
    assert (part.status, part.start, part.stop) == (status, start, stop)


def test_an_empty_file_has_no_parts() -> None:
    """It is always given whole."""
    for text in ("bytes=0-", "bytes=-1", "bytes=5-6"):
        assert asked({"range": text}, 0).status == 200


def test_no_validator_is_ever_that_of_an_if_range() -> None:
    assert asked({"range": "bytes=5-", "if-range": '"x"'}, 10).status == 200
