"""Whole builds on a store in memory, with an executor of our own."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio

from builder.base.digest import Digest
from builder.base.errors import UsageError
from builder.client.executor import Ticket
from builder.client.target import Choices
from builder.stores.memory import MemoryBlobStore
from tests.client.fakes import World

ONE = """\
target app:
  inputs: ["src/**", "!src/**/*.bak"]
  outputs: [out/app]
  command: [cat, out/app, src/a, src/d/b]
"""
FILES: dict[str, str | bytes] = {"src/a": "A", "src/d/b": "B", "src/c.bak": "C"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def times_out(lines: str) -> str:
    """Lines with their durations and sizes as `T` and `S`."""
    lines = re.sub(r"\d+(\.\d)?(ms|s)\b", "T", lines)
    return re.sub(r"\(\d+ K?B\)", "(S)", lines)


async def test_a_miss_and_then_a_hit(world: World) -> None:
    """The first build uploads, executes and lands; the second only asks; both say so exactly."""
    world.write({"Builderfile": ONE, **FILES})
    summary = await world.build("app")
    assert world.text("out/app") == "AB"
    assert not summary.failed
    assert world.executor.sandboxes["app"].keys() == {"src/a", "src/d/b"}
    assert times_out(world.lines) == (
        "[INFO] Using remote execution (coordinator: 127.0.0.1:9000)\n"
        "[INFO] Uploading inputs... (S)\n"
        "[INFO] Executing on worker-1 (hermetic: namespaces+cgroup)\n"
        "[INFO] Build completed in T\n"
        "[INFO] Cache miss → stored for reuse\n"
    )
    summary = await world.build("app")
    assert summary.built["app"].cached
    assert world.executor.ran == []
    assert times_out(world.lines) == (
        "[INFO] Cache hit: app (stored 2m ago)\n[INFO] Build completed in T\n"
    )


async def test_a_hit_brings_back_what_is_gone_or_changed(world: World) -> None:
    """Outputs are what the result says, whatever has become of them since."""
    world.write({"Builderfile": ONE, **FILES})
    await world.build("app")
    inode = os.stat(world.root / "out/app").st_ino
    await world.build("app")
    assert os.stat(world.root / "out/app").st_ino == inode  # left alone
    world.write({"out/app": "tampered"})
    await world.build("app")
    assert world.text("out/app") == "AB"
    (world.root / "out/app").unlink()
    (world.root / "out/app").mkdir()
    await world.build("app")
    assert world.text("out/app") == "AB"
    assert world.executor.ran == []


async def test_what_changes_an_action(world: World) -> None:
    """Contents count; times do not; files outside of the inputs do not."""
    world.write({"Builderfile": ONE, **FILES})
    await world.build("app")
    os.utime(world.root / "src/a", ns=(1, 1))
    world.write({"unrelated": "x", "src/c.bak": "D"})
    await world.build("app")
    assert world.executor.ran == []
    world.write({"src/a": "a"})
    await world.build("app")
    assert world.executor.ran == ["app"]
    assert world.text("out/app") == "aB"
    world.write({"src/a": "A"})
    await world.build("app")
    assert world.executor.ran == []
    assert world.text("out/app") == "AB"


async def test_two_checkouts_give_the_same_digests(tmp_path: Path) -> None:
    """Where a checkout lies is not in its actions."""
    actions = []
    for place in ("one", "another/place with spaces"):
        world = World(tmp_path / place)
        world.write({"Builderfile": ONE, **FILES})
        actions.append((await world.build()).built["app"].action)
    assert actions[0] == actions[1]


CHAIN = """\
target gen: {command: [cat, gen/x, seed], inputs: [seed], outputs: [gen/x]}
target dir: {command: [tree, tree, one, two.sh], outputs: [tree/]}
target use: {command: [cat, used, gen/x, tree/one], inputs: [":gen", tree/one], outputs: [used]}
target all: {command: [cat, all, used, tree/two.sh], depends: [use, dir], outputs: [all]}
"""


async def test_outputs_are_inputs_of_others(world: World) -> None:
    """By label, by path within a directory, by depends; a tree lands with its link and bits."""
    world.write({"Builderfile": CHAIN, "seed": "S"})
    await world.build("all")
    assert world.text("all") == "Sonetwo.sh"
    assert world.executor.sandboxes["use"] == {"gen/x": b"S", "tree/one": b"one"}
    assert world.executor.sandboxes["all"].keys() == {
        "used",
        "tree/one",
        "tree/two.sh",
        "tree/link",
    }
    assert sorted(p.name for p in (world.root / "tree").iterdir()) == [
        "empty",
        "link",
        "one",
        "two.sh",
    ]
    assert os.readlink(world.root / "tree/link") == "one"
    assert os.access(world.root / "tree/two.sh", os.X_OK)
    assert not os.access(world.root / "tree/one", os.X_OK)
    assert "[INFO] use: Executing on worker-1" in world.lines
    assert world.lines.endswith(
        "[INFO] 4 targets: 0 from the cache, 4 built → 4 stored for reuse\n"
    )
    await world.build("all")
    assert world.lines.endswith("[INFO] 4 targets: 4 from the cache, 0 built\n")


async def test_a_changed_tree_is_put_right(world: World) -> None:
    """A file too many, a missing link: the directory is replaced as a whole."""
    world.write({"Builderfile": CHAIN, "seed": "S"})
    await world.build("dir")
    world.write({"tree/extra": "x"})
    (world.root / "tree/link").unlink()
    await world.build("dir")
    assert not (world.root / "tree/extra").exists()
    assert os.readlink(world.root / "tree/link") == "one"
    assert list((world.root / ".builder/tmp").iterdir()) == []


async def test_an_unchanged_output_stops_the_change(world: World) -> None:
    """A changed input whose output stays the same leaves everything after it a hit."""
    world.write({"Builderfile": CHAIN.replace("[seed]", "[seed, note]"), "seed": "S", "note": "1"})
    await world.build("all")
    world.write({"note": "2"})
    await world.build("all")
    assert world.executor.ran == ["gen"]


FAILING = """\
target bad: {command: [fail, "3", "boom: a.c:1"], outputs: [bad]}
target after: {command: [cat, after, bad], depends: [bad], outputs: [after]}
target fine: {command: [cat, fine], outputs: [fine]}
"""


async def test_a_failure_shows_everything(world: World) -> None:
    """The command's own words, target, worker and exit code; nothing is stored, nothing lands."""
    world.write({"Builderfile": FAILING})
    summary = await world.build("bad")
    assert summary.failed == ("bad",)
    assert times_out(world.errors) == (
        "some output\nboom: a.c:1\n"
        "[ERROR] Target bad failed on worker-1 (hermetic: namespaces+cgroup): exit code 3\n"
        "[ERROR] Build failed in T\n"
    )
    assert "stored" not in world.lines
    assert not (world.root / "bad").exists()
    await world.build("bad")
    assert world.executor.ran == ["bad"]  # a failure is never a hit


