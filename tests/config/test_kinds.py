"""Addresses and secrets."""

import pickle

import pytest

from builder.base.errors import UsageError
from builder.config.kinds import Address, Secret, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", Address("127.0.0.1", 9000)),
        ("build.example:80", Address("build.example", 80)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("[::1]:9000", Address("::1", 9000)),
        (":9090", Address("127.0.0.1", 9090)),
        ("9001", Address("127.0.0.1", 9001)),
        (9001, Address("127.0.0.1", 9001)),
        ("grpc://h:1", Address("h", 1)),
        ("grpcs://h:1", Address("h", 1, tls=True)),
        ("unix:/run/b.sock", Address("", 0, path="/run/b.sock")),
    ],
)
def test_addresses(text: str | int, address: Address) -> None:
    """A port without a host is on loopback."""
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "h:1:2", "::1:9", "h:70000", "http://h:1"])
def test_what_is_no_address(text: str) -> None:
    """The error names the text and the right form."""
    with pytest.raises(UsageError, match="is not an address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:9000", "[::1]:9000", "grpcs://h:1", "h:0"])
def test_an_address_as_text_is_that_address(text: str) -> None:
    """Reading what was written gives the same."""
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("127.evil.example", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_loopback(host: str, is_loopback: bool) -> None:
    """Only what no other machine can reach; a name that looks like it does not count."""
    assert Address(host, 1).is_loopback is is_loopback


def test_a_secret_does_not_show_itself() -> None:
    """Not in messages, not in reprs of what holds it."""
    secret = Secret("hush")
    assert secret.reveal() == "hush"
    assert "hush" not in f"{secret} {secret!r} {[secret]} {(secret,)!s}"
    assert secret == Secret("hush")
    assert pickle.loads(pickle.dumps(secret)) == secret
