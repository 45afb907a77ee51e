"""Hot: the digests of a request, split where they stand on the wire.

FindMissingBlobs and BatchReadBlobs carry thousands of digests in field 2, all written alike: tag,
length, hash, size. Reading them through message objects costs 400 ns each, splitting them here
100 ns (`python -m tests.bench wire`, figures.find_missing_digests_per_s), and the pieces are what
an answer is made of. Where all sizes are written in as many bytes the digests lie in a grid; its
columns are read by one `unpack` for many rows, 50 ns a digest, and no row needs to be an object.
Every client's encoder writes fields in order and lengths in their shortest form; whatever is
written in another way is None here, and the caller parses the message. So digests that are equal
are written by equal bytes.

    12 44  0a 40 <64 digits>  10 <size>        an element; without `10` the size is 0
"""

import re
import struct
from binascii import unhexlify
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

TAG: Final = 0x12
SIZES: Final = (2, 3, 1, 4, 5, 6)  # bytes of a size's varint, the most frequent first; 4 TiB
HASH_AT: Final = 4  # where an element's digits begin
LENGTHS: Final = frozenset({32, 40, 64, 96})  # of hashes; longer ones need two bytes of length
HIGH: Final = bytes(range(0x80, 0x100))  # octets of a varint that goes on
UPPER: Final = (b"A", b"B", b"C", b"D", b"E", b"F")  # each is looked for at the speed of memory
ASCII: Final = "ascii"
SAMPLE: Final = 16
ROWS: Final = 512  # of a grid that are unpacked at once: their copies stay in a core's cache