@pytest.mark.parametrize(
    ("command", "message", "said"),
    [
        (
            "slow",
            None,
            "so far\n[ERROR] Target t failed on worker-1 (hermetic: namespaces+cgroup): ",
        ),
        ("slow", None, "): execution timeout exceeded: 1.0s; raise 'timeout' in 'hermetic'"),
        ("broken", None, "the disk is on fire (INTERNAL)"),
        ("fail, '139', x", None, "exit code 139 (128 + signal 11)"),
        ("fail, '127', x", None, "exit code 127 (a program was not found: actions have a PATH"),
        ("fail, '137', x", "w (hermetic: n): oom", "on w (hermetic: n): oom (exit code 137)"),
    ],
)
async def test_other_ways_to_fail(
    world: World, command: str, message: str | None, said: str
) -> None:
    """Timeouts, servers' errors, signals and what the worker adds to them."""
    world.write({"Builderfile": f"target t: {{command: [{command}]}}\n"})
    world.executor.message = message
    assert (await world.build()).failed == ("t",)
    assert said in world.errors


async def test_a_commands_own_words(world: World) -> None:
    """What a successful command wrote is shown, from blobs too, and again on a hit."""
    world.write({"Builderfile": "target t: {command: [loud]}\n"})
    await world.build()
    assert "out\n" in world.lines
    assert world.errors == "err\n"
    await world.build()
    assert world.lines.startswith("[INFO] Cache hit: t (stored 2m ago)\nout\n")
    assert world.errors == "err\n"


