"""Merkle trees of Directory messages."""

import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st

from builder.action.tree import (
    Entry,
    File,
    Folder,
    Link,
    checked_path,
    entries_of,
    file_digests,
    merkle,
)
from builder.base.digest import Digest, digest_of
from builder.base.errors import DataLossError, InvalidArgumentError
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb

NAMES = st.text(alphabet="ab-.é\U0001f600￿", min_size=1, max_size=3).filter(
    lambda name: name not in (".", "..")
)
FILES = st.builds(File, st.binary(max_size=3).map(digest_of), st.booleans())
LINKS = st.builds(Link, st.sampled_from(["x", "../y", "/abs"]))


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Entry]:
    """Entries by path, none beneath a file."""
    entries: dict[str, Entry] = {}
    paths = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
    for path in draw(st.lists(paths, max_size=8, unique=True)):
        above = [path.rsplit("/", n)[0] for n in range(1, path.count("/") + 1)]
        if any(isinstance(entries.get(p), File | Link) for p in above):
            continue
        if any(other.startswith(path + "/") for other in entries):
            continue
        entries[path] = draw(st.one_of(FILES, LINKS, st.just(Folder())))
    return entries


# ---- an independent implementation: nested dictionaries, wire bytes written by hand ----


def field(number: int, payload: bytes) -> bytes:
    return encoder._VarintBytes(number << 3 | 2) + encoder._VarintBytes(len(payload)) + payload


def digest_bytes(digest: Digest) -> bytes:
    size = b"\x10" + encoder._VarintBytes(digest.size_bytes) if digest.size_bytes else b""
    return field(1, digest.hash.encode()) + size


def nested(entries: dict[str, Entry]) -> dict[str, object]:
    root: dict[str, object] = {}
    for path, entry in entries.items():
        *above, name = path.split("/")
        here = root
        for part in above:
            here = here.setdefault(part, {})  # type: ignore[assignment]
        if isinstance(entry, Folder):
            here.setdefault(name, {})
        else:
            here[name] = entry
    return root


def hashed(node: dict[str, object], blobs: dict[Digest, bytes]) -> Digest:
    data = b""
    names = sorted(node, key=lambda name: name.encode())
    for name in names:
        item = node[name]
        if isinstance(item, File):
            mode = b"\x20\x01" if item.executable else b""
            data += field(1, field(1, name.encode()) + field(2, digest_bytes(item.digest)) + mode)
    for name in names:
        item = node[name]
        if isinstance(item, dict):
            data += field(2, field(1, name.encode()) + field(2, digest_bytes(hashed(item, blobs))))
    for name in names:
        item = node[name]
        if isinstance(item, Link):
            data += field(3, field(1, name.encode()) + field(2, item.target.encode()))
    digest = digest_of(data)
    blobs[digest] = data
    return digest


@given(trees(), st.randoms())
def test_equals_an_independent_implementation(entries: dict[str, Entry], random: object) -> None:
    """Root and every directory are those of a straightforward implementation, byte by byte,
    in whatever order the entries come."""
    blobs: dict[Digest, bytes] = {}
    root = hashed(nested(entries), blobs)
    shuffled = list(entries.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = merkle(dict(shuffled))
    assert found.root == root
    assert dict(found.directories) == blobs


def as_tree(entries: dict[str, Entry]) -> pb.Tree:
    """The Tree message that a worker would send for this output directory."""
    found = merkle(entries)
    tree = pb.Tree()
    for digest, data in found.directories.items():
        message = tree.root if digest == found.root else tree.children.add()
        message.ParseFromString(data)
    return tree


@given(trees())
def test_there_and_back(entries: dict[str, Entry]) -> None:
    """A Tree gives back the entries, with every directory named for itself."""
    above = {path.rsplit("/", n)[0] for path in entries for n in range(1, path.count("/") + 1)}
    assert entries_of(as_tree(entries)) == {**dict.fromkeys(above, Folder()), **entries}


def test_a_known_root() -> None:
    """The empty tree is the empty blob; one file gives the message with one node."""
    assert merkle({}).root == digest_of(b"")
    root = merkle({"a": File(digest_of(b""))}).root
    message = pb.Directory(files=[pb.FileNode(name="a", digest=to_proto(digest_of(b"")))])
    assert root == digest_of(message.SerializeToString())
    assert root.size_bytes == 2 + 3 + 2 + 66  # node, name, digest and its hash


def test_blake3_names_everything() -> None:
    """The digest function of the tree is that of its files."""
    tree = merkle({"d/a": File(digest_of(b"x", "blake3"))}, "blake3")
    assert {digest.function for digest in tree.directories} == {"blake3"}


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "./a", "a/..", "a\0b", "\udcff"])
def test_paths_that_no_tree_holds(path: str) -> None:
    """Only plain, relative UTF-8 paths can be named in a Directory."""
    with pytest.raises(InvalidArgumentError):
        checked_path(path)


def test_a_path_beneath_a_file() -> None:
    """A file cannot be a directory as well."""
    file = File(digest_of(b"x"))
    with pytest.raises(InvalidArgumentError, match="'a' is a file"):
        merkle({"a": file, "a/b": file})


def test_trees_that_lie() -> None:
    """A missing child, a name given twice and a name that leaves the tree are errors."""
    digest = to_proto(digest_of(b"x"))
    child = pb.Tree(root=pb.Directory(directories=[pb.DirectoryNode(name="d", digest=digest)]))
    with pytest.raises(DataLossError, match="misses"):
        entries_of(child)
    file = pb.FileNode(name="a", digest=digest)
    with pytest.raises(DataLossError, match="twice"):
        entries_of(pb.Tree(root=pb.Directory(files=[file, file])))
    for name in ("..", "a/b", "", "/etc"):
        bad = pb.Directory(files=[pb.FileNode(name=name, digest=digest)])
        with pytest.raises(InvalidArgumentError):
            entries_of(pb.Tree(root=bad))


def test_a_tree_that_names_more_than_a_disk_holds() -> None:
    """Thirty shared directories that each name the next one ten times are refused."""
    tree = pb.Tree()
    digest, message = digest_of(b""), pb.Directory()
    for _ in range(30):
        data = message.SerializeToString(deterministic=True)
        digest = digest_of(data)
        tree.children.add().CopyFrom(message)
        message = pb.Directory(
            directories=[pb.DirectoryNode(name=f"d{n}", digest=to_proto(digest)) for n in range(10)]
        )
    tree.root.CopyFrom(message)
    with pytest.raises(DataLossError, match="more than 10000"):
        entries_of(tree, most=10_000)


def test_file_digests_come_once_each() -> None:
    """Two files with the same bytes are one blob."""
    one, two = File(digest_of(b"1")), File(digest_of(b"2"))
    assert file_digests([one, two, one, Link("x"), Folder()]) == [one.digest, two.digest]
