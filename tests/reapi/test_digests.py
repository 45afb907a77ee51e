import pytest

from builder.base.digest import Digest, digest_of
from builder.base.errors import InvalidArgumentError
from builder.reapi.digests import from_proto, function_of, path_of, to_proto
from builder.reapi.pb import remote_execution_pb2 as pb

BLAKE3 = pb.DigestFunction.BLAKE3
SHA256 = pb.DigestFunction.SHA256


@pytest.mark.parametrize(
    ("number", "hash_", "served", "name"),
    [
        (SHA256, "", ("sha256", "blake3"), "sha256"),
        (BLAKE3, "", ("sha256", "blake3"), "blake3"),
        (0, "a" * 64, ("sha256", "blake3"), "sha256"),
        (0, "a" * 64, ("blake3",), "blake3"),
        (0, "", ("blake3", "sha256"), "blake3"),
        (0, "a" * 64, ("blake3", "sha256tree", "sha256"), "sha256"),
        (0, "a" * 40, ("gitsha1", "sha1"), "sha1"),
        (0, "a" * 40, ("sha256", "gitsha1"), "gitsha1"),
    ],
)
def test_the_function_is_named_or_inferred(
    number: int, hash_: str, served: tuple[str, ...], name: str
) -> None:
    """An unnamed one is told by length; one that clients must name only if nothing else fits."""
    assert function_of(number, hash_, served) == name


@pytest.mark.parametrize(
    ("number", "hash_", "says"),
    [
        (pb.DigestFunction.MD5, "", "md5 is not served"),
        (99, "", "number 99 is not served"),
        (0, "abc", "has 3 digits"),
    ],
)
def test_a_function_that_is_not_served(number: int, hash_: str, says: str) -> None:
    """It is INVALID_ARGUMENT, and the message lists what is served."""
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        function_of(number, hash_)
    assert "sha256, blake3" in str(caught.value)


def test_messages_and_values_are_the_same() -> None:
    """There and back."""
    digest = digest_of(b"abc", "blake3")
    assert from_proto(to_proto(digest), "blake3") == digest
    with pytest.raises(InvalidArgumentError):
        from_proto(pb.Digest(hash="x", size_bytes=1))


def test_a_path_names_the_function_where_the_hash_does_not_tell() -> None:
    """SHA-256 goes without, BLAKE3 with its name."""
    assert path_of(Digest("a" * 64, 3)) == "a" * 64 + "/3"
    assert path_of(Digest("a" * 64, 3, "blake3")) == "blake3/" + "a" * 64 + "/3"
