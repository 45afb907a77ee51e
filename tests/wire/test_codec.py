"""Messages, header blocks and gRPC values: whole, byte by byte, and with a tail."""

import pytest
from hpack import Decoder, Encoder, HPACKError
from hpack.huffman_table import decode_huffman
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.wire import decoding, frames, grpc, hpacked, huffman
from builder.wire.frames import ConnectionFaultError, ErrorCode
from builder.wire.stream import MessageFaultError, Stream
from tests.wire.peers import message


def stream(limit: int = 1000) -> Stream:
    return Stream(1, 65535, 65535, limit)


@given(st.lists(st.binary(max_size=300), max_size=8), st.binary(max_size=4))
def test_messages_whole_byte_by_byte_and_with_a_tail(bodies: list[bytes], tail: bytes) -> None:
    """However the octets are cut, the same messages come out, and a tail waits."""
    data = b"".join(map(message, bodies)) + bytes(len(tail))
    assert stream().take_messages(data) == bodies
    assert stream().take_messages(memoryview(data)) == bodies
    slow = stream()
    assert [m for i in range(len(data)) for m in slow.take_messages(data[i : i + 1])] == bodies
    assert bool(slow.pieces) == bool(tail)


@given(st.binary(max_size=2000), st.data())
def test_messages_in_random_pieces(body: bytes, data: st.DataObject) -> None:
    """Pieces of any size join to the message."""
    whole = message(body) * 2
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=300)))
    parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    one = stream(limit=2000)
    assert [m for part in parts for m in one.take_messages(memoryview(part))] == [body, body]


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(MessageFaultError) as caught:
        stream().take_messages(b"\1\0\0\0\0")
    assert caught.value.code == 13


def test_a_large_message_is_refused_before_it_is_kept() -> None:
    with pytest.raises(MessageFaultError) as caught:
        stream(limit=10).take_messages(b"\0\0\0\0\x0b")
    assert caught.value.code == 8


def listed(headers: list, size: int) -> list:
    assert size == sum(len(name) + len(value) + 32 for name, value in headers)
    return headers


NAMES = st.sampled_from(
    [b":path", b"te", b"x", b"user-agent", b"content-type", b"a-bin", b"y" * 200]
)
VALUES = st.one_of(st.binary(max_size=20), st.just(b"trailers"), st.just(b"v" * 300), st.just(b"/"))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_our_blocks_decode_and_leave_the_table_alone(headers: list[tuple[bytes, bytes]]) -> None:
    """hpack reads what we encode, and its dynamic table stays empty."""
    decoder = Decoder()
    assert [tuple(h) for h in decoder.decode(hpacked.encode(headers), raw=True)] == headers
    assert not decoder.header_table.dynamic_entries


LISTS = st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=5), max_size=30)


@pytest.mark.no_cover
@given(LISTS, st.lists(st.integers(0, 400), max_size=3))
def test_the_memo_never_changes_what_a_block_means(lists, sizes: list[int]) -> None:
    """With a stateful encoder and table size changes, memo and plain decoder agree."""
    encoder, oracle = Encoder(), Decoder()
    memo = hpacked.HeaderMemo(listed, 1 << 20)
    for number, headers in enumerate([*lists, *lists]):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
        block = encoder.encode(headers)
        expected = oracle.decode(block, raw=True)
        assert memo.decode(block) == expected
        if block in memo.known:
            assert memo.decode(block) == oracle.decode(block, raw=True)


def test_the_memo_keeps_blocks_that_do_not_touch_the_table() -> None:
    encoder = Encoder()
    memo = hpacked.HeaderMemo(listed, 1000)
    first, again = (encoder.encode([("a", "b")]) for _ in range(2))
    memo.decode(first)
    assert first not in memo.known
    memo.decode(again)
    assert again in memo.known
    memo.decode(encoder.encode([("c", "d")]))
    assert not memo.known


def test_the_memo_is_bounded() -> None:
    memo = hpacked.HeaderMemo(listed, 100_000)
    for number in range(10_000):
        memo.decode(hpacked.encode([(b"n", b"%d" % number)]))
    memo.decode(hpacked.encode([(b"n", bytes(50_000))]))
    assert len(memo.known) <= hpacked.MEMO_ENTRIES
    assert max(map(len, memo.known)) <= hpacked.MEMO_BLOCK_BYTES


def test_an_hpack_bomb_ends_the_connection() -> None:
    """4 KiB in the table, named 10,000 times, are refused when the limit is reached."""
    bomb = b"\x40\x01a" + b"\x7f\x81\x1e" + b"v" * 3968 + b"\xbe" * 10_000
    memo = hpacked.HeaderMemo(listed, 64 * 1024)
    with pytest.raises(ConnectionFaultError) as caught:
        memo.decode(bomb)
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "block",
    [b"\xff", b"\xc0", b"\x80", b"\x40\x05a", b"\x3f\xff\xff\xff\x7f", b"\x40\x81\xff\x01a"],
)
def test_a_broken_block_ends_the_connection(block: bytes) -> None:
    """RFC 7541, 5 and 6: truncated, out of the table, too large a size update."""
    with pytest.raises(ConnectionFaultError) as caught:
        hpacked.HeaderMemo(listed, 1000).decode(block)
    assert caught.value.code == ErrorCode.COMPRESSION_ERROR