async def test_a_hit_that_the_server_finds(world: World) -> None:
    """A result that was stored between our question and the execution is told as a hit."""
    world.write({"Builderfile": ONE, **FILES})
    world.executor.cached = True
    assert (await world.build()).built["app"].cached
    assert "[INFO] Cache hit: app (stored 2m ago)\n" in world.lines
    assert "Executing" not in world.lines.splitlines()[-1]
    assert "Cache miss" not in world.lines


class Meddling(MemoryBlobStore):
    """Changes a source file between its hashing and its upload."""

    path: Path

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        self.path.write_text("changed")
        return await super().find_missing(digests)


async def test_a_file_that_changes_while_it_is_built(tmp_path: Path) -> None:
    """The upload notices: what was hashed is not what is there, so nothing is built of it."""
    blobs = Meddling(1 << 30)
    world = World(tmp_path, blobs)
    world.write({"Builderfile": ONE, **FILES})
    blobs.path = tmp_path / "src/a"
    assert (await world.build()).failed == ("app",)
    assert "a changed while it was uploaded" in world.errors
    blobs.path = tmp_path / "unrelated"
    (tmp_path / "src/a").write_text("gone soon")

    async def gone(digests: Iterable[Digest]) -> list[Digest]:
        (tmp_path / "src/a").unlink(missing_ok=True)
        return await MemoryBlobStore.find_missing(blobs, digests)

    blobs.find_missing = gone  # type: ignore[method-assign]
    assert (await world.build()).failed == ("app",)
    assert "src/a cannot be read: No such file or directory" in world.errors


async def test_stopping_and_keeping_going(world: World) -> None:
    """The first failure stops the build; with keep_going the rest is built."""
    world.write({"Builderfile": FAILING})
    summary = await world.build(jobs=1)
    assert (summary.failed, set(summary.skipped)) == (("bad",), {"after", "fine"})
    summary = await world.build(jobs=1, keep_going=True)
    assert (summary.failed, summary.skipped) == (("bad",), ("after",))
    assert world.text("fine") == ""
    assert "1 failed, 1 not built" in world.errors


async def test_a_missing_output_is_told(world: World) -> None:
    """A command that makes nothing fails, and the old output stays."""
    text = "target t: {command: [lazy, x], outputs: [x, y/]}\n"
    world.write({"Builderfile": text, "x": "old"})
    summary = await world.build()
    assert summary.failed == ("t",)
    assert "the command succeeded without making x, y; correct 'outputs'" in world.errors
    assert world.text("x") == "old"


@pytest.mark.parametrize(
    ("command", "output", "said"),
    [("[cat, o]", "o/", "output 'o' is a file; write 'o'"), ("[tree, o, x]", "o", "write 'o/'")],
)
async def test_the_wrong_kind_of_output(world: World, command: str, output: str, said: str) -> None:
    """A directory declared as a file, or the other way round, is told with what to write."""
    world.write({"Builderfile": f"target t: {{command: {command}, outputs: [{output}]}}\n"})
    assert (await world.build()).failed == ("t",)
    assert said in world.errors


