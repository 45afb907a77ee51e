"""Input roots: fetched, checked, linked, shared and bounded."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from builder.reapi.digests import to_proto
from builder.reapi.pb import error_details_pb2, status_pb2, wrappers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb.timestamp_pb2 import Timestamp
from builder.stores.memory import MemoryBlobStore
from builder.worker.content import MTIME_NS, ContentCache
from builder.worker.inputs import InputCache, link_tree
from builder.worker.tree import Found, TreeLoader
from tests.worker.kit import MIB, Entry, memory, put, put_tree

TREE: Mapping[str, Entry] = {
    "main.c": b"int main;",
    "tool": (b"#!/bin/sh\n", True),
    "empty": b"",
    "dir": {"deep": {"x": b"x"}, "same": {"x": b"x"}},
    "link": ("->", "dir/deep/x"),
    "ünï": b"utf-8",
}


def seen(path: str) -> dict[str, object]:
    """Every entry with its contents, target or None for a directory."""
    found: dict[str, object] = {}
    for here, directories, files in os.walk(path):
        for name in directories:
            found[os.path.relpath(f"{here}/{name}", path)] = None
        for name in files:
            full = f"{here}/{name}"
            value = os.readlink(full) if os.path.islink(full) else Path(full).read_bytes()
            found[os.path.relpath(full, path)] = value
    return found


class Counting(MemoryBlobStore):
    """A memory store that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(256 * MIB)
        self.asked: list[Digest] = []

    async def get(self, digest: Digest) -> bytes:
        self.asked.append(digest)
        return await super().get(digest)


async def test_the_tree_on_disk_is_the_tree_of_the_messages(tmp_path: Path) -> None:
    blobs = memory()
    cache = InputCache(tmp_path / "cache", MIB)
    async with cache.checkout(blobs, await put_tree(blobs, TREE)) as root:
        assert seen(root.path) == {
            "main.c": b"int main;",
            "tool": b"#!/bin/sh\n",
            "empty": b"",
            "dir": None,
            "dir/deep": None,
            "dir/deep/x": b"x",
            "dir/same": None,
            "dir/same/x": b"x",
            "link": "dir/deep/x",
            "ünï": b"utf-8",
        }
        assert os.stat(f"{root.path}/tool").st_mode & 0o7777 == 0o555
        assert os.stat(f"{root.path}/main.c").st_mode & 0o7777 == 0o444
        times = {os.lstat(f"{root.path}/{name}").st_mtime for name in seen(root.path)}
        assert times == {946_684_800.0}


async def test_the_same_tree_is_built_once_and_shared(tmp_path: Path) -> None:
    """Two actions at once with one input root use one directory and fetch each blob once."""
    blobs = Counting()
    cache = InputCache(tmp_path / "cache", MIB)
    digest = await put_tree(blobs, TREE)
    paths: list[str] = []

    async def use() -> None:
        async with cache.checkout(blobs, digest) as root:
            paths.append(root.path)
            await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(use)
        nursery.start_soon(use)
    assert paths[0] == paths[1]
    assert len(blobs.asked) == len(set(blobs.asked))


async def test_files_are_shared_between_trees_and_with_the_cache(tmp_path: Path) -> None:
    blobs = Counting()
    cache = InputCache(tmp_path / "cache", MIB)
    one, two = await put_tree(blobs, {"a": b"same"}), await put_tree(blobs, {"b": b"same"})
    async with cache.checkout(blobs, one) as first, cache.checkout(blobs, two) as second:
        assert os.path.samefile(f"{first.path}/a", f"{second.path}/b")
    assert blobs.asked.count(digest_of(b"same")) == 1


@pytest.mark.parametrize("function", ["sha256", "blake3"])
async def test_every_missing_blob_is_listed_at_once(tmp_path: Path, function: str) -> None:
    """Directories and files that are missing come in one FAILED_PRECONDITION, as MISSING."""
    blobs = memory()
    lost_file, lost_tree = digest_of(b"lost", function), digest_of(b"tree", function)
    root = pb.Directory()
    root.files.add(name="a", digest=to_proto(lost_file))
    root.files.add(name="b", digest=to_proto(await put(blobs, b"here", function)))
    root.directories.add(name="d", digest=to_proto(lost_tree))
    digest = await put(blobs, root.SerializeToString(), function)
    cache = InputCache(tmp_path / "cache", MIB)
    with pytest.raises(FailedPreconditionError) as caught:
        async with cache.checkout(blobs, digest):
            pass
    status = status_pb2.Status.FromString(caught.value.details)
    failure = error_details_pb2.PreconditionFailure()
    assert status.details[0].Unpack(failure)
    prefix = "blake3/" if function == "blake3" else ""
    assert {(v.type, v.subject) for v in failure.violations} == {
        ("MISSING", f"blobs/{prefix}{lost.hash}/4") for lost in (lost_file, lost_tree)
    }


