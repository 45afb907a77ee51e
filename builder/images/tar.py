"""Tar archives as layers are made of: ustar, with the extensions of GNU and of pax.

    header (512 bytes) | body, padded to 512 | header | ...   two empty blocks, or the end

The standard library's reader keeps what it has read and takes headers of any size, which a hostile
layer makes use of. This one reads forward only, holds one entry at a time, and bounds what it
holds. Sparse files are refused: a few bytes of them stand for any size.

Sources: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual,
"Basic Tar Format".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from builder.images.errors import HostileLayerError

BLOCK = 512
PIECE = 1 << 20
MOST_EXTENDED = 1 << 20  # bytes of the headers that extend one entry
USTAR = b"ustar\0"
XATTR = "SCHILY.xattr."
SPARSE = "GNU.sparse."
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"
NS = 1_000_000_000
LATEST_S = 1 << 36


class Kind(Enum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symbolic link"
    HARD_LINK = "hard link"
    DEVICE = "device"
    FIFO = "named pipe"


KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.DEVICE,
    b"4": Kind.DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Names are text with bytes that are no UTF-8 escaped, as the file system takes them."""

    name: str
    kind: Kind
    mode: int = 0o644
    size: int = 0
    mtime_ns: int = 0
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass(slots=True)
class _Extended:
    """What the headers before an entry's own say of it."""

    name: str | None = None
    target: str | None = None
    records: dict[str, bytes] | None = None
    size: int = 0

    def number(self, key: str, otherwise: int) -> int:
        value = (self.records or {}).get(key)
        if value is None:
            return otherwise
        if not value.isdigit() or len(value) > 18:
            raise HostileLayerError(f"a pax header says {key}={value[:40]!r}")
        return int(value)

    def text(self, key: str, otherwise: str) -> str:
        value = (self.records or {}).get(key)
        return otherwise if value is None else _text(value)


class TarReader:
    """`read(n)` gives n bytes, and fewer at the end only."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._body = self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        """The entries in their order; the body of one can be read until the next is asked for.

        Raises HostileLayerError for what is no tar archive.
        """
        while (entry := self._next()) is not None:
            yield entry

    def body(self) -> Iterator[bytes]:
        """The bytes of the entry that was given last, in pieces."""
        while self._body:
            piece = self._read(min(PIECE, self._body))
            if not piece:
                raise HostileLayerError("the archive ends in the middle of a file")
            self._body -= len(piece)
            yield piece

    def _next(self) -> Entry | None:
        extended = _Extended()
        while True:
            for _ in self.body():
                pass
            self._exactly(self._padding)
            self._padding = 0
            header = self._read(BLOCK)
            if not header.strip(b"\0"):  # an empty block, or nothing more
                return None
            size = _checked(header)
            kind = header[156:157]
            if kind not in (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL):
                return self._entry(header, kind, size, extended)
            extended.size += size
            if extended.size > MOST_EXTENDED:
                raise HostileLayerError(f"the headers of one entry have over {MOST_EXTENDED} bytes")
            data = self._exactly(size)
            self._exactly(-size % BLOCK)
            _extend(extended, kind, data)

    def _entry(self, header: bytes, kind: bytes, size: int, extended: _Extended) -> Entry:
        if kind not in KINDS:
            raise HostileLayerError(f"an entry of type {kind!r}, which no layer has")
        name = header[:100]
        if header[257:263] == USTAR and header[345] != 0:
            name = _field(header[345:500]) + b"/" + _field(name)
        told = extended.text("path", extended.name or _text(_field(name)))
        what = KINDS[kind]
        if what is Kind.FILE and told.endswith("/"):  # as before POSIX
            what = Kind.DIRECTORY
        size = extended.number("size", size)
        if what is Kind.FILE:
            self._body, self._padding = size, -size % BLOCK
        elif what is Kind.DIRECTORY:
            size = 0  # some write one, and nothing after it
        link = extended.text("linkpath", extended.target or _text(_field(header[157:257])))
        return Entry(
            told,
            what,
            _number(header[100:108]),
            size if what is Kind.FILE else 0,
            _time(extended, header),
            link,
            _xattrs(extended.records or {}),
        )

    def _exactly(self, size: int) -> bytes:
        data = self._read(size) if size else b""
        if len(data) != size:
            raise HostileLayerError("the archive ends in the middle of an entry")
        return data


def _checked(header: bytes) -> int:
    """The size that a header says. Raises HostileLayerError for one whose checksum is wrong."""
    if len(header) != BLOCK:
        raise HostileLayerError("the archive ends in the middle of a header")
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if _number(header[148:156]) != total:
        raise HostileLayerError("the checksum of a header is wrong: this is no tar archive")
    return _number(header[124:136])


def _number(field: bytes) -> int:
    """Octal digits, or the bytes of the number itself (GNU's base 256)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        value = int(field.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        raise HostileLayerError(f"a header says {field!r} for a number") from None
    if value < 0:
        raise HostileLayerError(f"a header says {field!r} for a number")
    return value


def _time(extended: _Extended, header: bytes) -> int:
    """In nanoseconds; what nobody's clock can have said counts as 0."""
    value = (extended.records or {}).get("mtime")
    if value is None:
        told = _number(header[136:148]) if header[136] != 0xFF else 0
        return told * NS if told < LATEST_S else 0
    seconds, _, part = value.partition(b".")
    if not seconds.isdigit() or len(seconds) > 11 or (part and not part.isdigit()):
        return 0
    return int(seconds) * NS + int(part[:9].ljust(9, b"0") or b"0")


def _field(data: bytes) -> bytes:
    return data.split(b"\0", 1)[0]


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _extend(extended: _Extended, kind: bytes, data: bytes) -> None:
    if kind == LONG_NAME:
        extended.name = _text(_field(data))
    elif kind == LONG_LINK:
        extended.target = _text(_field(data))
    elif kind == PAX:
        extended.records = {**(extended.records or {}), **dict(_records(data))}


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """`LENGTH KEY=VALUE` and a line feed, LENGTH counting all of it."""
    while data:
        digits, _, _ = data[:20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record, end = data[len(digits) + 1 : length - 1], data[length - 1 : length]
        key, sign, value = record.partition(b"=")
        if not sign or end != b"\n":
            raise HostileLayerError("a pax header is malformed")
        name = _text(key)
        if name.startswith(SPARSE):
            raise HostileLayerError("a sparse file: write the layer without them")
        yield name, value
        data = data[length:]


def _xattrs(records: dict[str, bytes]) -> tuple[tuple[str, bytes], ...]:
    found = records.items()
    return tuple((key.removeprefix(XATTR), value) for key, value in found if key.startswith(XATTR))
