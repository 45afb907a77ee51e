"""Digests at the border: messages to values and back.

A request may leave its digest function out; then it is inferred from the hash's length among the
functions that the instance serves (REAPI v2 `digest_function` fields). Where lengths collide
(SHA256, SHA256TREE and BLAKE3; SHA1 and GITSHA1) the first of each is meant, for clients have to
name the others; but an instance that serves BLAKE3 alone takes an unnamed hash of 64 digits as
BLAKE3, because some clients know one function only and never name it.
"""

from collections.abc import Sequence
from typing import cast

from builder.base.digest import HEX_LENGTHS, Digest, checked
from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_execution_pb2 as pb

DEFAULT_FUNCTIONS = ("sha256", "blake3")
NAMES: dict[int, str] = {
    number: name.lower() for name, number in pb.DigestFunction.Value.items() if number
}
NUMBERS = {name: cast("pb.DigestFunction.Value", number) for number, name in NAMES.items()}
# Their hashes are recognised by length, so names leave them out (REAPI v2, ByteStream names).
UNNAMED = frozenset({"sha256", "sha1", "md5", "vso", "sha384", "sha512", "murmur3"})


def function_of(number: int, hash_: str = "", served: Sequence[str] = DEFAULT_FUNCTIONS) -> str:
    """The name of a request's digest function. Raises InvalidArgumentError if it is not served."""
    if number:
        name = NAMES.get(number, f"number {number}")
        if name in served:
            return name
        raise InvalidArgumentError(
            f"digest function {name} is not served here; use one of {', '.join(served)}"
        )
    first = served[0]
    if not hash_ or (len(hash_) == HEX_LENGTHS[first] and first in UNNAMED):
        return first  # nearly always
    fitting = [name for name in served if HEX_LENGTHS[name] == len(hash_)]
    if fitting:
        return next((name for name in fitting if name in UNNAMED), fitting[0])
    raise InvalidArgumentError(
        f"{hash_[:140]!r} has {len(hash_)} digits: no digest function served here "
        f"({', '.join(served)}) makes such a hash"
    )


def from_proto(message: pb.Digest, function: str = "sha256") -> Digest:
    """A checked digest. Raises InvalidArgumentError."""
    return checked(message.hash, message.size_bytes, function)


def to_proto(digest: Digest) -> pb.Digest:
    return pb.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def path_of(digest: Digest) -> str:
    """`{hash}/{size}`, with the function before it where the hash alone does not tell."""
    prefix = "" if digest.function in UNNAMED else f"{digest.function}/"
    return f"{prefix}{digest.hash}/{digest.size_bytes}"
