"""Hot: Huffman strings (RFC 7541, 5.2 and appendix B), an octet at a time.

hpack's table takes half octets. Here its steps are joined in pairs, in two flat tables of 65,536
entries that are made when the first string comes (a few ms): 64 KiB of next states, and symbols
that are shared objects, so that the loop stays in the cache. 160 symbols take about 12 us.
"""

from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

from builder.wire.frames import ConnectionFaultError, ErrorCode

Symbols = list[bytes | None]  # None: no code begins like this

_symbols: Symbols = []
_states = bytearray()
_complete = bytearray()


def decode(data: bytes) -> bytes:
    """The octets behind a Huffman string. Raises ConnectionFaultError."""
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
