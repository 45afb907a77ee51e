"""A workspace of several packages."""

import json
import os
from pathlib import Path

import pytest

from builder.base.errors import UsageError
from builder.client.builderfile import find, read, walker_of
from builder.client.noop import answer
from builder.client.watching import Watcher
from builder.project.graph import Graph, graph
from builder.reapi.digests import from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from tests.client.fakes import World
from tests.client.test_noop import until_certain
from tests.project.sample import SCHEMA

FILES: dict[str, str | bytes] = {
    "Builderfile.workspace": "vars: {mark: '!'}\n",
    "Builderfile": """\
target all: {depends: ["//app:app", "//lib/net:text"]}
target top: {inputs: [top.txt], outputs: [out/top], command: [cat, out/top, top.txt]}
""",
    "top.txt": "T{{mark}}",
    "lib/net/Builderfile": """\
vars: {name: net}
target text:
  foreach: "src/*.txt"
  inputs: ["//shared/*.h"]
  outputs: ["out/{{name}}"]
  command: [cat, "out/{{name}}", "lib/net/{{file}}"]
target joined: {inputs: [":text"], outputs: [joined], command: [cat, joined, lib/net/out/a.txt]}
""",
    "lib/net/src/a.txt": "A",
    "shared/one.h": "H",
    "app/Builderfile": """\
target app:
  inputs: ["//lib/net:joined", "//:top", "*.c", "!b.c"]
  outputs: [app, dir/]
  command: [tree, dir, "{{mark}}"]
""".replace("outputs: [app, dir/]", "outputs: [dir/]"),
    "app/a.c": "a",
    "app/b.c": "b",
    "skipped/Builderfile": "wrong",
    ".builderignore": "skipped/\n",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "project")
    world.write(FILES)
    return world


def opened(root: Path, start: str = ".") -> Graph:
    return graph(read(find(root / start), lambda: SCHEMA, start=(root / start).resolve()))


def test_the_whole_graph(world: World) -> None:
    """Each directory with a Builderfile is a package; paths are those of the workspace."""
    found = opened(world.root)
    targets = found.project.targets
    assert list(targets) == [
        "all",
        "top",
        "//app:app",
        "//lib/net:text/src/a.txt",
        "//lib/net:text",
        "//lib/net:joined",
    ]
    assert found.needs["//app:app"] == ("//lib/net:joined", "top")
    assert found.makers["lib/net/out/a.txt"] == "//lib/net:text/src/a.txt"
    one = targets["//lib/net:text/src/a.txt"]
    assert [item.pattern.text for item in one.inputs if item.pattern] == [
        "lib/net/src/a.txt",
        "shared/*.h",
    ]


def test_names_where_somebody_stands(world: World) -> None:
    """A name alone is of the package around; nothing named is all of it, from there on."""
    lib = opened(world.root, "lib/net/src")
    assert lib.select(["joined", "//:top"]) == ["//lib/net:joined", "top"]
    assert lib.select([])[0] == "//lib/net:text/src/a.txt"
    assert opened(world.root).select(["//lib/..."])[-1] == "//lib/net:joined"
    assert len(opened(world.root).select(["//..."])) == 6
    assert len(opened(world.root).select(["///..."])) == 6
    assert opened(world.root, "shared").project.here == ""
    with pytest.raises(UsageError, match=r"no target '//lib/net:jined'; did you mean"):
        lib.select(["jined"])
    with pytest.raises(UsageError, match=r"no package //lob"):
        lib.select(["//lob/..."])


async def test_build(world: World) -> None:
    """Commands run in their package's directory; outputs land beneath it."""
    summary = await world.build("//app:app")
    assert summary.failed == ()
    assert world.executor.ran[-1] == "//app:app"
    assert world.text("lib/net/joined") == "A"
    assert (world.root / "app" / "dir" / "!").read_text() == "!"
    seen = world.executor.sandboxes["//app:app"]
    assert sorted(seen) == ["app/a.c", "lib/net/joined", "out/top"]
    assert world.text("out/top") == "T{{mark}}"


