"""Times of messages, good ones and others."""

import pytest

from builder.reapi.pb.duration_pb2 import Duration
from builder.reapi.pb.timestamp_pb2 import Timestamp
from builder.reapi.times import FIRST, LAST, bounded, nanoseconds


@pytest.mark.parametrize("kind", [Timestamp, Duration])
@pytest.mark.parametrize("said", [0, 1, -1, 10**9, -(10**9), 1_700_000_000_123_456_789])
def test_good_ones_are_what_protobuf_says(kind: type[Timestamp | Duration], said: int) -> None:
    time = kind()
    time.FromNanoseconds(said)
    assert nanoseconds(time) == time.ToNanoseconds() == said


@pytest.mark.parametrize("kind", [Timestamp, Duration])
@pytest.mark.parametrize(
    ("seconds", "nanos", "is_read"),
    [
        (2**63 - 1, 2**31 - 1, LAST),
        (-(2**63), -(2**31), FIRST),
        (253402300800, 0, LAST),
        (5, -(10**9), 4 * 10**9),
        (5, 2 * 10**9, 7 * 10**9),
    ],
)
def test_others_are_the_nearest_that_can_be_said(
    kind: type[Timestamp | Duration], seconds: int, nanos: int, is_read: int
) -> None:
    """And protobuf takes them again, as a date and as a time that something took."""
    found = nanoseconds(kind(seconds=seconds, nanos=nanos))
    assert found == is_read == bounded(found)
    for again in (Timestamp(), Duration()):
        again.FromNanoseconds(found)
        assert again.ToNanoseconds() == found
    Duration().FromNanoseconds(LAST - FIRST)
