"""Which layers are unpacked and where: one small file for each, whose lock says who uses it.

Several processes share a cache. Who uses a layer holds its file's lock with others; who unpacks or
removes it holds it alone. Such a file stays, empty, when its layer goes: removing it would leave
two processes with a lock on different files of one name.

A record counts for the boot that it was written in: nothing is flushed to the disk before, which
would cost more than the unpacking.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

BOOT = "/proc/sys/kernel/random/boot_id"
MOST_BYTES = 4096


def this_boot() -> str:
    with open(BOOT) as file:
        return file.read().strip()


@dataclass(frozen=True, slots=True)
class Tree:
    """`name` is that of its directory."""

    name: str
    size_bytes: int


class Record:
    """An open record; closing it, or the end of this process, lets go of its lock."""

    def __init__(self, path: str, boot: str) -> None:
        self._boot = boot
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self._fd)

    def lock(self, *, alone: bool) -> bool:
        """Whether it is ours now."""
        how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(self._fd, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                return False
            raise
        return True

    @property
    def tree(self) -> Tree | None:
        """What it says; None for nothing, or of another boot."""
        try:
            found = json.loads(os.pread(self._fd, MOST_BYTES, 0) or b"{}")
            return Tree(found["tree"], found["size"]) if found["boot"] == self._boot else None
        except (ValueError, KeyError):
            return None

    @property
    def used(self) -> float:
        """When it was used last, in seconds of the wall clock."""
        return os.fstat(self._fd).st_mtime

    def write(self, tree: Tree | None) -> None:
        os.ftruncate(self._fd, 0)
        if tree is not None:
            found = {"tree": tree.name, "size": tree.size_bytes, "boot": self._boot}
            os.pwrite(self._fd, json.dumps(found).encode(), 0)

    def touch(self) -> None:
        os.utime(self._fd)


class Records:
    """Those of a directory, by the hex digits of the layers' chain ids."""

    def __init__(self, directory: str) -> None:
        self._directory, self._boot = directory, this_boot()

    def open(self, chain: str) -> Record:
        return Record(os.path.join(self._directory, chain), self._boot)

    def all(self) -> Iterator[tuple[str, Record]]:
        """Each is closed when the next is asked for."""
        for chain in sorted(os.listdir(self._directory)):
            record = self.open(chain)
            try:
                yield chain, record
            finally:
                record.close()