async def test_a_failed_fetch_can_be_tried_again(tmp_path: Path) -> None:
    """After the client has uploaded what was missing, the same tree is built."""
    blobs = memory()
    cache = InputCache(tmp_path / "cache", MIB)
    root = pb.Directory()
    root.files.add(name="a", digest=to_proto(digest_of(b"late")))
    digest = await put(blobs, root.SerializeToString())
    with pytest.raises(FailedPreconditionError):
        async with cache.checkout(blobs, digest):
            pass
    await put(blobs, b"late")
    async with cache.checkout(blobs, digest) as found:
        assert seen(found.path) == {"a": b"late"}


async def test_the_cache_stays_within_its_bounds(tmp_path: Path) -> None:
    """Trees and files that nothing uses go, oldest first; what is in use stays."""
    blobs = memory()
    cache = InputCache(tmp_path / "cache", 250_000)
    kept = await put_tree(blobs, {"kept": b"k" * 100_000})
    async with cache.checkout(blobs, kept) as root:
        for number in range(10):
            digest = await put_tree(blobs, {"f": bytes([number]) * 100_000})
            async with cache.checkout(blobs, digest):
                pass
            assert cache.size_bytes <= 300_000
        assert Path(root.path, "kept").stat().st_size == 100_000
    on_disk = sum(1 for _ in (tmp_path / "cache" / "files").iterdir())
    assert on_disk <= 3


async def test_the_number_of_trees_is_bounded(tmp_path: Path) -> None:
    blobs = memory()
    cache = InputCache(tmp_path / "cache", MIB, max_trees=3)
    for number in range(9):
        async with cache.checkout(blobs, await put_tree(blobs, {f"f{number}": b""})):
            pass
    assert len(list((tmp_path / "cache" / "trees").iterdir())) == 3


async def test_other_bytes_than_the_digest_names_are_never_used(tmp_path: Path) -> None:
    class Lying(MemoryBlobStore):
        async def get(self, digest: Digest) -> bytes:
            data = await super().get(digest)
            return b"evil" if data == b"good" else data

    blobs = Lying(MIB)
    cache = InputCache(tmp_path / "cache", MIB)
    digest = await put_tree(blobs, {"a": b"good"})
    with pytest.raises(DataLossError, match="other bytes"):
        async with cache.checkout(blobs, digest):
            pass
    assert list((tmp_path / "cache" / "files").iterdir()) == []


def one(**fields: object) -> pb.Directory:
    return pb.Directory(**fields)  # type: ignore[arg-type]


EMPTY = to_proto(digest_of(b""))
NO_TIME = pb.NodeProperties(mtime=Timestamp(seconds=2**62))


@pytest.mark.parametrize(
    ("directory", "says"),
    [
        (one(files=[pb.FileNode(name="a", digest=EMPTY)] * 2), "two entries named 'a'"),
        (
            one(
                files=[pb.FileNode(name="a", digest=EMPTY)],
                symlinks=[pb.SymlinkNode(name="a", target="b")],
            ),
            "two entries named 'a'",
        ),
        (one(files=[pb.FileNode(name="../a", digest=EMPTY)]), "one path segment"),
        (one(files=[pb.FileNode(name="..", digest=EMPTY)]), "one path segment"),
        (one(files=[pb.FileNode(name="", digest=EMPTY)]), "one path segment"),
        (one(directories=[pb.DirectoryNode(name="a/b", digest=EMPTY)]), "one path segment"),
        (one(files=[pb.FileNode(name="é" * 128, digest=EMPTY)]), "over 255 bytes"),
        (one(symlinks=[pb.SymlinkNode(name="a", target="/etc/passwd")]), "absolute path"),
        (one(symlinks=[pb.SymlinkNode(name="a")]), "no target"),
        (one(files=[pb.FileNode(name="a", digest=pb.Digest(hash="12"))]), "is not a sha256 hash"),
        (one(symlinks=[pb.SymlinkNode(name="a", target="b", node_properties=NO_TIME)]), "mtime"),
        (one(files=[pb.FileNode(name="a", digest=EMPTY, node_properties=NO_TIME)]), "mtime"),
    ],
)
async def test_malformed_directories_are_refused(
    tmp_path: Path, directory: pb.Directory, says: str
) -> None:
    blobs = memory()
    digest = await put(blobs, directory.SerializeToString())
    with pytest.raises(InvalidArgumentError, match=says):
        async with InputCache(tmp_path / "cache", MIB).checkout(blobs, digest):
            pass


async def test_a_blob_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    blobs = memory()
    digest = await put(blobs, b"\xff\xff\xff")
    with pytest.raises(InvalidArgumentError, match="is not a Directory message"):
        async with InputCache(tmp_path / "cache", MIB).checkout(blobs, digest):
            pass


async def test_few_messages_cannot_name_a_tree_that_fills_the_disk(tmp_path: Path) -> None:
    """Thirty directories, each holding the next twice, would be a billion entries."""
    blobs = memory()
    digest = await put_tree(blobs, {"leaf": b""})
    for _ in range(30):
        level = pb.Directory()
        level.directories.add(name="a", digest=to_proto(digest))
        level.directories.add(name="b", digest=to_proto(digest))
        digest = await put(blobs, level.SerializeToString())
    with pytest.raises(InvalidArgumentError, match="more than 2000000 entries"):
        async with InputCache(tmp_path / "cache", MIB).checkout(blobs, digest):
            pass


