"""The auditor: writes down which names an audited action uses, as its supervisor is told of them.

Each name is written once for each use and program, some at a time; at the end the init asks for
the rest and for a last line, without which the record is not complete. What only looks is let go
on before it is written down: nobody can make or remove the name meanwhile, because that is a call
that waits for us.

A record is four texts, each ended by a NUL: use, whether it was there before, program, name. The
name is as the program has written it, but absolute; whoever reads the record makes it plain.

Every call that is told costs its program the time of `see`, and that of `keep`, which its next
call waits for: see `ratios.audit_full_gcc_overhead` of `python -m tests.bench sandbox`.
"""

# ruff: noqa: SIM105 - contextlib is not in the core that the helpers import

import _socket
import os

from builder.sandbox.kernel import notify, queries

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
AT_FDCWD = 0xFFFFFF9C
PATH_BYTES, MOST_PATHS = 4096, 256  # the longest, and what nearly all are shorter than
OPEN_MEMORIES = 8
TOGETHER = 64  # records are written at a time
MAX_RECORDS, MAX_BYTES = 200_000, 16 << 20  # what is beyond them is not written down
FAMILY_UNIX, FAMILY_V4, FAMILY_V6 = 1, 2, 10
Found = tuple[str, bytes, bytes]  # use, program, name
SHAPE_OF = {
    number: (name, *notify.SHAPES[name])
    for name, number in notify.NUMBERS.get(os.uname().machine, {}).items()
}


def starts(records: int, program: bytes) -> None:
    """The action's own program: a process that is just being made cannot be looked into."""
    name = os.path.basename(program)
    os.write(records, record(notify.EXECUTE, True, name, os.path.abspath(program)))


def record(use: str, there: bool, program: bytes, name: bytes) -> bytes:
    return b"\0".join((use.encode(), b"1" if there else b"0", program, name, b""))


