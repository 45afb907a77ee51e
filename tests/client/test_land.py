"""Outputs into the project, whatever stands there."""

import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings

from builder.action.result import Outputs
from builder.action.tree import Entry, File, Folder, Link
from builder.base.digest import Digest, digest_of
from builder.base.errors import BuilderError, DataLossError, NotFoundError
from builder.client.filestate import FileStates
from builder.client.land import Lander
from builder.client.state import StateDirectory
from builder.stores.memory import MemoryBlobStore
from tests.action.test_tree import trees


def lander(root: Path) -> Lander:
    return Lander(root, StateDirectory(root), FileStates(root), trio.Lock())


def seen(root: Path) -> dict[str, object]:
    """Everything beneath: a file's bytes and mode, a link's target, None for a directory."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = (path.read_bytes(), os.access(path, os.X_OK))
    return found


CONTENTS = {digest_of(data): data for data in (b"", b"a", b"bb", b"\0" * 400_000)}


async def filled() -> MemoryBlobStore:
    blobs = MemoryBlobStore(1 << 30)
    for digest, data in CONTENTS.items():
        await blobs.put(digest, data)
    return blobs


class AnyBlobs(MemoryBlobStore):
    """Has every blob of up to three bytes: hypothesis makes files of those."""

    def __init__(self) -> None:
        super().__init__(1 << 30)
        self.known: dict[Digest, bytes] = {}

    async def get(self, digest: Digest) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.known[digest]


def short() -> dict[Digest, bytes]:
    """Every string of up to two bytes of a few, by its digest."""
    letters = [b"", *(bytes([n]) for n in range(256))]
    return {digest_of(data): data for data in letters}


SHORT = short()


def known(tree: dict[str, Entry]) -> dict[str, Entry]:
    """The same tree with files that SHORT has."""
    some = list(SHORT)
    return {
        path: File(some[entry.digest.size_bytes * 7 % len(some)], entry.executable)
        if isinstance(entry, File)
        else entry
        for path, entry in tree.items()
    }


def as_outputs(tree: dict[str, Entry], root: str) -> Outputs:
    entries: dict[str, Entry] = {root: Folder()}
    for path, entry in tree.items():
        above = [path.rsplit("/", n)[0] for n in range(1, path.count("/") + 1)]
        entries |= {f"{root}/{p}": Folder() for p in above}
        entries[f"{root}/{path}"] = entry
    return Outputs({root: Folder()}, entries)


def wanted(outputs: Outputs) -> dict[str, object]:
    found: dict[str, object] = {}
    for path, entry in outputs.entries.items():
        match entry:
            case File(digest, executable):
                found[path] = (SHORT[digest], executable)
            case Link(target):
                found[path] = target
            case Folder():
                found[path] = None
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees(), trees())
def test_any_tree_replaces_any_other(before: dict[str, Entry], after: dict[str, Entry]) -> None:
    """What stands there afterwards is exactly the result; landing it again fetches nothing."""
    blobs = AnyBlobs()
    blobs.known = SHORT
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        here = lander(root)
        for tree in (before, after):
            outputs = as_outputs(known(tree), "out")
            trio.run(here.land, outputs, blobs)
            found = seen(root / "out")
            assert {f"out/{name}": value for name, value in found.items()} == {
                name: value for name, value in wanted(outputs).items() if name != "out"
            }
        assert trio.run(here.land, outputs, blobs) == 0
        assert seen(root / ".builder" / "tmp") == {}


async def test_a_file_takes_the_place_of_anything(tmp_path: Path) -> None:
    """Of a file, an empty directory and a link, also one that leads to itself or nowhere; and a
    directory takes the place of a link that leads nowhere."""
    blobs = await filled()
    file = File(digest_of(b"a"), executable=True)
    (tmp_path / "file").write_text("old")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    names = ("file", "directory", "link", "loop", "new/deep/file")
    outputs = Outputs(dict.fromkeys(names, file), dict.fromkeys(names, file))
    await lander(tmp_path).land(outputs, blobs)
    assert {name: seen(tmp_path)[name] for name in names} == dict.fromkeys(names, (b"a", True))
    for number, target in enumerate(("nowhere", "file", "new")):
        (tmp_path / f"l{number}").symlink_to(target)
        await lander(tmp_path).land(as_outputs({"x": file}, f"l{number}"), blobs)
        assert seen(tmp_path / f"l{number}") == {"x": (b"a", True)}


async def test_a_directory_of_somebody_else_stays(tmp_path: Path) -> None:
    """What no build has made is not replaced, neither by a directory nor by a file; once a
    build has made it, the next process may replace it too."""
    blobs = await filled()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.c").write_text("mine")
    outputs = as_outputs({"x": File(digest_of(b"a"))}, "src")
    file: dict[str, Entry] = {"src": File(digest_of(b"a"))}
    for attempt in (outputs, Outputs(file, file)):
        with pytest.raises(BuilderError, match="would replace a directory that no build has made"):
            await lander(tmp_path).land(attempt, blobs)
        assert seen(tmp_path / "src") == {"main.c": (b"mine", False)}
    (tmp_path / "src" / "main.c").unlink()
    await lander(tmp_path).land(outputs, blobs)
    (tmp_path / "src" / "more").write_text("x")
    await lander(tmp_path).land(outputs, blobs)
    assert seen(tmp_path / "src") == {"x": (b"a", False)}
    (tmp_path / ".builder" / "made.json").write_text("7")
    await lander(tmp_path).land(outputs, blobs)  # the same already, so it is ours again
    (tmp_path / "src" / "more").write_text("x")
    await lander(tmp_path).land(outputs, blobs)
    assert seen(tmp_path / "src") == {"x": (b"a", False)}


async def test_nothing_lands_unless_all_is_there(tmp_path: Path) -> None:
    """One lost blob, and no output of the target is touched."""
    blobs = await filled()
    (tmp_path / "a").write_text("old")
    entries: dict[str, Entry] = {
        "a": File(digest_of(b"a")),
        "b": File(digest_of(b"not stored")),
    }
    with pytest.raises(NotFoundError):
        await lander(tmp_path).land(Outputs(entries, entries), blobs)
    assert (tmp_path / "a").read_text() == "old"
    assert not (tmp_path / "b").exists()


class Damaged(MemoryBlobStore):
    """Gives other bytes than those asked for."""

    async def get(self, digest: Digest) -> bytes:
        return (await super().get(digest))[::-1] + b"x"

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        async for piece in super().read(digest, offset, limit):
            yield piece[:-1] + b"x"


@pytest.mark.parametrize("data", [b"a", b"\0" * 400_000])
async def test_damaged_bytes_never_land(tmp_path: Path, data: bytes) -> None:
    """They are noticed before anything is moved, small or large."""
    blobs = Damaged(1 << 30)
    await blobs.put(digest_of(data), data)
    entries: dict[str, Entry] = {"a": File(digest_of(data))}
    with pytest.raises(DataLossError):
        await lander(tmp_path).land(Outputs(entries, entries), blobs)
    assert not (tmp_path / "a").exists()


async def test_large_files_and_given_contents(tmp_path: Path) -> None:
    """Large blobs come in pieces; what the result carries already is not fetched."""
    blobs = await filled()
    large, given = digest_of(b"\0" * 400_000), digest_of(b"given")
    entries: dict[str, Entry] = {"large": File(large), "given": File(given)}
    fetched = await lander(tmp_path).land(Outputs(entries, entries), blobs, {given: b"given"})
    assert fetched == 400_005
    assert (tmp_path / "large").read_bytes() == b"\0" * 400_000
    assert (tmp_path / "given").read_bytes() == b"given"


async def test_a_build_directory_on_another_disk(tmp_path: Path) -> None:
    """`build` may be a link to another file system: files and directories are copied there."""
    other = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        if other.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is on the same file system here")
        (tmp_path / "build").symlink_to(other)
        outputs = as_outputs({"x": File(digest_of(b"a"), True), "l": Link("x")}, "build/d")
        file: dict[str, Entry] = {"build/f": File(digest_of(b"bb"))}
        both = Outputs({**outputs.roots, **file}, {**outputs.entries, **file})
        await lander(tmp_path).land(both, await filled())
        (other / "d" / "more").write_text("x")
        await lander(tmp_path).land(both, await filled())
        assert seen(other) == {"d": None, "d/l": "x", "d/x": (b"a", True), "f": (b"bb", False)}
    finally:
        shutil.rmtree(other)