PARTS = st.one_of(
    st.binary(max_size=6),
    st.integers(0, 255).map(lambda n: bytes([n])),
    st.tuples(st.sampled_from([b"\x40", b"\0", b"\x10", b"\x44", b"\x0f\x10"]), VALUES, VALUES).map(
        lambda t: t[0] + hpacked.string(t[1]) + (hpacked.string(t[2]) if t[0] < b"\x44" else b"")
    ),
    st.binary(max_size=30).map(lambda raw: b"\x40\x01x" + bytes([0x80 | len(raw)]) + raw),
    st.text("abcxyz/ -0129", max_size=30).map(lambda text: Encoder().encode([("x", text)])),
)


@pytest.mark.no_cover
@settings(max_examples=500)
@given(st.lists(st.lists(PARTS, max_size=6).map(b"".join), max_size=4))
def test_random_blocks_decode_as_hpack_decodes_them(blocks: list[bytes]) -> None:
    """Block after block on one connection: the same fields, or both refuse."""
    oracle, ours = Decoder(5000), decoding.Decoder(5000)
    for block in blocks:
        try:
            expected = oracle.decode(block, raw=True)
        except (HPACKError, IndexError):
            with pytest.raises(ConnectionFaultError):
                ours.decode(block)
            return
        assert ours.decode(block) == expected
        assert ours._size == oracle.header_table._current_size


@given(st.binary(max_size=2000))
def test_any_text_survives_huffman(raw: bytes) -> None:
    assert huffman.decode(Encoder().huffman_coder.encode(raw)) == raw


PLAIN = st.text(
    "/+=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-:. ", max_size=99
)


@given(PLAIN.map(str.encode), st.binary(max_size=3), st.binary(max_size=3))
def test_long_strings_come_out_of_zlib_as_of_the_table(
    raw: bytes, middle: bytes, end: bytes
) -> None:
    """Octets whose codes DEFLATE does not have, octets that are changed, and too much padding."""
    encoded = Encoder().huffman_coder.encode(raw + middle + raw)
    assert huffman.decode(encoded) == huffman._by_table(encoded) == raw + middle + raw
    at = len(encoded) // 2
    for changed in (encoded + end, encoded[:at] + end + encoded[at:], encoded[:-1], end + encoded):
        try:
            expected = huffman._by_table(changed)
        except ConnectionFaultError:
            with pytest.raises(ConnectionFaultError):
                huffman.decode(changed)
        else:
            assert huffman.decode(changed) == expected


def test_padding_of_a_long_string() -> None:
    """Less than an octet of ones."""
    encoded = Encoder().huffman_coder.encode(b"a" * 24)  # 15 octets, all of them full
    assert huffman.decode(encoded) == b"a" * 24
    padded = Encoder().huffman_coder.encode(b"a" * 25)
    assert padded[-1] & 0b111 == 0b111
    for wrong in (encoded + b"\xff", padded + b"\xff", padded[:-1] + bytes((padded[-1] & ~1,))):
        with pytest.raises(ConnectionFaultError):
            huffman.decode(wrong)


@given(st.binary(max_size=8) | st.binary(min_size=huffman.LONG, max_size=60))
@example(b"\xff\xff\xff\xff\xff\x07")
@example(b"\xff\xff\xff\xff\x1f")
def test_huffman_refuses_what_hpack_refuses(raw: bytes) -> None:
    try:
        expected = decode_huffman(raw)
    except HPACKError:
        with pytest.raises(ConnectionFaultError):
            huffman.decode(raw)
    else:
        assert huffman.decode(raw) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1S", 1),
        ("99999999n", 0.099999999),
        ("2H", 7200),
        ("3M", 180),
        ("15m", 0.015),
        ("7u", 7e-6),
    ],
)
def test_timeouts(text: str, seconds: float) -> None:
    assert grpc.parse_timeout(text) == pytest.approx(seconds, rel=1e-6)


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", " 1S", "1S "])
def test_wrong_timeouts(text: str) -> None:
    with pytest.raises(ValueError, match="grpc-timeout"):
        grpc.parse_timeout(text)


@given(st.floats(0, 3e11))
def test_timeouts_round_up(seconds: float) -> None:
    """What is sent is never shorter than what was asked for, and hardly longer."""
    read = grpc.parse_timeout(grpc.format_timeout(seconds))
    assert seconds * (1 - 1e-9) <= read <= max(seconds * 1.001, 3600 + seconds)


@given(st.text(max_size=300))
def test_status_messages(text: str) -> None:
    """Any text survives; what is on the wire is printable ASCII."""
    raw = grpc.percent_encode(text)
    assert all(0x20 <= octet <= 0x7E for octet in raw)
    assert grpc.percent_decode(raw) == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("raw", [b"%", b"%zz", b"100%", b"%C3", b"%C3%28"])
def test_malformed_status_messages_are_kept(raw: bytes) -> None:
    assert grpc.percent_decode(raw)


@given(st.binary(max_size=100))
def test_binary_metadata(value: bytes) -> None:
    raw = grpc.encode_binary(value)
    assert b"=" not in raw
    padded = raw + b"=" * (-len(raw) % 4)
    assert grpc.decode_binary(raw) == grpc.decode_binary(padded) == value
    assert grpc.decode_binary(raw + b",QQ") == value


def test_broken_binary_metadata() -> None:
    with pytest.raises(ValueError, match="base64"):
        grpc.decode_binary(b"a$$$")


def test_large_blocks_are_continued() -> None:
    """RFC 9113, 6.10."""
    raw = frames.headers(3, bytes(range(256)) * 2, True, 200)
    assert [(raw[i], raw[i + 1]) for i in (3, 3 + 209, 3 + 418)] == [(1, 1), (9, 0), (9, 4)]
