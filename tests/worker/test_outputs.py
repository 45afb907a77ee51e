"""What an action left behind, read as hostile ground."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from builder.base.digest import Digest, digest_of
from builder.base.errors import FailedPreconditionError
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.worker.command import plan
from builder.worker.outputs import KEEP_BYTES, Bounds, Collected, collect, pieces

GIB = 1024**3
AMPLE = Bounds(GIB)
NOBODY = 60998
COLLECT = """
import sys
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.worker.command import plan
from builder.worker.outputs import Bounds, collect

command = plan(pb.Command(arguments=["x"], output_paths=["p", "d"]))
found = collect(int(sys.argv[1]), command, "sha256", Bounds(1 << 30))
trees = [data for data in found.blobs.values() if b"p" in data]
[tree] = [pb.Tree.FromString(data) for data in trees]
print(found.result.output_files[0].is_executable, tree.root.files[0].is_executable)
"""


def collected(
    root: Path,
    *paths: str,
    function: str = "sha256",
    bounds: Bounds = AMPLE,
    **fields: object,
) -> Collected:
    command = pb.Command(arguments=["x"], output_paths=paths, **fields)  # type: ignore[arg-type]
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    before = len(os.listdir("/proc/self/fd"))
    try:
        return collect(descriptor, plan(command), function, bounds)
    finally:
        assert len(os.listdir("/proc/self/fd")) == before  # no descriptor is left open
        os.close(descriptor)


def tree_of(found: Collected, number: int = 0) -> pb.Tree:
    digest = found.result.output_directories[number].tree_digest
    data = found.blobs[Digest(digest.hash, digest.size_bytes)]
    assert isinstance(data, bytes)
    return pb.Tree.FromString(data)


def test_files_with_their_executable_bit(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "plain").write_bytes(b"p")
    (tmp_path / "run").write_bytes(b"r")
    (tmp_path / "run").chmod(0o755)
    found = collected(tmp_path, "d/plain", "run", "absent", "no/such/place")
    assert list(found.result.output_files) == [
        pb.OutputFile(path="d/plain", digest=to_proto(digest_of(b"p"))),
        pb.OutputFile(path="run", digest=to_proto(digest_of(b"r")), is_executable=True),
    ]
    assert found.blobs == {digest_of(b"p"): b"p", digest_of(b"r"): b"r"}


def test_directories_are_trees_in_topological_order(tmp_path: Path) -> None:
    """Each child stands once, after every directory that holds it (REAPI 2.4)."""
    shared = {"leaf": b"leaf"}
    layout = {"a": {"s": shared}, "b": {"deep": {"s": shared}}, "s": shared, "f": b"f"}

    def make(at: Path, entries: dict[str, object]) -> None:
        at.mkdir()
        for name, entry in entries.items():
            if isinstance(entry, dict):
                make(at / name, entry)
            else:
                assert isinstance(entry, bytes)
                (at / name).write_bytes(entry)

    make(tmp_path / "out", layout)
    found = collected(tmp_path, "out")
    assert found.result.output_directories[0].is_topologically_sorted
    tree = tree_of(found)
    order = [digest_of(d.SerializeToString()).hash for d in (tree.root, *tree.children)]
    assert len(order) == len(set(order)) == 4  # root, b, s, and one for both a and deep
    for place, directory in enumerate((tree.root, *tree.children)):
        for node in directory.directories:
            assert order.index(node.digest.hash) > place
    assert [node.name for node in tree.root.directories] == ["a", "b", "s"]


@pytest.mark.parametrize("form", list(pb.Command.OutputDirectoryFormat.values()))
def test_directory_formats(tmp_path: Path, form: pb.Command.OutputDirectoryFormat) -> None:
    """DIRECTORY_ONLY and TREE_AND_DIRECTORY store each Directory and name the root's digest."""
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "sub" / "x").write_bytes(b"x")
    found = collected(tmp_path, "out", output_directory_format=form)
    made = found.result.output_directories[0]
    assert made.HasField("tree_digest") == (form != pb.Command.DIRECTORY_ONLY)
    assert made.HasField("root_directory_digest") == (form != pb.Command.TREE_ONLY)
    if made.HasField("root_directory_digest"):
        digest = made.root_directory_digest
        data = found.blobs[Digest(digest.hash, digest.size_bytes)]
        assert isinstance(data, bytes)
        below = pb.Directory.FromString(data).directories[0].digest
        assert Digest(below.hash, below.size_bytes) in found.blobs


