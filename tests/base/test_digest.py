import pytest

from builder.base.digest import EMPTY, HASHERS, Digest, checked, digest_of, is_empty
from builder.base.errors import BY_CODE, Code, InvalidArgumentError, UnknownError, from_status


def test_a_digest_is_the_hash_and_the_size_of_the_bytes() -> None:
    """The vectors are those of FIPS 180-4 and of the BLAKE3 paper."""
    assert digest_of(b"abc") == Digest(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3
    )
    assert digest_of(b"abc", "blake3") == Digest(
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85", 3, "blake3"
    )


@pytest.mark.parametrize(
    ("function", "hash_"),
    [
        ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
        ("gitsha1", "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"),
        ("sha256tree", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
)
def test_the_other_functions(function: str, hash_: str) -> None:
    """RFC 3174 and RFC 1321 give the vectors of abc, `git hash-object` that of GITSHA1."""
    assert digest_of(b"abc", function) == Digest(hash_, 3, function)


@pytest.mark.parametrize("function", HASHERS)
def test_each_function_has_its_length(function: str) -> None:
    """What it makes passes the check of what a peer sends."""
    digest = digest_of(b"x", function)
    assert checked(digest.hash, 1, function) == digest


@pytest.mark.parametrize(
    ("hash_", "size", "function", "says"),
    [
        ("ab", 1, "sha256", "64 lower-case hex digits"),
        ("A" * 64, 1, "sha256", "64 lower-case hex digits"),
        ("a" * 64, -1, "sha256", "negative size"),
        ("a" * 64, 1, "md4", "use one of sha256, blake3, sha1"),
    ],
)
def test_a_peer_s_digest_is_checked(hash_: str, size: int, function: str, says: str) -> None:
    """A wrong hash, size or function is INVALID_ARGUMENT and says what is right."""
    with pytest.raises(InvalidArgumentError, match=says):
        checked(hash_, size, function)


def test_a_right_digest_passes() -> None:
    """The check returns the digest."""
    assert checked("a" * 64, 1) == Digest("a" * 64, 1)
    assert str(checked("a" * 64, 1)) == f"sha256:{'a' * 64}/1"


def test_the_empty_blob_is_known_by_its_size() -> None:
    """Each function has its own empty blob."""
    assert all(is_empty(digest) for digest in EMPTY.values())
    assert not is_empty(digest_of(b"x"))


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_each_code_has_its_error(code: Code) -> None:
    """A received status becomes the error that would have sent it."""
    error = from_status(code, "why", b"d")
    assert (error.code, error.message, error.details, str(error)) == (code, "why", b"d", "why")
    assert type(error) is BY_CODE[code]


def test_an_unknown_code_is_unknown() -> None:
    """A number that gRPC does not define is not lost: it becomes UNKNOWN."""
    assert type(from_status(77, "?")) is UnknownError