class Grid:
    """Digests that are written in as many bytes each, joined."""

    __slots__ = ("_keys", "data", "digits", "width")

    def __init__(self, data: bytes, width: int, digits: int, keys: bytes = b"") -> None:
        self.data = data
        self.width = width  # octets of a row: an element, tag and length too
        self.digits = digits
        self._keys = keys

    def __len__(self) -> int:
        return len(self.data) // self.width

    def joined(self) -> bytes:
        return self.data

    def elements(self) -> list[bytes]:
        return _cells(self.data, self.width, 0, self.width)

    def sample(self) -> list[bytes]:
        """Some of the elements, from everywhere."""
        step = max(1, len(self) // SAMPLE) * self.width
        return [self.data[at : at + self.width] for at in range(0, len(self.data), step)]

    def at_most(self) -> int:
        """What no size of them is above; quicker than to look at each."""
        return _at_most(self.width, self.digits)

    def part(self, start: int, stop: int) -> "Grid":
        """These rows."""
        of_keys = self.digits // 2
        return Grid(
            self.data[start * self.width : stop * self.width],
            self.width,
            self.digits,
            self._keys[start * of_keys : stop * of_keys],
        )

    def keys(self) -> bytes | None:
        """As `keys_of`."""
        if not self._keys:
            size, found = ROWS * self.width, []
            for at in range(0, len(self.data), size):
                some = _cells(self.data[at : at + size], self.width, HASH_AT, self.digits)
                keys = _keys(b"".join(some))
                if keys is None:
                    return None
                found.append(keys)
            self._keys = b"".join(found)
        return self._keys


class Rows:
    """Digests that are written in any number of bytes each."""

    __slots__ = ("_elements", "digits")

    def __init__(self, elements: list[bytes], digits: int) -> None:
        self._elements = elements
        self.digits = digits

    def __len__(self) -> int:
        return len(self._elements)

    def joined(self) -> bytes:
        return b"".join(self._elements)

    def elements(self) -> list[bytes]:
        return self._elements

    def at_most(self) -> int:
        """As `Grid.at_most`."""
        return _at_most(max(map(len, self._elements), default=0), self.digits)

    def part(self, start: int, stop: int) -> "Rows":
        """These of them."""
        return Rows(self._elements[start:stop], self.digits)

    def keys(self) -> bytes | None:
        """As `keys_of`."""
        return keys_of(self._elements, self.digits)


class Split(NamedTuple):
    """What is `asked` for, and the fields after it."""

    instance: str
    asked: Grid | Rows
    rest: bytes


class Element(NamedTuple):
    """A digest of a request, and how it was written there."""

    hash: str
    size_bytes: int
    element: bytes


def split(data: bytes) -> Split | None:
    """The request's digests; None: parse the message.

    What is returned is what the message says, except that nobody has looked at the digits.
    """
    start = 0
    if data[:1] == b"\x0a" and len(data) > 1 and data[1] < 0x80:
        start = 2 + data[1]
    if len(data) < start + HASH_AT or data[start] != TAG or data[start + 2] != 0x0A:
        return None
    digits = data[start + 3]
    if digits not in LENGTHS:
        return None
    asked = _regular(data, start, digits) or _irregular(data, start, digits)
    if not asked:
        return None
    try:
        return Split(data[2:start].decode(), asked, data[start + len(asked.joined()) :])
    except UnicodeDecodeError:
        return None


def _regular(data: bytes, start: int, digits: int) -> Grid | None:
    """The elements, if all sizes are written in as many bytes; only columns are looked at."""
    width = data[start + 1] + 2
    size_at = HASH_AT + digits
    count = (len(data) - start) // width
    if not count or width not in (size_at, *range(size_at + 2, size_at + 2 + len(SIZES))):
        return None
    end = start + count * width
    if data[end : end + 1] == b"\x12":
        return None  # there is another one

    def column(at: int) -> bytes:
        return data[start + at : end : width]

    head = {0: TAG, 1: width - 2, 2: 0x0A, 3: digits}
    if width > size_at:
        head[size_at] = 0x10
        last = column(width - 1)
        if not last.isascii() or 0 in last:
            return None
    if any(column(at).count(octet) != count for at, octet in head.items()):
        return None
    if any(column(at).translate(None, HIGH) for at in range(size_at + 1, width - 1)):
        return None
    return Grid(data[start:end], width, digits)


def _cells(data: bytes, width: int, at: int, size: int) -> list[bytes]:
    """Of each row of so many octets those `size` from `at`."""
    many, one = _cell(width, at, size, ROWS), _cell(width, at, size, 1)
    end = len(data) // many.size * many.size
    cells = list(chain.from_iterable(many.iter_unpack(memoryview(data)[:end])))
    cells += chain.from_iterable(one.iter_unpack(memoryview(data)[end:]))
    return cells


@lru_cache(64)
def _cell(width: int, at: int, size: int, rows: int) -> struct.Struct:
    return struct.Struct(f"{at}x{size}s{width - at - size}x" * rows)


def _irregular(data: bytes, start: int, digits: int) -> Rows | None:
    """The elements, whose sizes are of different lengths; none for what is something else."""
    rows = Rows(_pattern(digits).findall(data, start), digits)
    if not data.startswith(rows.joined(), start):
        return None  # something lies before or between them, which `findall` has skipped
    return rows


@cache
def _pattern(digits: int) -> re.Pattern[bytes]:
    """Elements whose hash has so many digits, one alternative for each length of the size."""
    head = b"\\x0a" + re.escape(bytes((digits,))) + b".{%d}" % digits
    forms = []
    for size in SIZES:
        length = re.escape(bytes((digits + 3 + size,)))
        varint = b"[\\x80-\\xff]" * (size - 1) + b"[\\x01-\\x7f]"
        forms.append(length + head + b"\\x10" + varint)
    forms.append(re.escape(bytes((digits + 2,))) + head)
    return re.compile(b"\\x12(?:" + b"|".join(forms) + b")", re.DOTALL)


def keys_of(elements: Sequence[bytes], digits: int) -> bytes | None:
    """The hashes as bytes, joined; None unless all are lower-case hex."""
    return _keys(b"".join(map(_hash_of(digits), elements)))


@cache
def _hash_of(digits: int) -> Callable[[bytes], bytes]:
    """Takes an element's hash; an expression with a slice in it is half as fast."""
    return itemgetter(slice(HASH_AT, HASH_AT + digits))


def _keys(text: bytes) -> bytes | None:
    try:
        keys = unhexlify(text)
    except ValueError:
        return None
    return None if any(map(text.__contains__, UPPER)) else keys


def are_distinct(keys: bytes, digits: int) -> bool:
    """Whether no hash of the joined ones is there twice: surely not, if this is true."""
    width = digits // 2
    unit, size = ("Q", 8) if width % 8 == 0 else ("I", 4)
    heads = memoryview(keys).cast(unit)[:: width // size]  # type: ignore[call-overload]  # typeshed knows literals only
    return len(set(heads)) == len(heads)


def sizes_of(elements: Sequence[bytes], digits: int) -> list[int]:
    """Their sizes in bytes; most are varints of two."""
    at = HASH_AT + digits + 1
    usual = at + 2
    return [
        one[-2] & 0x7F | one[-1] << 7 if len(one) == usual else _size(one, at) for one in elements
    ]


def _at_most(width: int, digits: int) -> int:
    """What the size of an element of so many octets cannot be above."""
    return (1 << 7 * max(width - HASH_AT - digits - 1, 0)) - 1


def read(elements: Sequence[bytes], digits: int) -> list[Element]:
    """Hashes and sizes. Raises UnicodeDecodeError for a hash that is not ASCII."""
    text = b"".join(map(_hash_of(digits), elements)).decode(ASCII)
    hashes = [text[at : at + digits] for at in range(0, len(text), digits)]
    sizes = sizes_of(elements, digits)
    return list(map(Element._make, zip(hashes, sizes, elements, strict=True)))


def _size(element: bytes, at: int) -> int:
    """The varint that begins there and ends with the element."""
    size = 0
    for octet in reversed(element[at:]):
        size = size << 7 | octet & 0x7F
    return size


def number_field(rest: bytes, number: int) -> int | None:
    """The value of the one field that `rest` has, if it is this one and small; 0 for no field."""
    if not rest:
        return 0
    if len(rest) == 2 and rest[0] == number << 3 and rest[1] < 0x80:
        return rest[1]
    return None
