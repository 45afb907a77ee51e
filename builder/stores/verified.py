"""Which files were hashed, so that a blob that many read is not hashed for each of them.

Theory of operation. A file is known by its inode, size and modification time, as they were when its
bytes were found to be those of its digest: when it was written, or read whole. Another file, or one
that somebody wrote to, differs in these and is hashed again by whoever reads it whole. Damage that
the file system does not see differs in nothing; but each renewal of a blob's lease sets the
modification time, so the first whole read in each tick of the lease (a sixteenth of it, 11 minutes
by default) hashes it too, and whoever reads it later in that tick trusts that one. SHA-256 runs at
1.2 GB for a CPU second here, and everything else in a read at 1.5 (`python -m tests.bench wire`).
"""

import os
from collections import OrderedDict

Stamp = tuple[int, int, int]

MOST = 16_384  # files that are remembered, 6 MB; beyond it the one hashed first is not


def stamp_of(found: os.stat_result) -> Stamp:
    return found.st_ino, found.st_size, found.st_mtime_ns


class Verified:
    """Stamps of files by key."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._stamps: OrderedDict[str, Stamp] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stamps)

    def knows(self, key: str, found: os.stat_result) -> bool:
        """Whether this very file was hashed, and nobody has touched it since."""
        return self._stamps.get(key) == stamp_of(found)

    def add(self, key: str, found: os.stat_result) -> None:
        """Its bytes, read or written while it was as `found` says, are those of its digest."""
        self._stamps.pop(key, None)
        self._stamps[key] = stamp_of(found)
        if len(self._stamps) > self._most:
            self._stamps.popitem(last=False)

    def forget(self, key: str) -> None:
        self._stamps.pop(key, None)
