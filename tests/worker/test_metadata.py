"""Timestamps and proofs."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.worker.metadata import HERMETIC, STAMPS, Timeline, is_hermetic, tellable


class Hands:
    """A clock whose wall time is a script; it may go back."""

    def __init__(self, *times_ns: int) -> None:
        self._times = list(times_ns)

    def monotonic(self) -> float:
        return 0.0

    def wall_ns(self) -> int:
        return self._times.pop(0) if len(self._times) > 1 else self._times[0]


def stamps(metadata: pb.ExecutedActionMetadata) -> list[int]:
    return [getattr(metadata, f"{name}_timestamp").ToNanoseconds() for name in STAMPS]


@given(
    st.lists(st.integers(1, 2**61), min_size=1, max_size=12),
    st.integers(0, 2**61),
    st.integers(0, len(STAMPS) - 2),
)
def test_all_are_set_and_monotone_whatever_the_clocks_say(
    times: list[int], queued: int, reached: int
) -> None:
    """Also when the action ended early, the clock went back, or the queue's clock is ahead."""
    timeline = Timeline(Hands(*times), "w", queued)
    for name in STAMPS[2 : 2 + reached]:
        timeline.mark(name)
    found = stamps(timeline.metadata())
    assert found == sorted(found)
    assert all(found)


def test_progress_tells_only_what_has_happened() -> None:
    timeline = Timeline(Hands(10, 20), "w", 5)
    timeline.mark("input_fetch_start")
    partial = timeline.partial()
    assert (partial.queued_timestamp.nanos, partial.input_fetch_start_timestamp.nanos) == (5, 20)
    assert not partial.HasField("execution_start_timestamp")


@pytest.mark.parametrize("missing", sorted(HERMETIC))
def test_hermetic_needs_all_three(missing: str) -> None:
    assert is_hermetic([*HERMETIC, "seccomp"])
    assert not is_hermetic(HERMETIC - {missing})
    assert all(is_hermetic(order) for order in permutations(HERMETIC))


def test_names_of_any_bytes_can_be_told() -> None:
    """A file name that is no text becomes one; any other stays as it is."""
    assert tellable("/a/\u00e9") == "/a/\u00e9"
    assert tellable(b"/a/\xff".decode(errors="surrogateescape")) == "/a/\\xff"
