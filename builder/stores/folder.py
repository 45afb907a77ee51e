"""A directory that one process owns: locked, with room for temporaries, written atomically.

A file becomes visible whole by rename, or not at all. `fsync` says what else is promised:
`none` survives the death of the process, `data` also keeps a file's bytes over the loss of
power, `full` its name too. Opening removes the temporaries that a killed process left.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from builder.base.errors import (
    ResourceExhaustedError,
    StatusError,
    UnavailableError,
    UsageError,
)
from builder.host.facts import usable_cores

Fsync = Literal["none", "data", "full"]
WAITED_S = 0.02  # of a write: a megabyte is hashed and given to the kernel in 1 ms
PATIENCE_S = 10.0
OF_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
WORTH_ALLOCATING = 1024 * 1024  # bytes of a file; to write them costs a sixth less then
MOST_ALLOCATED = 256 * 1024 * 1024  # takes less than a millisecond
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Folder:
    """The directory `root`, held exclusively until `close`. Raises UsageError if it cannot be."""

    def __init__(self, root: Path, fsync: Fsync = "none") -> None:
        self.root = str(root)
        self.fsync = fsync
        self._temporaries = f"{self.root}/unfinished"
        self._numbers = itertools.count()
        self.alone = usable_cores() == 1  # there is no other processor for a thread
        self._slow_until = 0.0
        self.writers = 0  # files that are being written piece by piece
        self._left: list[str] = []  # what the disk did not let us remove yet
        self._converting = Converting(self)
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(root / "lock")
            self.read_flags = _read_flags(self._lock)
            os.makedirs(self._temporaries, exist_ok=True)
            for left in os.scandir(self._temporaries):
                os.unlink(left.path)
        except OSError as error:
            raise UsageError(
                f"store directory {root}: {error.strerror}; give a directory that this user "
                "can write"
            ) from error

    def close(self) -> None:
        """Let another process have it. A second close does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def prompt(self) -> bool:
        """Whether it is better to write here and now than to ask a thread."""
        return self.alone and time.monotonic() >= self._slow_until

    def in_place(self, write: Callable[[], None]) -> None:
        """Write in the event loop: if the disk made it wait, threads do the next ones.

        A thread that others keep from the processor has not waited, and more threads would not
        help it.
        """
        slept, started = _times_slept(), time.monotonic()
        write()
        now = time.monotonic()
        if now - started > WAITED_S and _times_slept() > slept:
            self._slow_until = now + PATIENCE_S

    def temporary(self) -> str:
        """A path in the same file system that no file has."""
        if self._left:
            left, self._left = self._left, []
            for path in left:
                self.discard(path)
        return f"{self._temporaries}/{next(self._numbers)}"

    def discard(self, path: str) -> None:
        """Remove a file that nobody needs; what the disk does not let go now is tried later."""
        try:
            remove(path)
        except OSError:
            self._left.append(path)

    def create(self, path: str) -> int:
        """A descriptor to write a new file, read-only for everybody else."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)

    def allocate(self, descriptor: int, size: int) -> None:
        """Have the file system find blocks for a file's bytes at once, where that is quicker.

        What is not found so is found when it is written, or is not there.
        """
        if size >= WORTH_ALLOCATING and self.read_flags:  # tmpfs would clear the pages twice
            with contextlib.suppress(OSError):
                os.posix_fallocate(descriptor, 0, min(size, MOST_ALLOCATED))

    def sync_data(self, descriptor: int) -> None:
        """Blocks for the disk, unless the policy is `none`."""
        if self.fsync != "none":
            os.fdatasync(descriptor)

    def sync_name(self, path: str) -> None:
        """Blocks for the disk, if the policy is `full`."""
        if self.fsync == "full":
            descriptor = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def write(self, path: str, data: bytes, used: float) -> None:
        """A whole small file, last used at `used` (seconds since 1970); blocks for its bytes."""
        temporary = self.temporary()
        try:
            descriptor = self.create(temporary)
            try:
                write_all(descriptor, data)
                if abs(time.time() - used) > 1:  # else the kernel's own time is right
                    os.utime(descriptor, (used, used))
                self.sync_data(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
            self.sync_name(path)
        except OSError:
            self.discard(temporary)
            raise

    def errors(self) -> "Converting":
        """A block whose system errors become what clients understand."""
        return self._converting

    def converted(self, error: OSError) -> StatusError:
        if error.errno in FULL:
            return ResourceExhaustedError(
                f"the disk that holds {self.root} is full ({error.strerror}); free some space or "
                "give the store a smaller size"
            )
        return UnavailableError(
            f"the storage in {self.root} failed: {error.strerror}; look at its disk"
        )


class Converting:
    """Stateless, so one serves all blocks; a generator-based one costs 2 us a block."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError):
            raise self._folder.converted(error) from error


def _times_slept() -> int:
    """How often this thread has given the processor away to wait for something."""
    return resource.getrusage(OF_THREAD).ru_nvcsw


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """All of it, however little the kernel takes at once."""
    done = os.write(descriptor, data) if data else 0
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])


def remove(path: str) -> None:
    """Unlink what may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _read_flags(descriptor: int) -> int:
    """For preadv2(2), so that it does not wait for the disk; 0 where the file system cannot tell.

    tmpfs is one of those, and has nothing to wait for; with NFS small reads are waited for.
    """
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        return 0 if error.errno == errno.EOPNOTSUPP else os.RWF_NOWAIT
    return os.RWF_NOWAIT


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise UsageError(
            f"store directory {path.parent} is in use by process {owner or '?'}: stop it, or give "
            "this one another directory"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
