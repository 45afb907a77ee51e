"""A build with nothing to do is answered by its receipt; with anything to do it is not."""

import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from builder.client.builderfile import find
from builder.client.noop import FOLDER, STATE, answer
from builder.client.receipt import Said
from tests.client.fakes import World

ROOT = Path(__file__).parents[2]
BUILDERFILE = """\
target app:
  inputs: ["src/**", "!src/**/*.bak", plain]
  outputs: [out/app]
  command: [cat, out/app, src/a, src/d/b]
target docs:
  inputs: [":app"]
  outputs: [docs/]
  command: [tree, docs, one, two.sh]
"""
FILES: dict[str, str | bytes] = {"src/a": "A", "src/d/b": "B", "src/c.bak": "C", "plain": "P"}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project that is built and has a receipt, with us in its directory."""
    world = World(tmp_path / "project")
    world.write({"Builderfile": BUILDERFILE, **FILES})
    (world.root / "src" / "link").symlink_to("a")
    (tmp_path / "outside").write_text("beyond")
    (world.root / "src" / "leads_out").symlink_to(tmp_path / "outside")
    monkeypatch.chdir(world.root)
    await until_certain(world)
    return world


async def until(kept: Callable[[], Awaitable[bool]]) -> None:
    """Build until every look is older than a tick of the clock."""
    with trio.fail_after(60):
        while not await kept():
            pass


async def until_certain(world: World) -> None:
    await until(lambda: keep(world))


async def keep(world: World) -> bool:
    started = time.monotonic()
    summary = await world.build()
    made = [built.entries for built in summary.built.values()]
    said = [Said(name, built.stored_at) for name, built in summary.built.items()]
    read = [str(Path(name).absolute()) for name in world.graph.project.files]
    command = (["build"], find(world.root).name)
    return world.workspace.receipt(command, started, read, made, said)


def answered(*arguments: str) -> bool:
    return answer(["build", *arguments], time.monotonic())


def rewrite(path: str, text: str) -> None:
    """Other bytes of the same length, and the times put back."""
    before = os.stat(path)
    Path(path).write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: str, text: str) -> None:
    Path("beside").write_text(text)
    Path("beside").rename(path)


async def test_nothing_to_do(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what a build of hits only says, as often as it is asked."""
    assert world.executor.ran == []
    for _ in range(2):
        assert answered()
        said = capsys.readouterr()
        lines = said.out.splitlines()
        assert lines[0].startswith("[INFO] Cache hit: app (stored 2m ago)")
        assert lines[1].startswith("[INFO] Cache hit: docs (stored 2m ago)")
        assert lines[2].startswith("[INFO] Build completed in ")
        assert lines[3:] == ["[INFO] 2 targets: 2 from the cache, 0 built"]
        assert said.err == ""


