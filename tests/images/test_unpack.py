"""Layers on disk: what a layer says is there, and what a hostile one wants is not."""

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.images.compressed import LayerBytes
from builder.images.errors import HostileLayerError
from builder.images.layers import MOST_DEPTH, Bounds
from builder.images.merged import Merged, is_opaque, is_whiteout
from builder.images.unpack import Unpacker
from tests.images.pictures import (
    WHEN,
    digest,
    directory,
    entry,
    gzipped,
    hard_link,
    symlink,
    tar,
    zstd,
)


class Shelf:
    """Layers that are unpacked one above the other."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self.layers: list[str] = []

    def add(self, *entries: tuple[tarfile.TarInfo, bytes], bounds: Bounds | None = None) -> Path:
        return self.add_bytes(tar(*entries), bounds)

    def add_bytes(self, data: bytes, bounds: Bounds | None = None) -> Path:
        place = self._place / str(len(self.layers) + 1)
        place.mkdir()
        bounds = bounds or Bounds(1 << 30)
        archive = LayerBytes(io.BytesIO(data), "sha256", bounds.spend)
        unpacker = Unpacker(str(place), self.layers[::-1], bounds, lambda: None)
        unpacker.unpack(archive.read)
        self.skipped, self.size_bytes = unpacker.skipped, unpacker.size_bytes
        self.layers.append(str(place))
        return place

    def seen(self, path: str) -> os.stat_result | None:
        return Merged(self.layers[::-1]).look(tuple(path.split("/")))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "layers").mkdir()
    (tmp_path / "outside").write_text("untouched")
    return Shelf(tmp_path / "layers")


def test_files_are_as_the_layer_says(shelf: Shelf) -> None:
    """Bytes, modes, times, links and own attributes; set-user-id, labels and devices are not."""
    made = shelf.add(
        directory("./", mode=0o711),
        directory("etc", mode=0o1750),
        entry("etc/a", b"text", mode=0o4751, pax_headers={
            "SCHILY.xattr.user.kind": "own",
            "SCHILY.xattr.user.overlay.opaque": "y",
            "SCHILY.xattr.security.capability": "x",
            "SCHILY.xattr.trusted.overlay.opaque": "y",
        }),
        entry("etc/none", b"", mode=0),
        symlink("etc/away", "/outside/../../of/all"),
        hard_link("etc/b", "etc/a"),
        entry("dev/console", type=tarfile.CHRTYPE),
        entry("pipe", type=tarfile.FIFOTYPE),
        entry("/absolute", b"below the root"),
    )  # fmt: skip
    found = os.stat(made / "etc/a")
    assert (made / "etc/a").read_text() == "text"
    assert stat.S_IMODE(found.st_mode) == 0o751
    assert found.st_mtime == WHEN == os.stat(made / "etc").st_mtime
    assert os.stat(made / "etc/b").st_ino == found.st_ino
    assert os.listxattr(made / "etc/a") == ["user.kind"]
    assert os.readlink(made / "etc/away") == "/outside/../../of/all"
    assert os.lstat(made / "etc/away").st_mtime == WHEN
    assert stat.S_IMODE(os.stat(made / "etc").st_mode) == 0o1750
    assert stat.S_IMODE(os.stat(made).st_mode) == 0o711
    assert stat.S_IMODE(os.stat(made / "etc/none").st_mode) == 0o400
    assert (made / "absolute").exists()
    assert sorted(os.listdir(made)) == ["absolute", "etc"]
    assert shelf.skipped == 2


def test_whiteouts_hide_what_is_below(shelf: Shelf) -> None:
    """A removed name is gone, an opaque directory shows its own only, a name may come again."""
    shelf.add(
        *(entry(name) for name in ("a/gone", "a/kept", "b/old", "c/x/deep", "d/x", "e", "f/x")),
    )
    top = shelf.add(
        entry("a/.wh.gone"),
        entry("b/new"),
        entry("b/.wh..wh..opq"),
        entry(".wh.c"),
        directory("c"),
        entry("c/own"),
        entry("d/.wh.x"),
        entry("d/x", b"again"),
        entry("e"),
        entry(".wh.e"),
        directory("f"),
        entry(".wh.f"),
    )
    for path in ("a/gone", "b/old", "c/x", "c/x/deep", "f/x"):
        assert shelf.seen(path) is None, path
    for path in ("a/kept", "b/new", "c/own", "d/x", "e", "f"):
        assert shelf.seen(path) is not None, path
    assert is_whiteout(os.lstat(top / "a/gone"))
    assert [name for name in "abcdf" if is_opaque(str(top / name))] == ["b", "c", "f"]
    assert (top / "d/x").read_text() == "again"


def test_a_layer_may_lean_on_those_below(shelf: Shelf) -> None:
    """Directories that it does not name keep their modes, links among them are followed, hard
    links reach files below, and an explicit directory replaces a link."""
    shelf.add(
        directory("tmp", mode=0o1777),
        directory("usr/lib"),
        symlink("lib", "usr/lib"),
        symlink("other", "/usr/./lib/../lib"),
        symlink("loop", "loop"),
        entry("usr/lib/file", b"shared"),
    )
    top = shelf.add(
        entry("tmp/x"),
        entry("lib/through"),
        entry("other/too"),
        entry("loop/own"),
        hard_link("usr/lib/link", "usr/lib/file"),
    )
    assert stat.S_IMODE(os.stat(top / "tmp").st_mode) == 0o1777
    assert sorted(os.listdir(top / "usr/lib")) == ["link", "through", "too"]
    assert sorted(os.listdir(top)) == ["loop", "tmp", "usr"]
    assert (top / "usr/lib/link").read_text() == "shared"
    above = shelf.add(directory("lib"), entry("lib/own"))
    assert sorted(os.listdir(above)) == ["lib"]


def test_a_removed_directory_lends_nothing(shelf: Shelf) -> None:
    """Neither modes, nor links, nor files: in the image they are gone."""
    shelf.add(directory("a", mode=0o711), directory("a/b", mode=0o711), entry("a/b/file"))
    shelf.add(symlink("link", "a"), directory("own"))
    top = shelf.add(entry(".wh.a"), entry("a/b/new"), entry(".wh.link"), entry("link/x"))
    assert stat.S_IMODE(os.stat(top / "a/b").st_mode) == 0o755
    assert (top / "link/x").exists()
    assert shelf.seen("a/b/file") is None
    with pytest.raises(HostileLayerError, match="no file of the image"):
        shelf.add(hard_link("own/file", "a/b/file"))


DEEP = "/".join("d" for _ in range(MOST_DEPTH + 1))
HOSTILE: dict[str, tuple[str, list[tuple[tarfile.TarInfo, bytes]]]] = {
    "parent path": ("leaves the image", [entry("../outside", b"changed")]),
    "parent path inside": ("leaves the image", [entry("a/../../outside", b"changed")]),
    "parent path after absolute": ("leaves the image", [entry("/../outside", b"changed")]),
    "through own absolute link": (
        "leads through",
        [symlink("a", "@OUTSIDE@"), entry("a/outside", b"changed")],
    ),
    "through own relative link": (
        "leads through",
        [symlink("a", "../.."), entry("a/outside", b"changed")],
    ),
    "link swapped for a directory": (
        "twice",
        [directory("a"), symlink("a", "@OUTSIDE@"), entry("a/outside", b"changed")],
    ),
    "directory swapped for a link": (
        "twice",
        [symlink("a", "@OUTSIDE@"), directory("a"), entry("a/outside", b"changed")],
    ),
    "file written through a link": (
        "twice",
        [symlink("a", "@OUTSIDE@/outside"), entry("a", b"changed")],
    ),
    "hard link by parent path": ("leaves the image", [hard_link("a", "../../outside")]),
    "hard link to an absolute path": (
        "no file of the image",
        [hard_link("a", "@OUTSIDE@/outside")],
    ),
    "hard link through a link": (
        "no file of the image",
        [symlink("a", "@OUTSIDE@"), hard_link("b", "a/outside")],
    ),
    "hard link to a directory": ("no file of the image", [directory("a"), hard_link("b", "a")]),
    "hard link to a removed name": ("no file of the image", [entry(".wh.a"), hard_link("b", "a")]),
    "hard link to itself": ("itself", [hard_link("a", "./a")]),
    "hard link to the root": ("nothing", [hard_link("a", "/")]),
    "removed through own link": (
        "leads through",
        [symlink("a", "@OUTSIDE@"), entry("a/.wh.outside")],
    ),
    "hidden through own link": (
        "leads through",
        [symlink("a", "@OUTSIDE@"), entry("a/.wh..wh..opq")],
    ),
    "removes its parent": ("removed", [entry(".wh...")]),
    "removes nothing": ("removed", [entry("a/.wh.")]),
    "file twice": ("twice", [entry("a", b"1"), entry("a", b"2")]),
    "file below a file": ("leads through", [entry("a", b"1"), entry("a/b", b"2")]),
    "link to nothing": ("file system", [symlink("a", "")]),
    "link with a NUL": ("file system", [entry("a", type=b"2", pax_headers={"linkpath": "b\0c"})]),
    "name with a NUL": ("file system", [entry("x", pax_headers={"path": "b\0c"})]),
    "endless name": ("file system", [entry("n" * 300)]),
    "endless target": ("file system", [symlink("a", "n" * 5000)]),
    "bottomless path": ("deeper", [entry(DEEP)]),
    "headers without end": ("headers", [entry("a", pax_headers={"comment": "x" * (1 << 20)})]),
    "sparse file": ("sparse", [entry("a", pax_headers={"GNU.sparse.major": "1"})]),
    "huge size": ("ends in the middle", [entry("a", pax_headers={"size": "9" * 17})]),
    "size that is none": ("pax header", [entry("a", pax_headers={"size": "-1"})]),
    "unknown type": ("type", [entry("a", type=b"V")]),
    "old sparse type": ("type", [entry("a", type=b"S")]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_layer_is_refused(what: str, shelf: Shelf, tmp_path: Path) -> None:
    """One clear error, and nothing outside of the layer's own directory is touched or linked."""
    why, entries = HOSTILE[what]
    for info, _ in entries:
        info.linkname = info.linkname.replace("@OUTSIDE@", str(tmp_path))
    with pytest.raises(HostileLayerError, match=why):
        shelf.add(*entries)
    assert (tmp_path / "outside").read_text() == "untouched"
    assert os.stat(tmp_path / "outside").st_nlink == 1
    assert sorted(os.listdir(tmp_path)) == ["layers", "outside"]


