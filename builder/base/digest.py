"""Digests: the name of a blob is the hash and the size of its bytes.

A digest carries its function, because SHA-256 and BLAKE3 hashes have the same length and the
same bytes stored under both names are two blobs. Source: REAPI v2 `Digest`, `DigestFunction`;
VSO and MURMUR3 are left out, no client of today makes them.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from blake3 import blake3

from builder.base.errors import InvalidArgumentError
from builder.base.sha256tree import Sha256Tree

HEX = frozenset("0123456789abcdef")


class Hasher(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def git_blob(size_bytes: int) -> Hasher:
    """GITSHA1 starts with the size, so it has to be known before the first byte."""
    return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


# Each takes the size of what will be hashed; only one needs it.
HASHERS: dict[str, Callable[[int], Hasher]] = {
    "sha256": lambda _: hashlib.sha256(),
    "blake3": lambda _: blake3(),
    "sha1": lambda _: hashlib.sha1(usedforsecurity=False),
    "sha384": lambda _: hashlib.sha384(),
    "sha512": lambda _: hashlib.sha512(),
    "md5": lambda _: hashlib.md5(usedforsecurity=False),
    "sha256tree": lambda _: Sha256Tree(),
    "gitsha1": git_blob,
}
HEX_LENGTHS = {
    "sha256": 64,
    "blake3": 64,
    "sha1": 40,
    "sha384": 96,
    "sha512": 128,
    "md5": 32,
    "sha256tree": 64,
    "gitsha1": 40,
}


class Digest(NamedTuple):
    """A blob's name: lower-case hex `hash`, size in bytes, and the function's lower-case name."""

    hash: str
    size_bytes: int
    function: str = "sha256"

    def __str__(self) -> str:
        return f"{self.function}:{self.hash}/{self.size_bytes}"


def hasher(function: str, size_bytes: int) -> Hasher:
    """An incremental hasher for `size_bytes` bytes. Raises InvalidArgumentError if unknown."""
    try:
        return HASHERS[function](size_bytes)
    except KeyError:
        known = ", ".join(HASHERS)
        raise InvalidArgumentError(
            f"digest function {function!r} is unknown; use one of {known}"
        ) from None


def digest_of(data: bytes | bytearray | memoryview, function: str = "sha256") -> Digest:
    """The digest of these bytes."""
    state = hasher(function, len(data))
    state.update(data)
    return Digest(state.hexdigest(), len(data), function)


def checked(hash_: str, size_bytes: int, function: str = "sha256") -> Digest:
    """A digest from a peer, checked for shape. Raises InvalidArgumentError saying what is off."""
    length = HEX_LENGTHS.get(function)
    if length is None:
        hasher(function, size_bytes)  # raises, with the list of functions
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
    return digest.size_bytes == 0 and digest == EMPTY[digest.function]
