"""Hosts as people write them, and which names they mean."""

import pytest

from builder.base.errors import InvalidArgumentError
from builder.base.hosts import allows, checked


@pytest.mark.parametrize(
    ("host", "port", "allowed"),
    [
        ("example.org", 80, True),
        ("EXAMPLE.org.", 443, True),
        ("example.org", 22, False),
        ("www.example.org", 443, False),
        ("a.wild.org", 443, True),
        ("b.a.wild.org", 80, True),
        ("wild.org", 443, False),
        ("notwild.org", 443, False),
        ("port.org", 8443, True),
        ("port.org", 443, False),
        ("", 80, False),
    ],
)
def test_hosts_are_names_and_ports(host: str, port: int, allowed: bool) -> None:
    """Names in any case, suffixes by `*.`, and the usual ports where none is written."""
    known = checked(("example.org", "*.wild.org", "port.org:8443"))
    assert allows(known, host, port) is allowed


@pytest.mark.parametrize("host", ["", "*", "*.", "a b", "http://a", "a/b", "-a", "a:b", "[::1]"])
def test_what_is_no_host_is_named(host: str) -> None:
    """With the right form."""
    with pytest.raises(InvalidArgumentError, match=r"write 'example\.org'"):
        checked([host])


def test_hosts_have_one_form() -> None:
    """Lower case, sorted, each once."""
    assert checked(["B.org", "a.org", "b.org "]) == ("a.org", "b.org")
