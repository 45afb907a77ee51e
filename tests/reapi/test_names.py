"""ByteStream resource names, both ways."""

import pytest

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.reapi.names import (
    BlobName,
    check_instance,
    parse_read,
    parse_write,
    read_name,
    write_name,
)

H = "a1" * 32
SHA = Digest(H, 42)
BLAKE = Digest(H, 42, "blake3")
INSTANCES = ["", "main", "a/b/c", "blob", "uploadsx"]


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("digest", [SHA, BLAKE])
@pytest.mark.parametrize("compressor", ["identity", "zstd", "deflate", "brotli"])
def test_names_come_back(instance: str, digest: Digest, compressor: str) -> None:
    """What is written as a name is parsed to the same values."""
    assert parse_read(read_name(instance, digest, compressor)) == BlobName(
        instance, digest, compressor
    )
    assert parse_write(write_name(instance, digest, "some-uuid", compressor)) == BlobName(
        instance, digest, compressor, "some-uuid"
    )


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        (f"blobs/{H}/42", BlobName("", SHA)),
        (f"blobs/sha256/{H}/42", BlobName("", SHA)),
        (f"i/blobs/blake3/{H}/42", BlobName("i", BLAKE)),
        (f"i/blobs/{H}/42/src/main.cc", BlobName("i", SHA)),
        (f"compressed-blobs/zstd/blake3/{H}/42", BlobName("", BLAKE, "zstd")),
        (f"a/b/compressed-blobs/zstd/{H}/42/tail", BlobName("a/b", SHA, "zstd")),
    ],
)
def test_read_names(name: str, parsed: BlobName) -> None:
    """Every form of a name to read, with and without instance, function and tail."""
    assert parse_read(name) == parsed


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        (f"uploads/u/blobs/{H}/42", BlobName("", SHA, upload="u")),
        (f"x/uploads/u/blobs/blake3/{H}/42/t", BlobName("x", BLAKE, upload="u")),
        (f"uploads/u/compressed-blobs/zstd/{H}/42", BlobName("", SHA, "zstd", "u")),
        (f"uploads/blobs/blobs/{H}/42", BlobName("", SHA, upload="blobs")),
    ],
)
def test_write_names(name: str, parsed: BlobName) -> None:
    """Every form of a name to write."""
    assert parse_write(name) == parsed


def test_unnamed_hashes_are_of_the_first_function_served() -> None:
    """An instance that serves BLAKE3 alone takes an unnamed hash as BLAKE3."""
    assert parse_read(f"blobs/{H}/42", ["blake3"]).digest == BLAKE


@pytest.mark.parametrize(
    "name",
    [
        "",
        "blobs",
        "blobs/",
        f"blobs/{H}",
        f"blobs/{H}/",
        f"blobs/{H}/-1",
        f"blobs/{H}/4x",
        f"blobs/{H}/²",
        f"blobs/{H[:-1]}/42",
        f"blobs/{H.upper()}/42",
        f"blobs/murmur3/{H}/42",
        f"blobs/{H}/99999999999999999999",
        f"uploads/u/blobs/{H}/42",
        f"operations/blobs/{H}/42",
        f"compressed-blobs/{H}/42",
        f"compressed-blobs/lzma/{H}/42",
        "compressed-blobs",
        "compressed-blobs/zstd",
        "x" * 3000 + f"/blobs/{H}/42",
    ],
)
def test_malformed_read_names(name: str) -> None:
    """What is no name to read is refused, never taken for another one."""
    with pytest.raises(InvalidArgumentError):
        parse_read(name)


@pytest.mark.parametrize(
    "name",
    [
        f"blobs/{H}/42",
        "uploads",
        "uploads/u",
        "uploads/u/blobs",
        f"uploads//blobs/{H}/42",
        f"uploads/u/actions/{H}/42",
        f"uploads/u/blobs/{H}",
    ],
)
def test_malformed_write_names(name: str) -> None:
    """What is no name to write is refused."""
    with pytest.raises(InvalidArgumentError):
        parse_write(name)


@pytest.mark.parametrize("name", ["blobs", "a/uploads", "actionResults/b", "x/compressed-blobs/y"])
def test_instances_must_not_hold_keywords(name: str) -> None:
    """An instance whose name could not be told from a resource's is refused."""
    with pytest.raises(InvalidArgumentError):
        check_instance(name)
    assert check_instance("a/b") == "a/b"