def test_symlinks_are_told_and_never_followed(tmp_path: Path) -> None:
    """API 2.1 has one list; the lists of 2.0 are filled by what the link ends at."""
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"f")
    for name, target in {
        "to-f": "f",
        "to-d": "./d",
        "out": "/etc/passwd",
        "lost": "nowhere",
        "round": "round",
        "up": "d/..",
    }.items():
        (tmp_path / name).symlink_to(target)
    found = collected(tmp_path, "to-f", "to-d", "out", "lost", "round", "up").result
    assert [(link.path, link.target) for link in found.output_symlinks] == [
        ("to-f", "f"),
        ("to-d", "./d"),
        ("out", "/etc/passwd"),
        ("lost", "nowhere"),
        ("round", "round"),
        ("up", "d/.."),
    ]
    assert [link.path for link in found.output_directory_symlinks] == ["to-d", "up"]
    assert not found.output_files
    assert not found.output_directories


def test_a_symlinked_parent_is_followed_only_within_the_tree(tmp_path: Path) -> None:
    """An action may write through a link; a link out of the tree leads to nothing."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "real" / "sub").mkdir(parents=True)
    (root / "real" / "made").write_bytes(b"made")
    (root / "inside").symlink_to("real/sub/..")
    (root / "absolute").symlink_to("/builder/work/real")
    (root / "escape").symlink_to("../outside")
    (root / "escape2").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    paths = ["inside/made", "absolute/made", "escape/secret", "escape2/secret", "loop/made"]
    found = collected(root, *paths).result
    assert [file.path for file in found.output_files] == ["inside/made", "absolute/made"]


@pytest.mark.parametrize("where", ["out", "dir"])
def test_special_files_are_refused_and_never_opened(tmp_path: Path, where: str) -> None:
    """A FIFO that nobody writes to does not hang the worker."""
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / ("out" if where == "out" else "dir/out"))
    with pytest.raises(FailedPreconditionError, match="is a FIFO: only files"):
        collected(tmp_path, where)


def test_sockets_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "out"))
        with pytest.raises(FailedPreconditionError, match="is a socket"):
            collected(tmp_path, "out")


def test_old_fields_want_their_kind(tmp_path: Path) -> None:
    """API 2.0: a directory where a file was declared, or the other way, FAILED_PRECONDITION."""
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(FailedPreconditionError, match="output file 'd' is a directory"):
        collected(tmp_path, output_files=["d"])
    with pytest.raises(FailedPreconditionError, match="output directory 'f' is a file"):
        collected(tmp_path, output_directories=["f"])


def test_the_whole_work_tree_may_be_an_output(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    found = collected(tmp_path, output_directories=[""])
    assert [node.name for node in tree_of(found).root.files] == ["f"]


def test_names_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with open(os.fsencode(tmp_path / "d") + b"/\xff\xfe", "wb"):
        pass
    with pytest.raises(FailedPreconditionError, match="is not UTF-8"):
        collected(tmp_path, "d")


def test_odd_names_are_kept(tmp_path: Path) -> None:
    names = ["\n", " ", "-rf", "a'b\"", "ü", "…"]
    (tmp_path / "d").mkdir()
    for name in names:
        (tmp_path / "d" / name).write_bytes(b"")
    found = tree_of(collected(tmp_path, "d"))
    assert [node.name for node in found.root.files] == sorted(names, key=str.encode)


def test_large_files_are_hashed_in_pieces_and_read_again(tmp_path: Path) -> None:
    """What is too large to keep is named by its path; the bytes come from there in pieces."""
    data = os.urandom(KEEP_BYTES * 3 + 17)
    (tmp_path / "big").write_bytes(data)
    found = collected(tmp_path, "big")
    assert found.blobs == {digest_of(data): "big"}
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert b"".join(pieces(descriptor, "big")) == data
    finally:
        os.close(descriptor)


def test_outputs_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte is refused by its size, not read."""
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FailedPreconditionError, match=r"over 1\.0 GB, at 'sparse'"):
        collected(tmp_path, "sparse")


