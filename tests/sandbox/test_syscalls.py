"""System calls that Python does not wrap behave as those that it does."""

import os
import signal
from collections.abc import Iterator

import pytest

from builder.sandbox.kernel.syscalls import call, perform_prepared, prepared


@pytest.fixture
def interrupted() -> Iterator[tuple[int, int]]:
    """A pipe that gets its first byte from a signal's handler, 50 ms from now."""
    read_end, write_end = os.pipe()
    before = signal.signal(signal.SIGALRM, lambda *_: os.write(write_end, b"x"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    yield read_end, os.open(os.devnull, os.O_WRONLY)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_signal_does_not_end_a_call(interrupted: tuple[int, int]) -> None:
    """As PEP 475 says of Python's own: the end of a child must not lose an action's output."""
    source, target = interrupted
    assert call("splice", source, None, target, None, 1, 0) == 1


def test_a_signal_does_not_end_a_prepared_call(interrupted: tuple[int, int]) -> None:
    """The same without conversion."""
    source, target = interrupted
    assert perform_prepared(prepared("splice", source, None, target, None, 1, 0)) == 0


def test_an_error_names_the_call() -> None:
    """Other errors are raised at once."""
    with pytest.raises(OSError, match="splice"):
        call("splice", -1, None, -1, None, 1, 0)