async def test_two_checkouts(world: World, tmp_path: Path) -> None:
    """At another place, and asked for from within a package, all actions are the same."""
    first = await world.build("//app:app", "all")
    second_world = World(tmp_path / "elsewhere" / "deep")
    second_world.write(FILES)
    second = await second_world.build("all", "//app:app")
    actions = {name: built.action for name, built in first.built.items()}
    assert {name: built.action for name, built in second.built.items()} == actions
    action = pb.Action.FromString(await world.blobs.get(actions["//lib/net:joined"]))
    command = await world.blobs.get(from_proto(action.command_digest))
    found = pb.Command.FromString(command)
    assert (found.working_directory, list(found.output_paths)) == ("lib/net", ["joined"])


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "a path of another package": (
        {"app/Builderfile": "target t: {inputs: ['../top.txt'], command: [x]}\n"},
        "app/Builderfile:1:21: '../top.txt' holds '..'",
    ),
    "an unknown target there": (
        {"app/Builderfile": "target app: {inputs: ['//lib/net:jined'], command: [x]}\n"},
        "app/Builderfile:1:23: there is no target '//lib/net:jined'; did you mean",
    ),
    "an output of two": (
        {"lib/Builderfile": "target t: {outputs: [net/out/a.txt], command: [x]}\n"},
        "lib/net/Builderfile:5:13: output 'lib/net/out/a.txt' of target",
    ),
    "a cycle through packages": (
        {
            "lib/net/Builderfile": "target joined: {depends: ['//app:app'], command: [x]}\n",
            "Builderfile": FILES["Builderfile"].replace("//lib/net:text", "//lib/net:joined"),  # type: ignore[dict-item, type-var, arg-type]  # it is a text
        },
        "targets need each other: //app:app -> //lib/net:joined -> //app:app",
    ),
    "a target in the workspace file": (
        {"Builderfile.workspace": "target t: {command: [x]}\n"},
        "Builderfile.workspace:1:1: 'target t' cannot stand here",
    ),
    "a package that cannot be named": (
        {"a b/Builderfile": "target t: {command: [x]}\n"},
        "'a b' cannot name a package",
    ),
    "nothing there": ({"app/Builderfile": "vars: {}\n"}, "app/Builderfile:1:1: there is no target"),
}


@pytest.mark.parametrize("what", WRONG)
def test_errors_name_their_file(world: World, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With line, column and caret of the Builderfile in which it is wrong."""
    files, said = WRONG[what]
    world.write(dict(files))
    monkeypatch.chdir(world.root)
    with pytest.raises(UsageError) as caught:
        opened(world.root)
    assert said in str(caught.value)


def test_no_package_at_all(tmp_path: Path) -> None:
    """The message says what is missing."""
    (tmp_path / "Builderfile.workspace").write_text("")
    with pytest.raises(UsageError, match="no Builderfile beneath"):
        opened(tmp_path)


def test_an_input_that_is_ignored(world: World) -> None:
    """A glob beneath it finds nothing, and the message says why; a path in full is meant."""
    (world.root / "app" / "Builderfile").unlink()
    world.write({"Builderfile": "target t: {inputs: ['skipped/**'], command: [x]}\n"})
    with pytest.raises(UsageError, match=r"matches no file: \.builderignore hides 'skipped'"):
        world_check(world)
    world.write({"Builderfile": "target t: {inputs: ['skipped/Builderfile'], command: [x]}\n"})
    world_check(world)


def world_check(world: World) -> None:
    from builder.client.filestate import FileStates
    from builder.client.scan import Scanner

    walker = walker_of(world.root)
    found = graph(read(find(world.root), lambda: SCHEMA, walker=walker))
    Scanner(found, walker, FileStates(world.root)).check(found.project.targets["t"])


async def test_receipts_notice_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other Builderfiles, packages that come, and what is ignored."""
    monkeypatch.chdir(world.root)
    await until_certain(world)
    assert answer(["build"], 0.0)
    changes = {
        "lib/net/Builderfile": FILES["lib/net/Builderfile"],
        "Builderfile.workspace": "vars: {mark: '?'}\n",
        ".builderignore": "skipped/\nother/\n",
        "new/Builderfile": "target t: {outputs: [o], inputs: [Builderfile], "
        "command: [cat, new/o, new/Builderfile]}\n",
    }
    for path, text in changes.items():
        world.write({path: text})
        assert not answer(["build"], 0.0), path
        await until_certain(world)
        assert answer(["build"], 0.0), path


def test_documents_are_remembered_one_by_one(world: World) -> None:
    """Only the one that changed is parsed again."""
    memory = world.root / "memory.json"
    first = read(find(world.root), lambda: SCHEMA, memory)
    assert len(json.loads(memory.read_text())) == 4

    def never() -> dict[str, object]:
        raise AssertionError("the schema is not needed")

    assert read(find(world.root), never, memory) == first


def test_watching_leaves_out_what_is_ignored(world: World) -> None:
    """As it does outputs, in all packages."""
    watcher = Watcher(world.root / "Builderfile.workspace", lambda: SCHEMA, 0.001)
    world.write({"skipped/x": "x", "lib/net/out/a.txt": "made"})
    assert not watcher.changed()
    world.write({"lib/net/src/a.txt": "AA"})
    assert watcher.changed()


def test_the_nearest_workspace_wins(world: World) -> None:
    """A Builderfile within a workspace is no project of its own, unless it is one."""
    assert find(world.root / "lib" / "net") == world.root / "Builderfile.workspace"
    os.rename(world.root / "Builderfile.workspace", world.root / "lib" / "Builderfile.workspace")
    assert find(world.root / "lib" / "net") == world.root / "lib" / "Builderfile.workspace"
    assert find(world.root / "app") == world.root / "app" / "Builderfile"
