"""A failure that speaks of a file which is no input."""

from pathlib import Path

import pytest

from builder.client.console import Streams
from builder.client.undeclared import undeclared
from builder.project.model import Target, output
from tests.client.fakes import World

PROJECT = {"src/a.h", "lib/b.c", "lib/net/c.txt", "out/x", "d.txt"}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"a.c:1:10: fatal error: src/a.h: No such file or directory", "src/a.h"),
        (b"cat: './lib//b.c': No such file", "lib/b.c"),
        (b'cannot open "d.txt".', "d.txt"),
        (b"src/a.h and lib/b.c", "src/a.h, lib/b.c"),
        (b"given.c: it is an input; out/x: an output; /src/a.h, ../d.txt; nothing/there", ""),
        (b"\xff\xfe \0", ""),
    ],
)
def test_what_is_named(said: bytes, found: str) -> None:
    """Files of the project that are neither inputs nor outputs."""
    target = Target("t", outputs=(output("out/x", ()),))
    text = undeclared(target, Streams(b"", said), {"given.c"}, (PROJECT | {"given.c"}).__contains__)
    assert text.removeprefix("; ").partition(" are in")[0].partition(" is in")[0] == found


def test_in_a_package() -> None:
    """Paths are those of the command's directory, and so is the advice."""
    target = Target("//lib:t", package="lib")
    text = undeclared(target, Streams(b"net/c.txt?", b"x net/c.txt"), (), PROJECT.__contains__)
    assert text == (
        "; net/c.txt is in the project and no input of '//lib:t': add to its 'inputs' what it needs"
    )


async def test_build(tmp_path: Path) -> None:
    """The failure of the target names file and cure."""
    world = World(tmp_path)
    text = "target t: {command: [fail, 1, 'no such file: src/a.h']}\n"
    world.write({"Builderfile": text, "src/a.h": ""})
    assert (await world.build()).failed == ("t",)
    assert "failed on" in world.errors
    assert "exit code 1; src/a.h is in the project and no input of 't'" in world.errors


async def test_what_nobody_keeps_is_told_once(tmp_path: Path) -> None:
    """With the target and what to do; not of a test, nor on a hit."""
    world = World(tmp_path)
    world.write(
        {
            "Builderfile": "target t: {outputs: [out], command: [cat, out]}\n"
            "target check: {test: true, outputs: [seen], command: [cat, seen]}\n"
        }
    )
    world.executor.undeclared = ("b.txt",)
    await world.build("t")
    assert world.errors == (
        "[WARN] b.txt is no output of 't' and not kept; "
        "add to 'outputs' what is to be kept, and write the rest to /tmp\n"
    )
    assert [one.more for one in world.events if one.kind == "unkept"] == [{"paths": ["b.txt"]}]
    await world.build("t", "check")
    assert world.errors == ""