MISSING = {
    "no match": (
        "target t:\n  command: [x]\n  inputs: [src/*.c, lib/*.c]\n",
        "Builderfile:3:21: input 'lib/*.c' matches no file\n",
    ),
    "no file": (
        "target t:\n  command: [x]\n  inputs: [src/b.c]\n",
        "Builderfile:3:12: input 'src/b.c' does not exist\n",
    ),
    "all excluded": (
        "target t:\n  command: [x]\n  inputs: [src/*.c, '!src/**']\n",
        "Builderfile:3:12: input 'src/*.c' matches no file that is not excluded\n",
    ),
    "a directory": (
        "target t:\n  command: [x]\n  inputs: [src]\n",
        "Builderfile:3:12: input 'src' of target 't' is a directory\n",
    ),
    "outputs only": (
        "target o: {command: [x], outputs: [o/a]}\ntarget t:\n  command: [x]\n  inputs: ['o/*']\n",
        "Builderfile:4:12: input 'o/*' matches outputs only, and globs find source files\n",
    ),
}


@pytest.mark.parametrize("case", MISSING)
async def test_inputs_that_are_not_there(world: World, case: str) -> None:
    """They are told with their place before anything is built."""
    text, said = MISSING[case]
    world.write({"Builderfile": text, "src/a.c": ""})
    with pytest.raises(UsageError) as caught:
        await world.build("t")
    assert str(caught.value).removeprefix(f"{world.root}/").startswith(said)
    assert world.executor.ran == []


async def test_globs_do_not_follow_links(world: World) -> None:
    """A glob that begins in a linked directory says where it leads."""
    world.write({"Builderfile": 'target t: {command: [x], inputs: ["src/lib/*"]}\n', "real/a": ""})
    (world.root / "src").symlink_to("real")
    with pytest.raises(UsageError, match="'src' is a symlink, and globs follow none"):
        await world.build()


async def test_a_path_that_a_directory_does_not_hold(world: World) -> None:
    """An input within another target's output directory has to be there in the end."""
    world.write(
        {
            "Builderfile": "target d: {command: [tree, d, one], outputs: [d/]}\n"
            "target t: {command: [x], inputs: [d/two]}\n"
        }
    )
    assert (await world.build("t")).failed == ("t",)
    assert "target 'd' was to make 'd/two', and did not" in world.errors


async def test_links_to_nowhere_and_devices(world: World) -> None:
    """A link out of the project that leads to no file is told; sockets and pipes are passed by."""
    world.write({"Builderfile": 'target t: {command: [cat, o], inputs: ["in/*"], outputs: [o]}\n'})
    world.write({"in/a": "1"})
    os.mkfifo(world.root / "in/pipe")
    await world.build()
    assert set(world.executor.sandboxes["t"]) == {"in/a"}
    (world.root / "in/gone").symlink_to("/nowhere/at/all")
    assert (await world.build()).failed == ("t",)
    assert "input 'in/gone' cannot be read: No such file or directory" in world.errors
    world.write({"Builderfile": "target t: {command: [cat, o], inputs: [in/pipe], outputs: [o]}\n"})
    assert (await world.build()).failed == ("t",)
    assert "input 'in/pipe' cannot be read: it is neither a file nor a symlink" in world.errors


async def test_globs_never_see_outputs(world: World) -> None:
    """What an earlier build left in the tree is not an input, so the second build is a hit."""
    text = 'target t: {command: [cat, deep/out, a], inputs: ["**"], outputs: [deep/out]}\n'
    world.write({"Builderfile": text, "a": "1"})
    await world.build()
    assert set(world.executor.sandboxes["t"]) == {"Builderfile", "a"}
    await world.build()
    assert world.executor.ran == []