async def test_a_tree_deeper_than_paths_can_be_is_refused(tmp_path: Path) -> None:
    blobs = memory()
    tree: Mapping[str, Entry] = {"leaf": b""}
    for _ in range(60):
        tree = {"n" * 200: tree}
    with pytest.raises(InvalidArgumentError, match="longer than Linux takes"):
        async with InputCache(tmp_path / "cache", MIB).checkout(blobs, await put_tree(blobs, tree)):
            pass


async def test_files_that_cannot_be_linked_are_copied(tmp_path: Path) -> None:
    """Another filesystem, or a file with too many links: the copy has the mode and the time."""
    blobs = memory()
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert os.stat(elsewhere).st_dev != os.stat(tmp_path).st_dev
        content = ContentCache(Path(elsewhere, "files"), MIB)
        digest = await put_tree(blobs, {"tool": (b"run", True)})
        tree, missing = await TreeLoader().load(blobs, digest)
        assert missing == []
        paths = {key: await content.pin(blobs, key) for key in tree.files()}
        link_tree(str(tmp_path / "tree"), tree, paths)
    made = tmp_path / "tree" / "tool"
    assert made.read_bytes() == b"run"
    assert made.stat().st_mode & 0o7777 == 0o555
    assert made.stat().st_mtime == 946_684_800


async def test_a_tree_knows_what_stands_where() -> None:
    blobs = memory()
    layout: Mapping[str, Entry] = {"d": {"f": b""}, "l": ("->", "d"), "f": b""}
    tree, _ = await TreeLoader().load(blobs, await put_tree(blobs, layout))
    wanted = {
        "": Found.DIRECTORY,
        "d": Found.DIRECTORY,
        "d/f": Found.FILE,
        "d/f/x": Found.FILE,
        "l/f": Found.SYMLINK,
        "f": Found.FILE,
        "x": Found.NOTHING,
        "d/x/y": Found.NOTHING,
    }
    assert {path: tree.look(path) for path in wanted} == wanted


async def test_checked_directories_are_remembered_within_bounds(tmp_path: Path) -> None:
    """The second tree that shares a directory does not ask for it again; old ones are forgotten."""
    blobs = Counting()
    loader = TreeLoader(memory_bytes=1000)
    shared = {"x": b"1"}
    for number in range(30):
        await loader.load(blobs, await put_tree(blobs, {"s": shared, f"f{number}": b""}))
    assert len(blobs.asked) == 31


async def test_absolute_links_by_permission(tmp_path: Path) -> None:
    """Refused by default, also when the same tree was taken with permission before."""
    blobs = memory()
    digest = await put_tree(blobs, {"deep": {"away": ("->", "/etc/hostname")}})
    cache = InputCache(tmp_path / "cache", MIB)
    async with cache.checkout(blobs, digest, absolute_links=True) as root:
        assert os.readlink(Path(root.path) / "deep" / "away") == "/etc/hostname"
    with pytest.raises(InvalidArgumentError, match=r"reapi\.absolute_symlinks"):
        async with cache.checkout(blobs, digest):
            pass


async def test_node_properties_of_inputs(tmp_path: Path) -> None:
    """Time and mode as they are given; a plain file of the same bytes keeps its own."""
    blobs = memory()
    data = to_proto(await put(blobs, b"data"))
    below = pb.Directory()
    below.node_properties.unix_mode.CopyFrom(wrappers_pb2.UInt32Value(value=0o500))
    below.node_properties.mtime.seconds = 5
    directory = pb.Directory()
    given = directory.files.add(name="given", digest=data)
    given.node_properties.unix_mode.CopyFrom(wrappers_pb2.UInt32Value(value=0o4640))
    given.node_properties.mtime.seconds, given.node_properties.mtime.nanos = 1234, 500
    directory.files.add(name="plain", digest=data)
    link = directory.symlinks.add(name="link", target="plain")
    link.node_properties.mtime.seconds = 77
    named = to_proto(await put(blobs, below.SerializeToString()))
    directory.directories.add(name="below", digest=named)
    root = await put(blobs, directory.SerializeToString())
    async with InputCache(tmp_path / "cache", MIB).checkout(blobs, root) as found:
        status = os.stat(f"{found.path}/given")
        assert (status.st_mtime_ns, status.st_mode & 0o7777) == (1234 * 10**9 + 500, 0o640)
        plain = os.stat(f"{found.path}/plain")
        assert (plain.st_mtime_ns, plain.st_ino != status.st_ino) == (MTIME_NS, True)
        assert os.lstat(f"{found.path}/link").st_mtime_ns == 77 * 10**9
        folder = os.stat(f"{found.path}/below")
        assert (folder.st_mtime_ns, folder.st_mode & 0o7777) == (5 * 10**9, 0o500)
