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
    for _ in range(2):  # it only looks
        assert run(("cas", "verify", *given), "builder") == 1
        said = capsys.readouterr().out.splitlines()
        assert said == [
            f"damaged: {digests[1]}",
            f"damaged: {digests[3]}",
            "4 blobs checked, 2 damaged",
        ]
    assert run(("cas", "verify", "--repair", *given), "builder") == 1
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


def spoil(root: Path, digest: Digest) -> None:
    """Change bytes of a blob in a store that stands still."""
    store = DiskBlobStore(root / "blobs", 1 << 30, 0.0)
    trio.run(store.load)
    if digest.size_bytes < 65536:
        entry = store.small.log.tables["sha256"].find(bytes.fromhex(digest.hash))
        assert entry is not None
        segment, at, _ = store.small.log.where(entry, digest)
        os.pwrite(segment.descriptor, b"bad bytes", at)
    else:
        path = Path(store.path(digest))
        path.chmod(0o644)
        path.write_bytes(bytes(digest.size_bytes))
    store.close()


def test_a_store_goes_there_and_back(
    store: DiskBlobStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is exported is files by hash; it is imported into another store, once, and heals."""
    digests = trio.run(fill, store)
    store.close()
    out = tmp_path / "out"
    assert run(("cas", "export", str(out), "--store", str(tmp_path)), "builder") == 0
    assert capsys.readouterr().out.startswith("4 blobs exported (3.2 MB), 0 were there")
    files = {path: path.read_bytes() for path in out.glob("blobs/sha256/*")}
    assert sorted(path.name for path in files) == sorted(digest.hash for digest in digests)
    assert all(digest_of(data).hash == path.name for path, data in files.items())
    (out / "blobs/sha256" / digests[0].hash).unlink()  # as one that was cut short
    (out / "blobs/sha256" / f"{digests[0].hash}.part").write_bytes(b"half")
    assert run(("cas", "export", str(out), "--store", str(tmp_path)), "builder") == 0
    assert capsys.readouterr().out.startswith("1 blob exported (100 B), 3 were there")

    second = tmp_path / "second"
    (second / "blobs").mkdir(parents=True)
    into = ("cas", "import", str(out), "--store", str(second))
    for moved, there in ((4, 0), (0, 4)):
        assert run(into, "builder") == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{moved} blobs imported")
        assert said.endswith(f"{there} were there\n")

    for digest in (digests[1], digests[3]):
        spoil(second, digest)
    heal = ("cas", "verify", "--repair", "--from", str(out), "--store", str(second))
    assert run(heal, "builder") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"damaged, put aside and healed: {digests[1]}",
        f"damaged, put aside and healed: {digests[3]}",
        "4 blobs checked, 2 damaged, 2 healed",
    ]
    assert run(("cas", "verify", "--store", str(second)), "builder") == 0


COMPOSED = """
storage:
  blobs:
    tiered:
      near: {verifying: {store: {memory: {}}}}
      far:
        mirrored:
          a: {disk: {path: ROOT/a, lease: 0s}}
          b: {metered: {name: second, store: {disk: {path: ROOT/b, lease: 0s}}}}
  routes:
    - {instances: [own], blobs: {disk: {path: ROOT/own, lease: 0s}}}
"""


def test_the_disks_of_a_storage_are_looked_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each by the name of its tier; what is no disk has nothing to say here."""
    config = tmp_path / "config.yaml"
    config.write_text(COMPOSED.replace("ROOT", str(tmp_path)))
    for number, name in enumerate(("a", "b", "own")):
        store = DiskBlobStore(tmp_path / name, 1 << 30, 0.0)
        trio.run(store.put, digest_of(bytes(number + 1)), bytes(number + 1))
        trio.run(store.put, digest_of(b"all"), b"all")
        store.close()
    given = ("--config", str(config))
    assert run(("cas", "stats", *given), "builder") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[::5] == ["Tier: blobs.far.a", "Tier: second", "Tier: routes.0.blobs"]
    assert told[1::5] == ["Blobs: 2"] * 3
    assert run(("cas", "stats", "--tier", "second", *given), "builder") == 0
    assert capsys.readouterr().out.splitlines() == told[6:10]
    assert run(("cas", "verify", *given), "builder") == 0
    assert capsys.readouterr().out == "6 blobs checked, 0 damaged\n"
    assert run(("cas", "gc", "--to", "0", *given), "builder") == 2
    assert "of blobs.far.a, second, routes.0.blobs" in capsys.readouterr().err
    assert run(("cas", "gc", "--to", "1", "--tier", "second", *given), "builder") == 0
    assert capsys.readouterr().out
    assert run(("cas", "stats", "--tier", "blobs.near", *given), "builder") == 2
    assert "blobs.near (memory), blobs.far.a (disk)" in capsys.readouterr().err
    assert run(("cas", "export", str(tmp_path / "out"), *given), "builder") == 0
    assert capsys.readouterr().out.startswith("4 blobs exported")
    config.write_text("storage: {blobs: {memory: {}}}")
    for command in (("stats",), ("verify",), ("gc", "--to", "0"), ("export", str(tmp_path / "o"))):
        assert run(("cas", *command, *given), "builder") == 2
        assert "it is made of blobs (memory)" in capsys.readouterr().err


async def test_trees_go_there_and_back(
    address: str, blobs: MemoryBlobStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A service's directory is exported with all below it, and imported where it is missing."""
    file = digest_of(b"content")
    below = pb.Directory(files=[pb.FileNode(name="run", digest=to_proto(file))])
    data = below.SerializeToString()
    nodes = [pb.DirectoryNode(name=n, digest=to_proto(digest_of(data))) for n in ("a", "b")]
    root = pb.Directory(directories=nodes).SerializeToString()
    for one in (b"content", data, root):
        await blobs.put(digest_of(one), one)
    out = str(tmp_path / "out")
    assert await cas(address, "export", out, named(digest_of(root)), "--tree") == 0
    assert capfd.readouterr().out.startswith("3 blobs exported")
    fresh = MemoryBlobStore(64 * MIB)
    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1:0")
        await nursery.start(serve, services_of(fresh), listeners)
        assert await cas(str(listeners[0].address), "import", out) == 0
        nursery.cancel_scope.cancel()
    assert await fresh.find_missing([file, digest_of(data), digest_of(root)]) == []


async def test_what_is_not_its_name_is_left_out(
    address: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Files with a wrong name or other bytes are told, and the others imported; no directory is
    no import."""
    folder = tmp_path / "blobs" / "sha256"
    folder.mkdir(parents=True)
    (folder / "readme.txt").write_bytes(b"hello")
    (folder / digest_of(b"good").hash).write_bytes(b"good")
    (folder / digest_of(b"evil").hash).write_bytes(b"Evil")
    assert await cas(address, "import", str(tmp_path)) == 1
    said = capfd.readouterr()
    assert said.out == "1 blob imported (4 B), 0 were there\n"
    assert "readme.txt is not named by a hash: left out" in said.err
    assert f"{digest_of(b'evil').hash} does not have the hash" in said.err
    assert await cas(address, "import", str(folder)) == 1
    assert "has no blobs/FUNCTION/HASH" in capfd.readouterr().err


async def test_a_service_heals_a_store(
    address: str, blobs: MemoryBlobStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is damaged is fetched from a service that has it; what that has not stays missing."""
    store = DiskBlobStore(tmp_path / "blobs", 1 << 30, 0.0)
    digests = await fill(store)
    await blobs.put(digests[3], await store.get(digests[3]))
    store.close()
    for digest in (digests[1], digests[3]):
        await trio.to_thread.run_sync(spoil, tmp_path, digest)
    line = ("cas", "verify", "--repair", "--from", address, "--store", str(tmp_path))
    assert await trio.to_thread.run_sync(run, line, "builder") == 1
    assert capfd.readouterr().out.splitlines() == [
        f"damaged and put aside: {digests[1]}",
        f"damaged, put aside and healed: {digests[3]}",
        "4 blobs checked, 2 damaged, 1 healed",
    ]