async def test_symlinks(world: World) -> None:
    """One within the project stays a link; one that leads out is taken as the file."""
    world.write({"Builderfile": 'target t: {command: [cat, o], inputs: ["in/*"], outputs: [o]}\n'})
    world.write({"in/real": "R"})
    outside = world.root.parent / f"{world.root.name}-outside"
    outside.write_text("OUT")
    (world.root / "in/near").symlink_to("real")
    (world.root / "in/up").symlink_to("../in/real")
    (world.root / "in/far").symlink_to(outside)
    (world.root / "in/rel").symlink_to(f"../../{outside.name}")
    await world.build()
    assert world.executor.sandboxes["t"] == {
        "in/real": b"R",
        "in/near": b"-> real",
        "in/up": b"-> ../in/real",
        "in/far": b"OUT",
        "in/rel": b"OUT",
    }


async def test_no_cache(world: World) -> None:
    """`--no-cache` runs again; `cache: false` is never stored and never looked up."""
    world.write({"Builderfile": ONE, **FILES})
    await world.build()
    world.choices = Choices(use_cache=False)
    await world.build()
    assert world.executor.ran == ["app"]
    world.choices = Choices()
    world.write({"Builderfile": ONE + "  cache: false\n"})
    for _ in range(2):
        await world.build()
        assert world.executor.ran == ["app"]
        assert "stored" not in world.lines


async def test_jobs_and_parallelism(world: World) -> None:
    """-j holds for the build, `parallelism` for what a target needs."""
    text = "".join(
        f"target t{n}: {{command: [cat, o{n}, a], inputs: [a], outputs: [o{n}]}}\n"
        for n in range(6)
    )
    world.write({"Builderfile": text, "a": "1"})
    world.executor.gate, world.executor.opens_at = trio.Event(), 3
    with trio.fail_after(60):
        await world.build(jobs=3)
    assert world.executor.most == 3
    group = "target g: {depends: [t0, t1, t2, t3, t4, t5], parallelism: 2}\n"
    world.write({"Builderfile": text + group, "a": "2"})
    world.executor.most = 0
    world.executor.gate, world.executor.opens_at = trio.Event(), 2
    with trio.fail_after(60):
        await world.build("g", jobs=6)
    assert world.executor.most == 2


async def test_cancelling_leaves_nothing(world: World) -> None:
    """A build that is cancelled in mid-action has neither outputs nor temporary files."""
    world.write({"Builderfile": ONE, **FILES, "out/app": "old"})
    world.executor.gate = trio.Event()
    with trio.move_on_after(5) as scope:

        def cancel(ticket: Ticket) -> None:
            trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)

        world.executor.before = cancel
        await world.build()
    assert scope.cancelled_caught
    assert world.executor.running == 0
    assert world.text("out/app") == "old"
    assert list((world.root / ".builder/tmp").iterdir()) == []


async def test_an_output_that_cannot_be_written(world: World) -> None:
    """A file where a directory has to be is told; the build fails without a traceback."""
    world.write({"Builderfile": ONE, **FILES, "out": "a file"})
    assert (await world.build()).failed == ("app",)
    assert "cannot write output" in world.errors


@pytest.mark.no_cover
@pytest.mark.slow
async def test_a_thousand_actions(world: World) -> None:
    """A wide foreach and what collects it: all run once, then all are hits, then one runs."""
    world.write({f"src/{number}.txt": str(number) for number in range(1000)})
    parts = ", ".join(f"out/{number}" for number in range(1000))
    world.write(
        {
            "Builderfile": (
                'target parts: {foreach: "src/*.txt", outputs: ["out/{{stem}}"],'
                ' command: [cat, "out/{{stem}}", "{{file}}"]}\n'
                'target all: {inputs: [":parts"], outputs: [all],'
                ' command: [cat, all, "{{parts}}"]}\n'
                f"vars: {{parts: [{parts}]}}\n"
            )
        }
    )
    await world.build("all", jobs=64)
    assert len(world.executor.ran) == 1001
    assert world.executor.most <= 64
    assert world.text("all") == "".join(str(number) for number in range(1000))
    await world.build("all", jobs=64)
    assert world.executor.ran == []
    world.write({"src/500.txt": "changed"})
    await world.build("all", jobs=64)
    assert world.executor.ran == ["parts/src/500.txt", "all"]
