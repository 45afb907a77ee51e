"""Hot: Huffman strings (RFC 7541, 5.2 and appendix B): long ones by zlib, others by a table.

HPACK's code is canonical, and so is each code of a DEFLATE block (RFC 1951, 3.2.2 and 3.2.7). A
decompressor that has read the head of a block with HPACK's lengths decodes its strings, once the
bits of each octet are turned round. DEFLATE has no codes above 15 bits: where those of rare octets
begin, a block ends, and the string is left to the table, as is all that does not come out to the
last bit. 225 symbols take 4 us, and 18 by the table (`python -m tests.bench wire`,
figures.varying_cpu_us).

hpack's table takes half octets. Here its steps are joined in pairs, in two flat tables of 65,536
entries that are made when the first string comes (a few ms): 64 KiB of next states, and symbols
that are shared objects, so that the loop stays in the cache.
"""

import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, Protocol

from hpack.huffman_constants import REQUEST_CODES_LENGTH
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

from builder.wire.frames import ConnectionFaultError, ErrorCode

LONG: Final = 12  # octets from which on zlib is quicker
SHORTEST: Final = 5  # bits of a code
LONGEST: Final = 15  # bits of a code of DEFLATE
ORDER: Final = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)  # RFC 1951, 3.2.7
TURNED: Final = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))
LENGTHS: Final = bytes(REQUEST_CODES_LENGTH[:256])  # bits of each octet's code

Symbols = list[bytes | None]  # None: no code begins like this

_symbols: Symbols = []
_states = bytearray()
_complete = bytearray()


def decode(data: bytes) -> bytes:
    """The octets behind a Huffman string. Raises ConnectionFaultError."""
    if len(data) >= LONG:
        inflater = _inflater().copy()
        found = inflater.decompress(data.translate(TURNED), len(data) * 8 // SHORTEST + 1)
        padding = len(data) * 8 - sum(found.translate(LENGTHS))
        if 0 <= padding < 8 and not ~data[-1] & (1 << padding) - 1:
            return found
    return _by_table(data)


class _Inflater(Protocol):
    def copy(self) -> "_Inflater": ...

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes: ...


@cache
def _inflater() -> _Inflater:
    """One that expects symbols of HPACK's code."""
    bits = [*_head([length if length <= LONGEST else 0 for length in LENGTHS])]
    octets = (bits[at : at + 8] for at in range(0, len(bits), 8))
    made = zlib.decompressobj(-9)
    made.decompress(bytes(int("".join(map(str, octet[::-1])), 2) for octet in octets))
    return made


def _head(lengths: Sequence[int]) -> Iterator[int]:
    """The bits before the symbols of a last block with these lengths of codes, and with that of
    the one that ends a block; whole octets, by three empty blocks before it."""
    yield from (0, 1, 0, *(0,) * 7) * 3
    yield from (1, *_bits(2, 2), *_bits(0, 5), *_bits(0, 5), *_bits(len(ORDER) - 4, 4))
    for symbol in ORDER:  # a length is written as it is, in four bits
        yield from _bits(4 if symbol < 16 else 0, 3)
    for length in (*lengths, LONGEST, 0):  # the last is of distances, of which there are none
        yield from reversed(_bits(length, 4))


def _bits(value: int, count: int) -> list[int]:
    """The lowest first."""
    return [value >> at & 1 for at in range(count)]


def _by_table(data: bytes) -> bytes:
    if not data:
        return b""
    if not _symbols:
        _make_tables()
    symbols, states = _symbols, _states
    out = []
    state = key = 0
    for octet in data:
        key = state << 8 | octet
        out.append(symbols[key])
        state = states[key]
    if not _complete[key]:
        raise ConnectionFaultError(
            ErrorCode.COMPRESSION_ERROR, "a Huffman string ends inside a code"
        )
    try:
        return b"".join(out)  # type: ignore[arg-type]  # None is what the except is for
    except TypeError:
        raise ConnectionFaultError(
            ErrorCode.COMPRESSION_ERROR, "a Huffman string holds no code of the table"
        ) from None


def _half(entry: tuple[int, int, int]) -> bytes | None:
    """What half an octet emits."""
    _, flags, symbol = entry
    if flags & HUFFMAN_FAIL:
        return None
    return bytes((symbol,)) if flags & HUFFMAN_EMIT_SYMBOL else b""


def _make_tables() -> None:
    count = len(HUFFMAN_TABLE) // 16
    rows = [HUFFMAN_TABLE[state * 16 : state * 16 + 16] for state in range(count)]
    halves = [[_half(entry) for entry in row] for row in rows]
    states = [bytes(state for state, _, _ in row) for row in rows]
    complete = [bytes(flags & HUFFMAN_COMPLETE for _, flags, _ in row) for row in rows]
    made: Symbols = []
    for row, emitted in zip(rows, halves, strict=True):
        for (middle, _, _), first in zip(row, emitted, strict=True):
            made += _pairs(first, halves[middle])
            _states.extend(states[middle])
            _complete.extend(complete[middle])
    _symbols.extend(made)


def _pairs(first: bytes | None, seconds: Symbols) -> Symbols:
    if first is None:
        return [None] * 16
    if not first:
        return seconds
    return [None if second is None else first + second for second in seconds]