def test_a_link_below_cannot_lead_out(shelf: Shelf, tmp_path: Path) -> None:
    """A link of a lower layer is followed in the image, whatever the host has at its target."""
    shelf.add(symlink("a", str(tmp_path)), symlink("up", "../../../../.."), directory("in"))
    top = shelf.add(entry("a/outside", b"own"), entry("up/outside2", b"own"), entry("in/x"))
    assert (tmp_path / "outside").read_text() == "untouched"
    assert (top / "a/outside").read_text() == "own"  # its target is not in the image
    assert (top / "outside2").read_text() == "own"  # the image's root is above itself


@pytest.mark.parametrize("pack", [gzipped, zstd, bytes])
def test_a_bomb_is_refused_before_it_is_written(
    pack: Callable[[bytes], bytes], shelf: Shelf, tmp_path: Path
) -> None:
    """What unpacks to more than there is room for ends when the room does."""
    packed = pack(tar(entry("a", bytes(64 << 20))))
    with pytest.raises(HostileLayerError, match="max_size"):
        shelf.add_bytes(packed, Bounds(1 << 20))
    written = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert written < 4 << 20


def test_too_many_entries_are_refused(shelf: Shelf) -> None:
    """Directories that are only named by what is in them count too."""
    with pytest.raises(HostileLayerError, match="entries"):
        shelf.add(*(entry(f"d{n}/x") for n in range(10)), bounds=Bounds(1 << 20, entries_left=15))


