"""What holds for every test."""

import fcntl
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shell starts background jobs with Ctrl-C ignored, and every child inherits that. The tests
# send it to programs, and mean what a person at a terminal means.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No example has a time to keep, on a busy machine either, and two runs of the same code agree.
# `--hypothesis-profile=explore` looks further than the gate does.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("gate", settings.get_profile("explore"), derandomize=True)
settings.load_profile("gate")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """pytest-trio says of an async test only that it was skipped: why, is in what it was handling
    when it said so."""
    try:
        yield
    except pytest.skip.Exception as skipped:
        told: BaseException | None = skipped.__context__
        while isinstance(told, BaseExceptionGroup):
            (told,) = told.exceptions
        if isinstance(told, pytest.skip.Exception):
            raise told from None
        raise


@pytest.fixture
def some_descriptors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a user may have in messages is for all of its processes, and a sandbox whose report did
    not get its descriptor through serves no other action: nobody takes them all meanwhile."""
    yield from locked(tmp_path_factory, fcntl.LOCK_SH)


@pytest.fixture
def all_descriptors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For the test that does."""
    yield from locked(tmp_path_factory, fcntl.LOCK_EX)


def locked(factory: pytest.TempPathFactory, how: int) -> Iterator[None]:
    """Among the processes of one run of the tests, whose directories are side by side."""
    place: Path = factory.getbasetemp().parent / "descriptors.lock"
    with place.open("a") as file:
        fcntl.flock(file, how)
        yield