def test_directories_without_rights_are_read(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "x").write_bytes(b"x")
    (tmp_path / "d" / "sub" / "x").chmod(0)
    (tmp_path / "d" / "sub").chmod(0)
    found = collected(tmp_path, "d/sub/x", "d")
    (tmp_path / "d" / "sub").chmod(0o700)
    assert found.result.output_files[0].digest == to_proto(digest_of(b"x"))


def test_who_may_only_execute_a_file_keeps_that(tmp_path: Path) -> None:
    """A program that nobody may read is read all the same, and is a program still."""
    for name in ("p", "d/p"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(0o111)
    who = {}
    if os.getuid() == 0:  # who may read anything
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    home = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-B", "-c", COLLECT, str(root)],
        cwd=home,
        env={"PYTHONPATH": str(home)},
        pass_fds=[root],
        capture_output=True,
        text=True,
        check=False,
        **who,  # type: ignore[arg-type]
    )
    os.close(root)
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_too_many_levels_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "d"
    deep.mkdir()
    descriptor = os.open(deep, os.O_RDONLY)
    for _ in range(260):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    with pytest.raises(FailedPreconditionError, match="more than 200 levels"):
        collected(tmp_path, "d")


def test_the_function_of_the_action_names_the_outputs(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    assert set(collected(tmp_path, "f", function="blake3").blobs) == {digest_of(b"f", "blake3")}


def test_node_properties_of_outputs(tmp_path: Path) -> None:
    """Those that the command asks for, of files, links and directories; unknown ones are not."""
    (tmp_path / "d").mkdir()
    for path in ("f", "d/g"):
        (tmp_path / path).write_bytes(b"")
        (tmp_path / path).chmod(0o640)
        os.utime(tmp_path / path, ns=(5, 7_000_000_009))
    (tmp_path / "l").symlink_to("f")
    os.utime(tmp_path / "l", ns=(5, 9), follow_symlinks=False)
    (tmp_path / "d").chmod(0o750)
    os.utime(tmp_path / "d", ns=(5, 11))
    asked = ["mtime", "unix_mode", "colour"]
    found = collected(tmp_path, "f", "d", "l", output_node_properties=asked)
    file = found.result.output_files[0].node_properties
    assert (file.mtime.seconds, file.mtime.nanos, file.unix_mode.value) == (7, 9, 0o640)
    assert found.result.output_symlinks[0].node_properties.mtime.nanos == 9
    root = tree_of(found).root
    assert root.node_properties.mtime.nanos == 11
    assert root.node_properties.unix_mode.value == 0o750
    assert root.files[0].node_properties == file
    only = collected(tmp_path, "f", "d", output_node_properties=["unix_mode"])
    assert not only.result.output_files[0].node_properties.HasField("mtime")
    none = collected(tmp_path, "f", "d")
    assert not none.result.output_files[0].HasField("node_properties")
    assert not tree_of(none).root.HasField("node_properties")


@pytest.mark.parametrize("form", ["link", "d"])
def test_absolute_links_by_permission(tmp_path: Path, form: str) -> None:
    """A link that is an output, or beneath one, leads to no absolute path where none is taken."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    for link in (tmp_path / "link", tmp_path / "d" / "e" / "link"):
        link.symlink_to("/etc/passwd")
    collected(tmp_path, form)
    with pytest.raises(FailedPreconditionError, match=r"/etc/passwd.*reapi\.absolute_symlinks"):
        collected(tmp_path, form, bounds=Bounds(GIB, absolute_links=False))
    collected(tmp_path, "d/e/nothing", bounds=Bounds(GIB, absolute_links=False))
