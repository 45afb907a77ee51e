"""A directory for one process: locked while it lives, free again when it ends, however it ends."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from builder.base.errors import UsageError

LOOK_AGAIN_S = 0.05


class TakenError(UsageError):
    """Another process has the directory."""


@contextmanager
def owned(directory: Path, what: str) -> Iterator[None]:
    """Make the directory and hold its lock. Raises UsageError when another process has it."""
    descriptor = _open(directory, what)
    try:
        if not _take(descriptor):
            raise _taken(directory, what)
        yield
    finally:
        os.close(descriptor)


async def take_soon(directory: Path, what: str, patience_s: float) -> int:
    """As `owned`, but a process that is just ending may take so long to let go.

    The lock's descriptor: closing it, or the end of this process, lets go of the directory.
    """
    descriptor = _open(directory, what)
    try:
        with trio.move_on_after(patience_s):
            while not _take(descriptor):  # noqa: ASYNC110 - a lock gives no sign of being free
                await trio.sleep(LOOK_AGAIN_S)
            return descriptor
        raise _taken(directory, what)
    except BaseException:
        os.close(descriptor)
        raise


def _open(directory: Path, what: str) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"{what} {directory}: {error.strerror}; give a directory that this user can write"
        ) from None


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _taken(directory: Path, what: str) -> TakenError:
    return TakenError(
        f"{what} {directory} is in use by another process; stop it, or give this one its own"
    )
