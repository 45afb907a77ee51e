"""Whether runs made the same bytes, and in what they differ."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.action.tree import Entry, File, Folder, Link
from builder.base.digest import Digest, digest_of
from builder.client.target import Built
from builder.client.verify import described, differences, first_difference, keep

ACTION = digest_of(b"action")
CONTENTS = {digest_of(data): data for data in (b"same", b"0123456789AB", b"0123x56789AB", b"0123")}
A, B, SHORT = (digest_of(data) for data in (b"0123456789AB", b"0123x56789AB", b"0123"))


def made(**entries: Entry) -> Built:
    return Built(ACTION, entries, False)


CASES = {
    "bytes": (
        File(B),
        (
            "out: run 1 and run 2 differ from byte 4 on (34 35 36 37 38 39 41 42 and "
            "78 35 36 37 38 39 41 42; 12 and 12 bytes)"
        ),
    ),
    "length": (
        File(SHORT),
        "out: run 1 and run 2 differ from byte 4 on (34 35 36 37 38 39 41 42 and ; 12 and 4 bytes)",
    ),
    "mode": (File(A, True), "out: executable in one of the runs 1 and 2 only"),
    "link": (Link("x"), "out: run 1 made file, run 2 made link"),
    "folder": (Folder(), "out: run 1 made file, run 2 made folder"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_difference_is_told(case: str) -> None:
    """Of two files with the offset and some bytes, of anything else by kind."""
    entry, said = CASES[case]
    (found,) = differences([made(out=File(A)), made(out=entry)])
    assert described(found, CONTENTS.__getitem__) == said


def test_runs_are_compared_with_the_first() -> None:
    """Paths that are missing in one of them count; equal runs have no difference."""
    runs = [made(a=File(A)), made(a=File(A)), made(a=File(A), b=File(B)), made()]
    found = [(one.path, one.run) for one in differences(runs)]
    assert found == [("b", 3), ("a", 4)]
    last = list(differences(runs))[-1]
    assert described(last, CONTENTS.__getitem__) == "a: run 1 made file, run 4 made nothing"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_the_first_difference(one: bytes, other: bytes) -> None:
    """Everything before it is equal, and the byte itself is not."""
    at = first_difference(one, other)
    assert one[:at] == other[:at]
    assert one == other or one[at : at + 1] != other[at : at + 1]


def test_files_are_kept_over_the_next_run(tmp_path: Path) -> None:
    """Under another name, each content once."""
    (tmp_path / "kept").mkdir()
    kept: dict[Digest, Path] = {}
    (tmp_path / "out").write_bytes(b"0123456789AB")
    keep(tmp_path, [made(out=File(A)), made(out=File(A), gone=Link("x"))], tmp_path / "kept", kept)
    (tmp_path / "new").write_bytes(b"0123x56789AB")
    (tmp_path / "new").rename(tmp_path / "out")
    assert {digest: path.read_bytes() for digest, path in kept.items()} == {A: b"0123456789AB"}