class Records:
    """What is written down into a file. `known` is what has been; `blind`, that something is
    missing."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.known: set[Found] = set()
        self.blind = False
        self._rows: list[bytes] = []  # that are not written yet
        self._room = MAX_BYTES

    def add(self, found: Found, *, there: bool) -> None:
        use, program, name = found
        row = record(use, there, program, name)
        self._room -= len(row)
        if self._room < 0 or len(self.known) >= MAX_RECORDS:
            self.blind = True
            return
        self.known.add(found)
        self._rows.append(row)
        if len(self._rows) >= TOGETHER:
            self._write()

    def finish(self) -> None:
        """The rest, and the last line."""
        self._rows.append(record("blind" if self.blind else "end", True, b"", b""))
        self._write()

    def _write(self) -> None:
        os.write(self.file, b"".join(self._rows))
        self._rows.clear()


class Watcher:
    """Looks at one call after the other."""

    def __init__(self, records: int) -> None:
        self._records = Records(records)
        self._known = self._records.known
        self._programs: dict[int, bytes] = {}
        self._memories: dict[int, int] = {}  # of processes, the longest open first
        self._sighted = False
        self.finish = self._records.finish

    def unseen(self) -> None:
        """A call that could not be looked at: one of a process that is just being made by the
        init has the init's memory still."""
        self._records.blind = self._records.blind or self._sighted

    def see(self, note: notify.Note) -> "Found | None":
        """What is to be kept (`keep`) when the call may go on. Raises OSError when its process has
        died meanwhile, PermissionError as `unseen` says."""
        shape = SHAPE_OF.get(note.number)
        if shape is None:
            return None
        call, directory, place, use, flags = shape
        pid, arguments = note.pid, note.arguments
        if use == notify.SEND_TO:
            self._see_datagrams(note, call)
            return None
        if call in notify.MOVING:
            self._see_first(note, *notify.MOVING[call])
        if use in notify.OF_SOCKETS:
            raw = notify.memory_of(pid, arguments[place], min(arguments[2], 128))
            use, name = self._address(pid, use, raw)
        else:
            name = self._name(note, directory, place)
        self._sighted = True
        if use == notify.READ and flags is not None and self._writes(note, flags):
            use = notify.WRITE
        found = (use, self._programs.get(pid) or self._program(pid), name)
        if use == notify.EXECUTE:  # it is going to be another program, with a memory of its own
            self._programs.pop(pid, None)
            self._forget(pid)
        if not name or found in self._known:
            return None
        if use == notify.WRITE:
            self.keep(found)  # it may be there when the call has gone on
            return None
        return found

    def _see_datagrams(self, note: notify.Note, call: str) -> None:
        """Which hosts are asked for by name, and where they go."""
        where = [self._address(note.pid, notify.CONNECT, a)[1] for a in queries.sent_to(note, call)]
        for name in filter(None, (*queries.asked(note, call), *where)):
            self.keep((notify.CONNECT, self._program(note.pid), name))

    def _address(self, pid: int, use: str, raw: bytes) -> "tuple[str, bytes]":
        """Who binds a socket to a path makes a file, and to anything else nothing."""
        name = address_name(raw)
        path = name.removeprefix(b"unix:")
        if path != name and path[:1] not in (b"/", b"@"):
            path = absolute(pid, None, path)
            name = b"unix:" + path
        if use == notify.BIND:
            return notify.WRITE, path if path[:1] == b"/" else b""
        return use, name

    def _see_first(self, note: notify.Note, directory: "int | None", place: int, use: str) -> None:
        """Of a call with two names the other one."""
        name = self._name(note, directory, place)
        if name:
            self.keep((use, self._program(note.pid), name))

    def _name(self, note: notify.Note, directory: "int | None", place: int) -> bytes:
        name = self._text(note.pid, note.arguments[place])
        if name[:1] == b"/":
            return name
        at = None if directory is None else note.arguments[directory] & 0xFFFFFFFF
        return absolute(note.pid, at, name)

    def _text(self, pid: int, address: int) -> bytes:
        """What another process has there, up to a NUL. Its memory stays open, as most calls come
        from the process that made the last one; one that has been left reads as nothing."""
        fd, raw = self._memories.get(pid, -1), b""
        if fd >= 0:
            try:
                raw = os.pread(fd, MOST_PATHS, address)
            except OSError:
                pass  # it is not what it was
        if not raw:
            fd = self._opened(pid)
            raw = os.pread(fd, MOST_PATHS, address)
        text, end, _ = raw.partition(b"\0")
        return text if end else os.pread(fd, PATH_BYTES, address).partition(b"\0")[0]

    def _opened(self, pid: int) -> int:
        self._forget(pid)
        if len(self._memories) >= OPEN_MEMORIES:
            self._forget(next(iter(self._memories)))
        self._memories[pid] = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        return self._memories[pid]

    def _forget(self, pid: int) -> None:
        fd = self._memories.pop(pid, -1)
        if fd >= 0:
            os.close(fd)

    def _writes(self, note: notify.Note, flags: int) -> bool:
        value = note.arguments[flags]
        if SHAPE_OF[note.number][0] == "openat2":
            value = int.from_bytes(notify.memory_of(note.pid, value, 8), "little")
        return bool(value & WRITING)

    def _program(self, pid: int) -> bytes:
        if pid not in self._programs:
            fd = os.open(f"/proc/{pid}/comm", os.O_RDONLY | os.O_CLOEXEC)
            self._programs[pid] = os.read(fd, 64).strip()
            os.close(fd)
        return self._programs[pid]

    def keep(self, found: "Found") -> None:
        """Remember it to be written down, unless it is known."""
        if found in self._known or self._records.blind:
            return
        use, _, name = found
        if use == notify.CONNECT:
            # that to a socket which is not there is a look-up of it, as bash asks for nscd's
            path = name.removeprefix(b"unix:")
            there = not path.startswith(b"/") or os.path.lexists(path)
        else:
            there = os.access(name, os.F_OK, follow_symlinks=False)
        self._records.add(found, there=there)


def executed(note: notify.Note) -> bytes:
    """Which program a call executes; nothing for one by its descriptor. Raises OSError."""
    _, directory, place, _, _ = SHAPE_OF[note.number]
    raw = notify.memory_of(note.pid, note.arguments[place], PATH_BYTES).partition(b"\0")[0]
    at = None if directory is None else note.arguments[directory] & 0xFFFFFFFF
    return absolute(note.pid, at, raw)


def absolute(pid: int, directory: "int | None", path: bytes) -> bytes:
    """What a process calls by this path, as it has written it. Raises OSError."""
    if not path:
        return b""
    if not path.startswith(b"/"):
        where = "cwd" if directory in (None, AT_FDCWD) else f"fd/{directory}"
        path = os.readlink(f"/proc/{pid}/{where}".encode()) + b"/" + path
    return path


def address_name(raw: bytes) -> bytes:
    """A socket address for people: `10.0.0.1:80`, `[::1]:80`, `unix:/run/x`, `unix:@x`, where a NUL
    in an abstract name is an @, too. Nothing for other families: the kernel's own, and none."""
    family = int.from_bytes(raw[:2], "little")
    port = str(int.from_bytes(raw[2:4], "big")).encode()
    if family == FAMILY_V4:
        return b".".join(str(byte).encode() for byte in raw[4:8]) + b":" + port
    if family == FAMILY_V6:
        return (
            b"[" + _socket.inet_ntop(FAMILY_V6, raw[8:24].ljust(16, b"\0")).encode() + b"]:" + port
        )
    if family == FAMILY_UNIX:
        path = raw[2:]
        abstract = path[:1] == b"\0"
        return b"unix:" + (path.replace(b"\0", b"@") if abstract else path.partition(b"\0")[0])
    return b""
