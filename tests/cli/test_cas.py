"""`builder cas` against a real service and a real store."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from builder.base.digest import Digest, digest_of
from builder.cli.main import run
from builder.net.listeners import open_listeners
from builder.net.server import serve
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.stores.disk import DiskBlobStore
from builder.stores.memory import MemoryBlobStore
from tests.stores.conftest import services_of

MIB = 1024 * 1024


def named(digest: Digest) -> str:
    return f"{digest.hash}/{digest.size_bytes}"


@pytest.fixture
async def blobs(nursery: trio.Nursery) -> MemoryBlobStore:
    return MemoryBlobStore(64 * MIB)


@pytest.fixture
async def address(blobs: MemoryBlobStore, nursery: trio.Nursery) -> str:
    """Of a service with these blobs."""
    listeners = await open_listeners("127.0.0.1:0")
    await nursery.start(serve, services_of(blobs), listeners)
    return str(listeners[0].address)


async def cas(address: str, *args: str) -> int:
    """The exit code of a command line."""
    line = ("cas", *args, "--coordinator", address)
    return await trio.to_thread.run_sync(run, line, "builder")


async def test_files_go_there_and_back(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was put is told by its digest, and the digest gets the same bytes."""
    data = random.Random(1).randbytes(3 * MIB)
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "small").write_bytes(b"small")
    assert await cas(address, "put", str(tmp_path / "large"), str(tmp_path / "small")) == 0
    large, small = (line.split()[0] for line in capfd.readouterr().out.splitlines())
    assert large == str(digest_of(data))
    assert await cas(address, "get", large, "-o", str(tmp_path / "again")) == 0
    assert (tmp_path / "again").read_bytes() == data
    assert await cas(address, "get", small.removeprefix("sha256:")) == 0
    assert capfd.readouterr().out == "small"
    assert sorted(os.listdir(tmp_path)) == ["again", "large", "small"]


async def test_directories_are_listed_and_walked(
    address: str, blobs: MemoryBlobStore, capfd: pytest.CaptureFixture[str]
) -> None:
    """ls shows one directory, tree all below it, get with a path what lies there."""
    file = digest_of(b"content")
    below = pb.Directory(
        files=[pb.FileNode(name="run", digest=to_proto(file), is_executable=True)],
        symlinks=[pb.SymlinkNode(name="link", target="run")],
    ).SerializeToString()
    root = pb.Directory(
        files=[pb.FileNode(name="a", digest=to_proto(file))],
        directories=[pb.DirectoryNode(name="bin", digest=to_proto(digest_of(below)))],
    ).SerializeToString()
    for data in (b"content", below, root):
        await blobs.put(digest_of(data), data)
    first = [f"file  {named(file)}  a", f"dir   {named(digest_of(below))}  bin/"]
    assert await cas(address, "ls", named(digest_of(root))) == 0
    assert capfd.readouterr().out.splitlines() == first
    assert await cas(address, "tree", named(digest_of(root))) == 0
    then = [f"exec  {named(file)}  bin/run", "link  -> run  bin/link"]
    assert capfd.readouterr().out.splitlines() == first + then
    assert await cas(address, "get", named(digest_of(root)), "bin/run") == 0
    assert capfd.readouterr().out == "content"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("get", "nonsense"), 2, "write it as HASH/SIZE"),
        (("get", "00/5"), 2, "is not a sha256 hash"),
        (("get", "0" * 64 + "/5"), 1, "is not stored"),
        (("get", "0" * 64 + "/5", "-o", "/nowhere/at/all"), 1, "/nowhere/at/all"),
        (("put", "/nowhere/at/all"), 1, "/nowhere/at/all cannot be read"),
        (("ls", named(digest_of(b""))), 0, ""),
        (("ls", named(digest_of(b"text"))), 1, "is no directory"),
        (("get", named(digest_of(b"")), "no/such"), 1, "there is no 'no'"),
    ],
)
async def test_errors_are_sentences(
    address: str,
    blobs: MemoryBlobStore,
    capfd: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    """Whatever is wrong, it is one line that says what."""
    await blobs.put(digest_of(b"text"), b"text")
    assert await cas(address, *args) == code
    error = capfd.readouterr().err
    assert says in error
    assert error.count("\n") <= 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskBlobStore]:
    one = DiskBlobStore(tmp_path / "blobs", 1 << 30, 0.0)
    yield one
    one.close()


async def fill(store: DiskBlobStore) -> list[Digest]:
    chance = random.Random(5)
    digests = []
    for size in (100, 5000, 200_000, 3 * MIB):
        data = chance.randbytes(size)
        digests.append(digest_of(data))
        await store.put(digests[-1], data)
    return digests


def test_a_store_is_verified_told_and_shrunk(
    store: DiskBlobStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damage in a segment and in a file is found and put aside once; gc keeps what is promised."""
    digests = trio.run(fill, store)
    entry = store.small.log.tables["sha256"].find(bytes.fromhex(digests[1].hash))
    assert entry is not None
    segment, at, _ = store.small.log.where(entry, digests[1])
    os.pwrite(segment.descriptor, b"bad bytes", at)
    path = Path(store.path(digests[3]))
    path.chmod(0o644)
    path.write_bytes(bytes(3 * MIB))
    given = ("--store", str(tmp_path))
    assert run(("cas", "verify", *given), "builder") == 2
    assert "in use by process" in capsys.readouterr().err
    store.close()
    assert run(("cas", "verify", *given), "builder") == 1
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"damaged and put aside: {digests[1]}",
        f"damaged and put aside: {digests[3]}",
        "4 blobs checked, 2 damaged",
    ]
    assert run(("cas", "verify", *given), "builder") == 0
    assert capsys.readouterr().out == "2 blobs checked, 0 damaged\n"
    assert run(("cas", "stats", *given), "builder") == 0
    assert capsys.readouterr().out.startswith("Blobs: 2\nIn segments: 1 in 1 segments\n")
    assert run(("cas", "gc", "--to", "0", *given), "builder") == 0
    assert capsys.readouterr().out.startswith("0 blobs evicted")  # the lease is three hours
    assert run(("cas", "gc", "--to", "some", *given), "builder") == 2
    assert "is not a size" in capsys.readouterr().err
    assert run(("cas", "stats", "--store", str(tmp_path / "none")), "builder") == 2
    assert "there is no store" in capsys.readouterr().err


async def test_shrinking_evicts_the_oldest_first(store: DiskBlobStore) -> None:
    """What is not promised goes, until so much is left."""
    digests = await fill(store)
    await store.shrink(store.snapshot().used_bytes - 100)
    assert (await store.find_missing(digests))[:1] == [digests[2]]
    store.check()