CHANGES: dict[str, Callable[[], object]] = {
    "an input's bytes": lambda: Path("src/a").write_text("Z"),
    "an input's bytes under its old time": lambda: rewrite("src/a", "Z"),
    "an input that is another file": lambda: replace("src/a", "A"),
    "an input named alone": lambda: Path("plain").write_text("Q"),
    "an input that is gone": lambda: Path("src/d/b").unlink(),
    "an input that may be run": lambda: Path("src/a").chmod(0o755),
    "a new file that a glob finds": lambda: Path("src/d/new").write_text("N"),
    "a new directory with such a file": lambda: (
        Path("src/e").mkdir(),
        Path("src/e/x").write_text("X"),
    ),
    "a file that became a directory": lambda: (Path("plain").unlink(), Path("plain").mkdir()),
    "a file that became a link": lambda: (
        Path("plain").rename("src/c.bak"),
        Path("plain").symlink_to("src/c.bak"),
    ),
    "a link that leads elsewhere": lambda: (
        Path("src/link").unlink(),
        Path("src/link").symlink_to("d/b"),
    ),
    "a file outside, to which a link leads": lambda: Path("../outside").write_text("changed"),
    "a glob's directory that became a link": lambda: (
        Path("src").rename("moved"),
        Path("src").symlink_to("moved"),
    ),
    "an output that is gone": lambda: Path("out/app").unlink(),
    "an output that was changed": lambda: rewrite("out/app", "XY"),
    "an output directory with one file more": lambda: Path("docs/more").write_text("!"),
    "an output directory with one file less": lambda: Path("docs/one").unlink(),
    "a link among the outputs": lambda: (
        Path("docs/link").unlink(),
        Path("docs/link").symlink_to("two.sh"),
    ),
    "an empty directory that is gone": lambda: Path("docs/empty").rmdir(),
    "the Builderfile": lambda: rewrite("Builderfile", BUILDERFILE.replace("src/a", "src/d")),
    "the receipt": lambda: shutil.rmtree(f"{STATE}/{FOLDER}"),
    "a Builderfile that is nearer": lambda: (
        Path("src/Builderfile").write_text(BUILDERFILE),
        os.chdir("src"),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_every_change_is_noticed(world: World, what: str) -> None:
    """Whatever an ordinary build would see, the receipt does not cover."""
    assert answered()
    CHANGES[what]()
    assert not answered()


async def test_what_no_target_reads_may_change(world: World) -> None:
    """Files beside the inputs, and excluded ones, are nobody's business."""
    Path("elsewhere").write_text("E")
    Path("src/c.bak").write_text("D")
    assert answered()


@pytest.mark.parametrize("arguments", [("app",), ("-k",), ("--no-cache",), ("-C", "src")])
async def test_another_command_line_is_another_build(
    world: World, arguments: tuple[str, ...]
) -> None:
    """Only the very same arguments are answered."""
    assert not answered(*arguments)


async def test_our_variables_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration from the environment could make another build of it; others do not count."""
    monkeypatch.setenv("UNRELATED", "1")
    assert answered()
    monkeypatch.setenv("BUILDER_REMOTE", "true")
    assert not answered()


async def test_a_file_that_has_just_changed_is_not_certain(world: World) -> None:
    """It might change once more within the same tick of the clock."""
    world.write({"src/a": "Z"})
    soon = time.time() + 600.0
    os.utime("src/a", (soon, soon))  # not older than any build of this test
    assert not await keep(world)
    os.utime("src/a")
    await until_certain(world)
    assert answered()


async def test_a_file_that_came_during_the_build(world: World) -> None:
    """A glob that would find more by now is not what was built."""
    world.results.results.clear()
    assert await keep(world)  # built anew, and certain
    assert world.executor.ran == ["app", "docs"]
    world.results.results.clear()
    world.executor.before = lambda _ticket: world.write({"src/late": "L"})
    assert not await keep(world)
    assert world.executor.ran == ["app", "docs"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x00\x01", b"i\x01\x00\x00\x00"])
async def test_a_broken_receipt_is_none(world: World, content: bytes) -> None:
    """It takes the ordinary way."""
    (receipt,) = Path(STATE, FOLDER).iterdir()
    receipt.write_bytes(content)
    assert not answered()


async def test_nothing_heavy_is_imported(world: World) -> None:
    """The quickest answer pays for nothing that it does not use."""
    code = (
        "import os, sys; before = set(sys.modules)\n"
        "from builder.client.noop import answer; answer(['build'], 0.0)\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    ran = await trio.run_process(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_stdout=True
    )
    said, _, modules = ran.stdout.decode().rstrip().rpartition("\n")
    assert "Cache hit: docs" in said
    loaded = {name for name in modules.split() if not name.startswith("builder")}
    assert loaded <= {"zlib"}, loaded


async def test_old_receipts_make_room(world: World) -> None:
    """A project keeps those of its newest command lines."""
    summary = await world.build()
    made = [built.entries for built in summary.built.values()]
    for number in range(20):
        command = ["build", str(number)]
        assert world.workspace.receipt((command, "Builderfile"), time.monotonic(), (), made, [])
    assert len(list(Path(STATE, FOLDER).iterdir())) == 16
    assert answered("19")


FOREACH = """\
target copies:
  foreach: ["src/*.txt", "later/*.txt"]
  outputs: ["out/{{stem}}"]
  command: [cat, "out/{{stem}}", "{{file}}"]
"""


async def test_a_foreach_that_would_find_more(world: World) -> None:
    """Another file, or a directory that was not there, is another build."""
    world.write({"Builderfile": FOREACH, "src/one.txt": "1"})
    await until_certain(world)
    assert answered()
    world.write({"later/two.txt": "2"})
    assert not answered()
    await until_certain(world)
    assert world.text("out/two") == "2"
    assert answered()
    world.write({"src/three.txt": "3"})
    assert not answered()
