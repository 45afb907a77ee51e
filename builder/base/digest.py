"""Digests: the name of a blob is the hash and the size of its bytes.

A digest carries its function, because SHA-256 and BLAKE3 hashes have the same length and the
same bytes stored under both names are two blobs. Source: REAPI v2 `Digest`, `DigestFunction`.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from blake3 import blake3

from builder.base.errors import InvalidArgumentError

HEX = frozenset("0123456789abcdef")


class Hasher(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


HASHERS: dict[str, Callable[[], Hasher]] = {"sha256": hashlib.sha256, "blake3": blake3}
HEX_LENGTHS = {"sha256": 64, "blake3": 64}


class Digest(NamedTuple):
    """A blob's name: lower-case hex `hash`, size in bytes, and the function's lower-case name."""

    hash: str
    size_bytes: int
    function: str = "sha256"

    def __str__(self) -> str:
        return f"{self.function}:{self.hash}/{self.size_bytes}"


def hasher(function: str) -> Hasher:
    """A new incremental hasher. Raises InvalidArgumentError for a function not served here."""
    try:
        return HASHERS[function]()
    except KeyError:
        known = ", ".join(HASHERS)
        raise InvalidArgumentError(
            f"digest function {function!r} is not served; use one of {known}"
        ) from None


def digest_of(data: bytes | bytearray | memoryview, function: str = "sha256") -> Digest:
    """The digest of these bytes."""
    state = hasher(function)
    state.update(data)
    return Digest(state.hexdigest(), len(data), function)


def checked(hash_: str, size_bytes: int, function: str = "sha256") -> Digest:
    """A digest from a peer, checked for shape. Raises InvalidArgumentError saying what is off."""
    length = HEX_LENGTHS.get(function)
    if length is None:
        hasher(function)  # raises, with the list of functions
    if len(hash_) != length or not HEX.issuperset(hash_):
        raise InvalidArgumentError(
            f"{hash_[:140]!r} is not a {function} hash: want {length} lower-case hex digits"
        )
    if size_bytes < 0:
        raise InvalidArgumentError(f"digest {hash_} has the negative size {size_bytes}")
    return Digest(hash_, size_bytes, function)


EMPTY = {function: digest_of(b"", function) for function in HASHERS}


def is_empty(digest: Digest) -> bool:
    """Whether it names the empty blob, which is always present and never stored."""
    return digest.size_bytes == 0
