"""ActionResults as outputs."""

import pytest

from builder.action.result import beneath, inline_contents, outputs_of, trees_of
from builder.action.tree import File, Folder, Link
from builder.base.digest import digest_of
from builder.base.errors import BuilderError, DataLossError, InvalidArgumentError
from builder.reapi.digests import to_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from tests.action.test_tree import as_tree

A, B = digest_of(b"a"), digest_of(b"bb")


def output_file(path: str, **more: object) -> pb.OutputFile:
    return pb.OutputFile(path=path, digest=to_proto(A), **more)  # type: ignore[arg-type]


def test_files_links_and_trees() -> None:
    """Roots are what was declared; entries hold what lies beneath directories too."""
    tree = as_tree({"x": File(A, True), "e": Folder(), "d/y": Link("../x")})
    data = tree.SerializeToString()
    result = pb.ActionResult(
        output_files=[output_file("bin/a", is_executable=True, contents=b"a")],
        output_directories=[pb.OutputDirectory(path="t", tree_digest=to_proto(digest_of(data)))],
        output_symlinks=[pb.OutputSymlink(path="l", target="bin/a")],
        output_file_symlinks=[pb.OutputSymlink(path="l", target="bin/a")],
    )
    assert trees_of(result) == [digest_of(data)]
    outputs = outputs_of(result, {digest_of(data): data})
    assert outputs.roots == {"bin/a": File(A, True), "l": Link("bin/a"), "t": Folder()}
    assert outputs.entries == {
        **outputs.roots,
        "t/x": File(A, True),
        "t/e": Folder(),
        "t/d": Folder(),
        "t/d/y": Link("../x"),
    }
    assert inline_contents(result) == {A: b"a"}
    assert beneath("", outputs) is outputs
    moved = beneath("lib/x", outputs)
    assert moved.roots.keys() == {"lib/x/bin/a", "lib/x/l", "lib/x/t"}
    assert moved.entries["lib/x/t/x"] == File(A, True)


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "", "a/../b", "a//b"])
def test_results_that_would_leave_the_project(path: str) -> None:
    """Nothing is ever written outside, whatever a server says."""
    for result in (
        pb.ActionResult(output_files=[output_file(path)]),
        pb.ActionResult(output_symlinks=[pb.OutputSymlink(path=path, target="x")]),
        pb.ActionResult(
            output_directories=[pb.OutputDirectory(path=path, tree_digest=to_proto(A))]
        ),
    ):
        with pytest.raises(InvalidArgumentError):
            outputs_of(result, {A: b""})


def test_results_that_contradict_themselves() -> None:
    """The same path twice, a tree that is none, a link to nothing."""
    tree = as_tree({"x": File(A)})
    data = tree.SerializeToString()
    digest = digest_of(data)
    directory = pb.OutputDirectory(path="t", tree_digest=to_proto(digest))
    cases: list[tuple[pb.ActionResult, type[BuilderError]]] = [
        (pb.ActionResult(output_files=[output_file("a"), output_file("a")]), DataLossError),
        (
            pb.ActionResult(output_files=[output_file("t/x")], output_directories=[directory]),
            DataLossError,
        ),
        (
            pb.ActionResult(output_symlinks=[pb.OutputSymlink(path="l", target="")]),
            InvalidArgumentError,
        ),
    ]
    for result, kind in cases:
        with pytest.raises(kind):
            outputs_of(result, {digest: data})
    with pytest.raises(DataLossError, match="cannot be read"):
        outputs_of(pb.ActionResult(output_directories=[directory]), {digest: b"\xff\xff"})
