"""Names in queries to the domain name system."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.sandbox.kernel.queries import question


def query(name: str, flags: int = 0x0100, counts: tuple[int, ...] = (1, 0, 0, 0)) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return struct.pack(">6H", 7, flags, *counts) + labels + b"\0" + struct.pack(">2H", 1, 1)


QUERIES = {
    "one": (query("example.org"), b"example.org"),
    "another case": (query("Example.ORG"), b"example.org"),
    "with an extension": (query("a.b", counts=(1, 0, 0, 1)) + b"\0\0\x29", b"a.b"),
    "the root": (query(""), b""),
    "an answer": (query("a.b", flags=0x8180), b""),
    "two questions": (query("a.b", counts=(2, 0, 0, 0)), b""),
    "another class": (query("a.b")[:-1] + b"\3", b""),
    "a pointer": (query("a.b")[:12] + b"\xc0\x0c\0\1\0\1", b""),
    "cut": (query("example.org")[:20], b""),
    "text": (b"GET / HTTP/1.1\r\n\r\n", b""),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("case", QUERIES)
def test_the_name(case: str) -> None:
    """Of a query for one name, in small letters; of anything else nothing."""
    packet, name = QUERIES[case]
    assert question(packet) == name


@given(st.binary(max_size=64))
def test_any_bytes(packet: bytes) -> None:
    """Programs send what they like."""
    assert question(packet).isascii()
