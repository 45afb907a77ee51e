"""A directory that nobody else can enter, and that the next service removes if this one is killed.

Who has such a directory holds a lock on it (flock(2) on the directory itself), which dies with the
process; so one that can be locked is nobody's. Only directories of this very user are looked at.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PREFIX = "builder-own-"


@contextmanager
def private_folder() -> Iterator[str]:
    """The path of one, in the directory for temporaries; removed at the end. Raises OSError."""
    _remove_left(tempfile.gettempdir())
    folder, descriptor = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _made() -> tuple[str, int]:
    """A new directory and its lock."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        descriptor = _locked(folder)
        if descriptor >= 0:
            return folder, descriptor
        # somebody who removes what is left was here before the lock was


def _remove_left(parent: str) -> None:
    with os.scandir(parent) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    for path in left:
        descriptor = _locked(path)
        if descriptor >= 0:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)


def _locked(path: str) -> int:
    """A descriptor that holds the lock of our own directory; -1 if it is gone or another has it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # gone, another's, or no directory
        return -1
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found, there = os.fstat(descriptor), os.lstat(path)
        if found.st_uid == os.geteuid() and os.path.samestat(found, there):
            return descriptor
    os.close(descriptor)
    return -1
