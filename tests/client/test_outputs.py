"""Outputs that are globs: found out when the command has ended."""

from pathlib import Path

import pytest

from builder.action.result import Outputs
from builder.action.tree import Entry, File, Folder, Link
from builder.base.digest import digest_of
from builder.base.errors import UsageError
from builder.client import clean
from builder.client.outputs import by_globs, declared, executables, places, problem
from builder.project.model import output
from tests.client.fakes import World
from tests.project.sample import graph_of

ONE, TWO = File(digest_of(b"1")), File(digest_of(b"2"), True)
ENTRIES: dict[str, Entry] = {
    "gen": Folder(),
    "gen/a.h": ONE,
    "gen/b.c": TWO,
    "gen/in.h": ONE,
    "gen/sub": Folder(),
    "gen/sub/c.h": Link("../a.h"),
    "app": TWO,
}
MADE = Outputs({"gen": Folder(), "app": TWO}, ENTRIES)


def outputs(*texts: str) -> list[object]:
    return [output(text, ()) for text in texts]


def test_what_is_brought_back() -> None:
    """Of a glob its directory; nothing is asked for that lies beneath another one."""
    assert places(outputs("gen/*.h", "gen/sub/**", "app", "gen/x")) == ["gen", "app"]


def test_what_matches() -> None:
    """Files and links, without inputs that lie there, beside what was named."""
    found = declared(outputs("gen/**/*.h", "app"), MADE, {"gen/in.h"})
    assert found.roots == {"gen/a.h": ONE, "gen/sub/c.h": Link("../a.h"), "app": TWO}
    assert found.entries == found.roots
    assert by_globs(outputs("gen/**/*.h", "app"), found) == ["gen/a.h", "gen/sub/c.h"]
    assert declared(outputs("gen/", "app"), MADE, ()) is MADE


def test_a_directory_beside_globs() -> None:
    """It comes with all that is in it."""
    found = declared(outputs("gen/*.c", "gen/sub/"), MADE, ())
    assert list(found.roots) == ["gen/b.c", "gen/sub"]
    assert set(found.entries) == {"gen/b.c", "gen/sub", "gen/sub/c.h"}


def test_what_is_wrong() -> None:
    """A glob must match; files are files, and directories directories."""
    wanted = outputs("gen/*.x", "app")
    assert problem(wanted, declared(wanted, MADE, ())).startswith(
        "the command succeeded without making gen/*.x;"
    )
    assert problem(outputs("app/"), MADE) == "output 'app' is a file; write 'app' in 'outputs'"
    assert "write 'gen/'" in problem(outputs("gen", "app"), MADE)
    assert problem(outputs("gen/", "app"), MADE) == ""


def test_programs() -> None:
    """In the order of the declaration."""
    assert executables(outputs("app", "gen/*"), ENTRIES) == ["app", "gen/b.c"]


BUILDERFILE = """\
target gen:
  inputs: [n, gen/seed]
  outputs: ["gen/*.h", "gen/*.sh"]
  command: [tree, gen, a.h, b.sh, c]
target use: {inputs: [":gen", "gen/*.c"], outputs: [used], command: [cat, used, gen/a.h, gen/x.c]}
target one: {inputs: [gen/b.sh], outputs: [one], command: [cat, one, gen/b.sh]}
"""


async def test_build(tmp_path: Path) -> None:
    """Only what matches lands; sources beside it stay, and are what globs of inputs see."""
    world = World(tmp_path)
    world.write({"Builderfile": BUILDERFILE, "n": "", "gen/seed": "S", "gen/x.c": "X"})
    summary = await world.build()
    assert not summary.failed, world.errors
    assert world.executor.sandboxes["use"].keys() == {"gen/a.h", "gen/b.sh", "gen/x.c"}
    assert world.executor.sandboxes["one"].keys() == {"gen/b.sh"}
    assert (world.text("used"), world.text("one")) == ("a.hX", "b.sh")
    assert sorted(path.name for path in (tmp_path / "gen").iterdir()) == [
        "a.h",
        "b.sh",
        "seed",
        "x.c",
    ]
    (tmp_path / "gen" / "a.h").unlink()
    summary = await world.build()
    assert all(built.cached for built in summary.built.values())
    assert world.text("gen/a.h") == "a.h"
    every = [one for target in world.graph.project.targets.values() for one in target.outputs]
    assert clean.clean(tmp_path, every, everything=False)[0] == 4
    assert sorted(path.name for path in (tmp_path / "gen").iterdir()) == ["seed", "x.c"]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("['*.o']", "[x]"), "is a glob over the whole work tree"),
        (("['gen/*.o']", "[gen/a.o]"), "beneath 'gen/\\*.o' is an output of target 'a'"),
        (("['gen/*.o']", "[gen/]"), "beneath 'gen' is an output of target 'b'"),
        (("['gen/*.o']", "['gen/*.o']"), "the same path is an output of target 'a'"),
    ],
)
def test_overlaps(texts: tuple[str, str], said: str) -> None:
    """Whatever can be known before anything runs is told with its place."""
    text = "target a: {{command: [x], outputs: {}}}\ntarget b: {{command: [x], outputs: {}}}\n"
    with pytest.raises(UsageError, match=said):
        graph_of(text.format(*texts))
