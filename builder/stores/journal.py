"""What the segments themselves do not say: leases that were renewed, and blobs that were lost.

One file `journal-{number}` at a time, appended to; a checkpoint begins the next and removes those
before. A line that a kill cut short is the last one and counts for nothing. What a full disk does
not take is kept and tried again with the next: a call that renews does not fail for it.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from builder.stores.folder import remove, write_all
from builder.stores.segment import WIDTHS

LINE = struct.Struct("<BBIQ")
RENEWED, DROPPED = 1, 2
KEPT = 1 << 24  # bytes at most that wait for the disk


class Line(NamedTuple):
    """`what` happened to the blob `key` of function number `function`, which lay at `place`."""

    what: int
    function: int
    used: int
    place: int
    key: bytes


class Journal:
    """`root` need not be there until something is added."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._descriptor = -1
        self._waiting: list[bytes] = []
        self._size = 0
        self.number = 0

    def add(self, what: int, function: int, used: int, place: int, key: bytes) -> None:
        self._waiting.append(LINE.pack(what, function, used, place) + key)

    def flush(self) -> bool:
        """Write down what was added; False when the disk does not take it now."""
        if not self._waiting:
            return True
        data = b"".join(self._waiting)
        try:
            if self._descriptor < 0:
                self._open()
            write_all(self._descriptor, data)
        except OSError:
            if self._descriptor >= 0:
                with contextlib.suppress(OSError):  # half a line would hide those after it
                    os.ftruncate(self._descriptor, self._size)
            self._waiting = [data] if len(data) <= KEPT else []
            return False
        self._size += len(data)
        self._waiting.clear()
        return True

    def turn(self) -> int:
        """Begin the next file; its number. Raises OSError."""
        self.flush()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.number += 1
        return self.number

    def forget(self, before: int) -> None:
        """Remove the files that a checkpoint has made needless."""
        for number in numbers(self._root):
            if number < before:
                remove(f"{self._root}/journal-{number}")

    def close(self) -> None:
        self.flush()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        path = f"{self._root}/journal-{self.number}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size


def numbers(root: str) -> list[int]:
    """The journals that are there, oldest first."""
    names = (name.removeprefix("journal-") for name in os.listdir(root) if "journal-" in name)
    return sorted(int(name) for name in names if name.isdigit())


def lines(root: str, number: int) -> Iterator[Line]:
    """What a journal says. Raises OSError."""
    with open(f"{root}/journal-{number}", "rb") as file:
        data = file.read()
    at = 0
    while len(data) - at >= LINE.size:
        what, function, used, place = LINE.unpack_from(data, at)
        if what not in (RENEWED, DROPPED) or function >= len(WIDTHS):
            return
        end = at + LINE.size + WIDTHS[function]
        if end > len(data):
            return
        yield Line(what, function, used, place, data[at + LINE.size : end])
        at = end
