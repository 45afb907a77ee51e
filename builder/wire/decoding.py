"""Hot: HPACK decoding (RFC 7541), lean. A block of ten fields of which one is new, as real clients
send for each call (Bazel's deadlines and request metadata), costs 11 us, a third of it for the
Huffman code; hpack's own decoder takes eight times as long. The whole call: `python -m tests.bench
wire`, figures.varying_cpu_us.

Static table and Huffman code are hpack's; tests compare every result with its decoder.
"""

from typing import Final

from hpack.table import HeaderTable

from builder.wire import huffman
from builder.wire.frames import ConnectionFaultError, ErrorCode

Field = tuple[bytes, bytes]

STATIC: Final[list[Field]] = [(b"", b""), *HeaderTable.STATIC_TABLE]
FIRST_DYNAMIC: Final = 62
OVERHEAD: Final = 32  # RFC 7541, 4.1
TABLE_OCTETS: Final = 4096  # SETTINGS_HEADER_TABLE_SIZE; we never say another
LONGEST_INTEGER: Final = 5  # octets after the prefix


def _fault(text: str) -> ConnectionFaultError:
    return ConnectionFaultError(ErrorCode.COMPRESSION_ERROR, f"header block: {text}")


class Decoder:
    """The decoding half of one connection. `limit` is the size of a list that ends it.

    Of a list larger than `keep` the fields beyond it are dropped, while the table takes part: the
    call is refused, and the connection goes on. `version` changes with the dynamic table;
    `list_size` is that of the last list, counted as RFC 9113, 6.5.2 does.
    """

    __slots__ = ("_entries", "_keep", "_limit", "_max_size", "_size", "list_size", "version")

    def __init__(self, limit: int, keep: int | None = None) -> None:
        self._limit = limit
        self._keep = limit if keep is None else keep
        self._entries: list[Field] = []  # the newest is the last
        self._size = 0
        self._max_size = TABLE_OCTETS
        self.list_size = 0
        self.version = 0

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block. Raises ConnectionFaultError: the table is lost then."""
        fields: list[Field] = []
        at, end, total = 0, len(block), 0
        try:
            while at < end:
                octet = block[at]
                if octet > 0x80 and octet != 0xFF:
                    at += 1
                    field = self._lookup(octet & 0x7F)
                elif octet >= 0x80:
                    index, at = _integer(block, at, 0x7F)
                    field = self._lookup(index)
                elif octet & 0xE0 == 0x20:
                    at = self._resize(block, at, total > 0)
                    continue
                else:
                    field, at = self._literal(block, at, octet)
                total += len(field[0]) + len(field[1]) + OVERHEAD
                if total <= self._keep:
                    fields.append(field)
                elif total > self._limit:
                    raise ConnectionFaultError(
                        ErrorCode.ENHANCE_YOUR_CALM,
                        f"header list larger than {self._limit} bytes",
                        "max_header_list",
                    )
        except IndexError:
            raise _fault("it ends inside a field") from None
        self.list_size = total
        return fields

    def _lookup(self, index: int) -> Field:
        if index < FIRST_DYNAMIC:
            if index:
                return STATIC[index]
        elif index - FIRST_DYNAMIC < len(self._entries):
            return self._entries[FIRST_DYNAMIC - 1 - index]
        raise _fault(f"index {index} is not in the table")

    def _literal(self, block: bytes, at: int, octet: int) -> tuple[Field, int]:
        """RFC 7541, 6.2: a name by index or as a string, then the value."""
        mask = 0x3F if octet & 0x40 else 0x0F
        index = octet & mask
        if index == mask:
            index, at = _integer(block, at, mask)
        else:
            at += 1
        if index:
            name = self._lookup(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        field = (name, value)
        if octet & 0x40:
            self._insert(field)
        return field, at

    def _insert(self, field: Field) -> None:
        self.version += 1
        self._size += len(field[0]) + len(field[1]) + OVERHEAD
        self._entries.append(field)
        if self._size > self._max_size:
            self._evict()

    def _evict(self) -> None:
        """RFC 7541, 4.4: an entry larger than the table empties it."""
        entries, drop = self._entries, 0
        while self._size > self._max_size:
            name, value = entries[drop]
            self._size -= len(name) + len(value) + OVERHEAD
            drop += 1
        del entries[:drop]

    def _resize(self, block: bytes, at: int, late: bool) -> int:
        """RFC 7541, 6.3 and 4.2: only before the first field, and not above our setting."""
        size, at = _integer(block, at, 0x1F)
        if late:
            raise _fault("a table size update after the first field")
        if size > TABLE_OCTETS:
            raise _fault(f"a table size of {size} is above the {TABLE_OCTETS} that we allow")
        if size != self._max_size:
            self.version += 1
            self._max_size = size
            self._evict()
        return at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """RFC 7541, 5.1; returns the value and where the next octet is."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 7 * LONGEST_INTEGER, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise _fault("an integer is too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """RFC 7541, 5.2."""
    octet = block[at]
    size = octet & 0x7F
    if size == 0x7F:
        size, at = _integer(block, at, 0x7F)
    else:
        at += 1
    stop = at + size
    if stop > len(block):
        raise _fault("a string is longer than its block")
    raw = block[at:stop]
    return (huffman.decode(raw) if octet & 0x80 else raw), stop
