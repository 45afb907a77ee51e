"""RFC 7541, appendix C: its examples, octet by octet; and the sizes of a table."""

import pytest

from builder.wire import decoding
from builder.wire.decoding import Decoder
from builder.wire.frames import ConnectionFaultError

WWW = (b":authority", b"www.example.com")
START = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
NO_CACHE = (b"cache-control", b"no-cache")
REQUESTS = [
    [*START, WWW],
    [*START, WWW, NO_CACHE],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        WWW,
        (b"custom-key", b"custom-value"),
    ],
]
PRIVATE = (b"cache-control", b"private")
DATES = [(b"date", b"Mon, 21 Oct 2013 20:13:%d GMT" % second) for second in (21, 22)]
LOCATION = (b"location", b"https://www.example.com")
COOKIE = b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
RESPONSES = [
    [(b":status", b"302"), PRIVATE, DATES[0], LOCATION],
    [(b":status", b"307"), PRIVATE, DATES[0], LOCATION],
    [
        (b":status", b"200"),
        PRIVATE,
        DATES[1],
        LOCATION,
        (b"content-encoding", b"gzip"),
        (b"set-cookie", COOKIE),
    ],
]
PLAIN = (
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
)
HUFFMAN = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
PLAIN_OF_256 = (  # the table has 256 octets there: a size update comes first here
    (
        "3fe101"
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e"
        "1768747470733a2f2f7777772e6578616d706c652e636f6d"
    ),
    "4803333037c1c0bf",
    (
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d"
        "4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b20766572"
        "73696f6e3d31"
    ),
)
HUFFMAN_OF_256 = (
    (
        "3fe101"
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97"
        "c8e9ae82ae43d3"
    ),
    "4883640effc1c0bf",
    (
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd"
        "5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ),
)


@pytest.mark.parametrize(
    ("blocks", "lists", "sizes"),
    [
        (PLAIN, REQUESTS, (57, 110, 164)),
        (HUFFMAN, REQUESTS, (57, 110, 164)),
        (PLAIN_OF_256, RESPONSES, (222, 222, 215)),
        (HUFFMAN_OF_256, RESPONSES, (222, 222, 215)),
    ],
)
def test_examples_of_the_rfc(
    blocks: tuple[str, ...], lists: list[list[tuple[bytes, bytes]]], sizes: tuple[int, ...]
) -> None:
    """C.3 to C.6: one connection each, and the sizes of its table, from which two evict."""
    decoder = Decoder(10_000)
    for block, fields, size in zip(blocks, lists, sizes, strict=True):
        assert decoder.decode(bytes.fromhex(block)) == fields
        assert decoder._size == size


@pytest.mark.parametrize(
    ("block", "field", "kept"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header", 55),
        ("040c2f73616d706c652f70617468", ":path: /sample/path", 0),
        ("100870617373776f726406736563726574", "password: secret", 0),
        ("82", ":method: GET", 0),
    ],
)
def test_representations_of_the_rfc(block: str, field: str, kept: int) -> None:
    """C.2: of the four kinds of fields, one is kept in the table."""
    decoder = Decoder(10_000)
    name, _, value = field.rpartition(": ")
    assert decoder.decode(bytes.fromhex(block)) == [(name.encode(), value.encode())]
    assert decoder._size == kept


@pytest.mark.parametrize(
    ("octets", "mask", "value"), [("0a", 0x1F, 10), ("1f9a0a", 0x1F, 1337), ("2a", 0xFF, 42)]
)
def test_integers_of_the_rfc(octets: str, mask: int, value: int) -> None:
    """C.1; and one that does not end is refused after a few octets."""
    raw = bytes.fromhex(octets)
    assert decoding._integer(raw, 0, mask) == (value, len(raw))
    with pytest.raises(ConnectionFaultError):
        decoding._integer(b"\xff" + b"\x80" * 10 + b"\x01", 0, mask)


def test_sizes_of_the_table() -> None:
    """4.2 to 4.4: smaller empties it from its oldest, an entry larger than all empties it, several
    sizes in a row hold each; but none after a field, nor above our setting."""
    decoder = Decoder(100_000)
    decoder.decode(b"\x40\x01a\x01b" * 3)  # 34 octets each
    assert decoder._size == 102
    decoder.decode(b"\x3f\x25")  # 68
    assert (decoder._size, len(decoder._entries)) == (68, 2)
    decoder.decode(b"\x20\x3f\xe1\x1f")  # 0, then 4096
    assert decoder._entries == []
    decoder.decode(b"\x40\x01a\x01b" + b"\x40\x01a\x7f\x81\x20" + bytes(4224))
    assert (decoder._size, decoder._entries) == (0, [])
    for wrong in (b"\x82\x20", b"\x3f\xe2\x1f"):
        with pytest.raises(ConnectionFaultError):
            decoder.decode(wrong)
