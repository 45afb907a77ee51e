"""Header blocks: a memo in front of the decoder, and an encoder that has no state.

Decoding. A client repeats itself: once its dynamic table holds its headers, each call's block is
the same dozen octets. The memo maps such a block to what we made of it the first time. It is
valid as long as the dynamic table is the one that the block was decoded with, so a block that
changes the table is never kept, and empties the memo.

Encoding. All blocks are literals without indexing (RFC 7541, 6.2.2) and indexed fields of the
static table: they never touch the dynamic table, so they can be encoded once and sent for ever,
in any order, on any connection.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from hpack.hpack import encode_integer
from hpack.table import HeaderTable

from builder.wire.decoding import Decoder

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]

MEMO_ENTRIES = 128
MEMO_BLOCK_BYTES = 2048


class HeaderMemo(Generic[T]):
    """Turns header blocks into values of type T by `build`, remembering what it may.

    `build` gets the fields and their size; of a list larger than `keep` only the first of them.
    `hard_limit` bounds the decoded list: more than that ends the connection, because decoding
    stops in the middle and the table is lost.
    """

    __slots__ = ("_build", "_decoder", "known")

    def __init__(
        self, build: Callable[[Headers, int], T], hard_limit: int, keep: int | None = None
    ) -> None:
        self.known: dict[bytes, T] = {}
        self._build = build
        self._decoder = Decoder(hard_limit, keep)

    def decode(self, block: bytes) -> T:
        """What this block means. Raises ConnectionFaultError when it cannot be decoded."""
        known = self.known
        found = known.get(block)
        if found is not None:
            return found
        decoder = self._decoder
        version = decoder.version
        headers = decoder.decode(block)
        made = self._build(headers, decoder.list_size)
        if decoder.version != version:
            known.clear()
        elif len(block) <= MEMO_BLOCK_BYTES:
            if len(known) >= MEMO_ENTRIES:
                known.clear()
            known[block] = made
        return made


def encode(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A header block that leaves every dynamic table as it is."""
    return b"".join(encode_field(name, value) for name, value in headers)


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field: indexed if the static table has it, else a literal that is not indexed."""
    index, values = HeaderTable.STATIC_TABLE_MAPPING.get(name, (0, {}))
    if value in values:
        return bytes([0x80 | values[value]])  # the static table has 61 entries: one octet
    head = bytes(encode_integer(index, 4)) if index else b"\0" + string(name)
    return head + string(value)


def string(value: bytes) -> bytes:
    """A string literal without Huffman coding (RFC 7541, 5.2)."""
    return bytes(encode_integer(len(value), 7)) + value