def test_compressed_bytes_are_all_of_them() -> None:
    """Several gzip members and zstd frames are one stream, and its digest is that of the whole."""
    data = tar(entry("a", os.urandom(100_000)), entry("b"))
    halves = data[:70_000], data[70_000:]
    for packed in (data, *(b"".join(map(pack, halves)) for pack in (gzipped, zstd))):
        spent: list[int] = []
        layer = LayerBytes(io.BytesIO(packed), "sha256", spent.append)
        assert layer.read(10) == data[:10]
        assert layer.diff_id() == digest(data)
        assert sum(spent) == len(data)


@pytest.mark.parametrize("pack", [gzipped, zstd])
def test_damaged_compression_is_never_whole(pack: Callable[[bytes], bytes]) -> None:
    """Cut short, or with another byte: an error, or not the digest that it should have."""
    data = tar(entry("a", os.urandom(50_000)))
    packed = pack(data)
    for damaged in (packed[:-100], packed[:900] + bytes([packed[900] ^ 255]) + packed[901:]):
        layer = LayerBytes(io.BytesIO(damaged), "sha256", lambda _n: None)
        try:
            assert layer.diff_id() != digest(data)
        except HostileLayerError as error:
            assert "decompressed" in error.message or "ends" in error.message  # noqa: PT017
