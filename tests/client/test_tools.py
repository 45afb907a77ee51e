"""Tools are part of an action's key."""

import time
from pathlib import Path

import pytest

from builder.action.encode import Step
from builder.base.errors import UsageError
from builder.client.noop import answer
from builder.client.receipt import Said
from builder.client.tools import Tools
from builder.project.model import Target
from tests.client.fakes import World
from tests.project.sample import project

BUILDERFILE = """\
defaults: {{env: {{PATH: "{0}/first:{0}/second"}}, tools: [cc]}}
target app: {{inputs: [a], outputs: [app], command: [cat, app, a]}}
"""


def program(place: Path, says: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\necho {says}\n")
    place.chmod(0o755)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "project")
    world.write({"Builderfile": BUILDERFILE.format(tmp_path), "a": "A"})
    program(tmp_path / "second" / "cc", "1")
    return world


async def test_another_compiler_is_a_miss(world: World, tmp_path: Path) -> None:
    """Other bytes, or another file earlier in PATH; going back is a hit."""
    ran = []
    for change in (
        lambda: None,
        lambda: None,
        lambda: program(tmp_path / "second" / "cc", "2"),
        lambda: program(tmp_path / "first" / "cc", "3"),
        lambda: (tmp_path / "first" / "cc").unlink(),
    ):
        change()
        await world.build("app")
        ran.append(len(world.executor.ran))
    assert ran == [1, 0, 1, 1, 0]


async def test_receipts_know_tools(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quickest answer notices a change of a tool, and one that comes earlier in PATH."""
    monkeypatch.chdir(world.root)

    async def certain() -> None:
        kept = False
        while not kept:
            started = time.monotonic()
            summary = await world.build("app")
            made = [built.entries for built in summary.built.values()]
            command = (["build"], "Builderfile")
            kept = world.workspace.receipt(command, started, (), made, [Said("app", None)])

    await certain()
    assert answer(["build"], 0.0)
    program(tmp_path / "second" / "cc", "4")
    assert not answer(["build"], 0.0)
    await certain()
    assert answer(["build"], 0.0)
    program(tmp_path / "first" / "cc", "4")
    assert not answer(["build"], 0.0)


async def test_an_unknown_tool(world: World, tmp_path: Path) -> None:
    """Fails with its place before anything runs."""
    (tmp_path / "second" / "cc").unlink()
    await world.build("app")
    assert world.executor.ran == []
    assert "Builderfile:1:" in world.errors
    assert "there is no program 'cc' in " in world.errors


async def test_a_tool_of_the_users_own_path(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actions have another PATH than the user: the error gives the line that helps."""
    (tmp_path / "second" / "cc").unlink()
    program(tmp_path / "third" / "cc", "1")
    monkeypatch.setenv("PATH", f"{tmp_path}/third:/bin")
    await world.build("app")
    wanted = f"{tmp_path}/third:{tmp_path}/first:{tmp_path}/second"
    assert f"yours is {tmp_path}/third/cc: give the target 'env: {{PATH: \"{wanted}\"}}'" in (
        world.errors
    )


def tools(text: str, tmp_path: Path) -> tuple[Tools, Target]:
    loaded = project(text)
    return Tools(tmp_path / "tools.json"), loaded.targets["t"]


VERSIONED = "target t: {{command: [x], tools: [{{name: sh, version: [sh, -c, '{}']}}]}}"


def test_a_version_command(tmp_path: Path) -> None:
    """What it prints counts; and no receipt can stand for it."""
    one, two, same = (tools(VERSIONED.format(s), tmp_path) for s in ("echo 1", "echo 2", "echo 1"))
    assert one[0].identities(one[1]) == same[0].identities(same[1]) == {"sh": "1\n"}
    assert two[0].identities(two[1]) == {"sh": "2\n"}
    assert one[0].asked


@pytest.mark.parametrize(
    ("command", "said"),
    [("echo broken; exit 3", "ends with exit code 3: broken"), ("kill -9 $$", "exit code -9")],
)
def test_a_version_command_that_fails(tmp_path: Path, command: str, said: str) -> None:
    """Its exit code and words are shown."""
    found, target = tools(VERSIONED.format(command), tmp_path)
    with pytest.raises(UsageError, match=said):
        found.identities(target)


def test_no_tools_no_salt(tmp_path: Path) -> None:
    """Keys of targets without tools are what they were."""
    found, target = tools("target t: {command: [x]}", tmp_path)
    assert found.identities(target) == {}
    assert Step(("x",), (), tools={}).salt == b""
