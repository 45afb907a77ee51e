"""Hot: the digests of a request, split where they stand on the wire.

FindMissingBlobs and BatchReadBlobs carry thousands of digests in field 2, all written alike: tag,
length, hash, size. Reading them through message objects costs 400 ns each, splitting them here
100 ns (`python -m tests.bench wire`, figures.find_missing_digests_per_s), and the pieces are what
an answer is made of. Every client's encoder writes fields in order and lengths in their shortest
form; whatever is written in another way is None here, and the caller parses the message. So
digests that are equal are written by equal bytes.

    12 44  0a 40 <64 digits>  10 <size>        an element; without `10` the size is 0
"""

import re
import struct
from binascii import unhexlify
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

TAG: Final = 0x12
SIZES: Final = (2, 3, 1, 4, 5, 6)  # bytes of a size's varint, the most frequent first; 4 TiB
HASH_AT: Final = 4  # where an element's digits begin
LENGTHS: Final = frozenset({32, 40, 64, 96})  # of hashes; longer ones need two bytes of length
HIGH: Final = bytes(range(0x80, 0x100))  # octets of a varint that goes on
UPPER: Final = (b"A", b"B", b"C", b"D", b"E", b"F")  # each is looked for at the speed of memory
ASCII: Final = "ascii"


class Split(NamedTuple):
    """`elements` are whole: tag and length too. `rest` are the fields after them."""

    instance: str
    elements: list[bytes]
    digits: int
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
    elements = _regular(data, start, digits) or _irregular(data, start, digits)
    if not elements:
        return None
    end = start + sum(map(len, elements))
    try:
        return Split(data[2:start].decode(), elements, digits, data[end:])
    except UnicodeDecodeError:
        return None


def _regular(data: bytes, start: int, digits: int) -> list[bytes]:
    """The elements, if all sizes are written in as many bytes; else none.

    They lie in a grid then, of which the columns are looked at, and not the rows.
    """
    width = data[start + 1] + 2
    size_at = HASH_AT + digits
    count = (len(data) - start) // width
    if not count or width not in (size_at, *range(size_at + 2, size_at + 2 + len(SIZES))):
        return []
    end = start + count * width
    if data[end : end + 1] == b"\x12":
        return []  # there is another one

    def column(at: int) -> bytes:
        return data[start + at : end : width]

    head = {0: TAG, 1: width - 2, 2: 0x0A, 3: digits}
    if width > size_at:
        head[size_at] = 0x10
        last = column(width - 1)
        if not last.isascii() or 0 in last:
            return []
    if any(column(at).count(octet) != count for at, octet in head.items()):
        return []
    if any(column(at).translate(None, HIGH) for at in range(size_at + 1, width - 1)):
        return []
    return [element for (element,) in struct.iter_unpack(f"{width}s", data[start:end])]


def _irregular(data: bytes, start: int, digits: int) -> list[bytes]:
    """The elements, whose sizes are of different lengths; none for what is something else."""
    elements = _pattern(digits).findall(data, start)
    if not data.startswith(b"".join(elements), start):
        return []  # something lies before or between them, which `findall` has skipped
    return elements


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
    end = HASH_AT + digits
    text = b"".join([element[HASH_AT:end] for element in elements])
    try:
        keys = unhexlify(text)
    except ValueError:
        return None
    return None if any(map(text.__contains__, UPPER)) else keys


def sizes_of(elements: Sequence[bytes], digits: int) -> list[int]:
    """Their sizes in bytes; most are varints of two."""
    at = HASH_AT + digits + 1
    usual = at + 2
    return [
        one[-2] & 0x7F | one[-1] << 7 if len(one) == usual else _size(one, at) for one in elements
    ]


def at_most(elements: Sequence[bytes], digits: int) -> int:
    """What no size of them is above; quicker than to look at each."""
    octets = max(map(len, elements), default=0) - HASH_AT - digits - 1
    return (1 << 7 * max(octets, 0)) - 1


def read(elements: Sequence[bytes], digits: int) -> list[Element]:
    """Hashes and sizes. Raises UnicodeDecodeError for a hash that is not ASCII."""
    end = HASH_AT + digits
    text = b"".join([element[HASH_AT:end] for element in elements]).decode(ASCII)
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
