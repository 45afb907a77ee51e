"""Whether runs made the same bytes, and in what they differ."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.action.tree import Entry, File, Folder, Link
from builder.base.digest import Digest, digest_of
from builder.client.executor import Ticket
from builder.client.target import Built, Choices
from builder.client.verify import (
    SEEDS,
    await_another_second,
    conclusion,
    described,
    differences,
    first_difference,
    keep,
    seeds,
    workers,
)
from tests.client.fakes import World

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


RUNS = [
    {"a": Built(ACTION, {"a": File(A)}, False, proof="w1 (hermetic: x)"), "b": made()},
    {"a": Built(ACTION, {"a": File(A)}, False, proof="w2 (hermetic: x)"), "b": made()},
]


def test_the_conclusion() -> None:
    """Where the runs were; what has no outputs is not called equal."""
    assert workers(RUNS) == ("w1", "w2")
    said = conclusion(RUNS, [])
    assert said == "2 runs made the same bytes (on w1 (hermetic: x), w2 (hermetic: x))"
    assert conclusion(RUNS, ["difference"]) == "run 1 was on w1; run 2 was on w2"
    nothing = [{"a": Built(ACTION, {}, False, proof="w")}] * 3
    assert conclusion(nothing, []) == "3 runs succeeded (on w); there are no outputs to compare"


def test_another_second() -> None:
    """The next run shows another time of day than the one that began then."""
    began = time.time()
    await_another_second(began)
    assert int(time.time()) > int(began)


def test_seeds() -> None:
    """Each variable has the number of the run."""
    assert seeds(3) == dict.fromkeys(SEEDS, "3")


async def test_only_the_target_itself_varies(tmp_path: Path) -> None:
    """What it needs comes from the cache as ever; what it sets itself stays."""
    world = World(tmp_path)
    world.write(
        {
            "Builderfile": """
target lib: {inputs: [a], outputs: [lib], command: [cat, lib, a]}
target app:
  inputs: [":lib"]
  outputs: [app]
  env: {PYTHONHASHSEED: mine}
  command: [cat, app, lib]
""",
            "a": "a",
        }
    )
    await world.build("app")
    tickets: list[Ticket] = []
    world.executor.before = tickets.append
    world.choices = Choices(fresh=frozenset(["app"]), variables=seeds(2), avoid=("w1",))
    await world.build("app")
    assert [(one.target, one.avoid) for one in tickets] == [("app", ("w1",))]
    told = world.workspace.history.last("app")
    assert told is not None
    assert told["reasons"] == ["env BUILDER_SEED is new: 2", "env PERL_HASH_SEED is new: 2"]
