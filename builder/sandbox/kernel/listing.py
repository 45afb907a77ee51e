"""Directories in the order of their names, whatever order their file system keeps them in.

That order is a hash with a secret of each disk on ext4, that of creation backwards on tmpfs, and a
program's output often follows it. getdents64(2) is a system call that no library can do
without, so a supervisor (`notify`) gives its result instead of the kernel: it lists the directory
anew, sorts, and hands out pieces.

What a descriptor has read so far is its offset, which only its owner can move. So the supervisor
puts a descriptor of its own in its place, of the same directory, whose offset both can move: it
says which listing is read, and how far. rewinddir(3) and seekdir(3) work as ever. A directory that
cannot be opened again, or whose file system takes no such offsets (/proc), is listed by the
kernel.
"""

import ctypes
import os

from builder.sandbox.kernel import notify
from builder.sandbox.kernel.syscalls import call

OURS, INDEX_BITS = 1 << 43, 24  # of an offset: below what any disk's file system takes
HEAD = 19  # bytes of a struct linux_dirent64 before the name
ALIGNMENT = 8
CHUNK = 32768
MOST_OPEN, MOST_NAMES = 64, 1 << 16
EFAULT, EINVAL = 14, 22
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
DOTS = (b".", b"..")

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterable

Entry = tuple[bytes, bytes, int]  # its name, the bytes of its inode number, its type


class TooManyError(Exception):
    """More names than are worth it."""


def parse(data: bytes) -> "Iterable[Entry]":
    """The entries in what getdents64 has filled in."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 16 : at + 18], "little")
        name = data[at + HEAD : at + size].partition(b"\0")[0]
        yield name, data[at : at + 8], data[at + 18]
        at += size


def in_order(entry: Entry) -> "tuple[bool, bytes]":
    return entry[0] not in DOTS, entry[0]


def listed(directory: int) -> "list[Entry]":
    """All entries, sorted: the two dots first. Raises OSError, TooManyError."""
    found: list[Entry] = []
    buffer = ctypes.create_string_buffer(CHUNK)
    while size := call("getdents64", directory, buffer, CHUNK):
        found += parse(buffer.raw[:size])
        if len(found) > MOST_NAMES:
            raise TooManyError
    return sorted(found, key=in_order)


def packed(entries: "list[Entry]", first: int, base: int, room: int) -> "tuple[bytes, int]":
    """As many entries from the `first` on as there is room for, and the index behind them."""
    out, index = bytearray(), first
    while index < len(entries):
        name, inode, kind = entries[index]
        size = -(-(HEAD + len(name) + 1) // ALIGNMENT) * ALIGNMENT
        if len(out) + size > room:
            break
        index += 1
        head = inode + (base | index).to_bytes(8, "little") + size.to_bytes(2, "little")
        out += (head + bytes((kind,)) + name).ljust(size, b"\0")
    return bytes(out), index


class Listings:
    """Answers getdents64 for the processes of one action."""

    def __init__(self, listener: int) -> None:
        self._listener = listener
        self._open: dict[int, tuple[int, list[Entry]]] = {}
        self._count = 0

    def answered(self, note: notify.Note) -> bool:
        """Whether it was; else the kernel may do it. Raises OSError when its process is gone."""
        theirs, room = note.arguments[0] & 0xFFFFFFFF, note.arguments[2] & 0xFFFFFFFF
        offset, flags = place_of(note.pid, theirs)
        if offset and offset // OURS != 1:
            return False  # the kernel has begun with it
        try:
            number, index = self._find(note.pid, theirs, offset)
        except TooManyError:
            return False
        ours, entries = self._open[number]
        base = OURS | number << INDEX_BITS
        data, behind = packed(entries, index, base, room)
        try:
            os.lseek(ours, base | behind, os.SEEK_SET)
            if offset != base | index:
                notify.replace_descriptor(self._listener, note, ours, theirs, flags)
        except OSError:
            self._forget(number)
            return False
        error = EINVAL if not data and index < len(entries) else 0
        try:
            notify.write_memory(note.pid, note.arguments[1], data)
        except OSError:
            data, error = b"", EFAULT
        if not data:
            self._forget(number)
        notify.answer(self._listener, note, len(data), error)
        return True

    def _find(self, pid: int, theirs: int, offset: int) -> "tuple[int, int]":
        """(which listing, how far it has been read); a new one where there is none."""
        number, index = (offset & (OURS - 1)) >> INDEX_BITS, offset & ((1 << INDEX_BITS) - 1)
        if offset and number in self._open:
            return number, index
        ours = os.open(f"/proc/{pid}/fd/{theirs}", DIRECTORY)
        try:
            entries = listed(ours)
        except (OSError, TooManyError):
            os.close(ours)
            raise
        while len(self._open) >= MOST_OPEN:
            self._forget(next(iter(self._open)))
        self._count = (self._count + 1) & ((OURS >> INDEX_BITS) - 1)
        self._open[self._count] = (ours, entries)
        return self._count, index

    def _forget(self, number: int) -> None:
        ours, _ = self._open.pop(number)
        os.close(ours)


def place_of(pid: int, fd: int) -> "tuple[int, int]":
    """The offset of a descriptor of another process, and whether exec closes it (as O_CLOEXEC).
    Raises OSError."""
    own = os.open(f"/proc/{pid}/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        words = os.read(own, 256).split()
    finally:
        os.close(own)
    return int(words[1]), int(words[3], 8) & os.O_CLOEXEC
