"""What is told of a build besides its lines."""

import io
import json
import os
import re
from pathlib import Path

import pytest
import trio
import trio.testing
from rich.console import Console

from builder.client.events import Event
from builder.client.listening import JsonLines, Nowhere, listening
from builder.client.live import PATIENCE_S, REFRESH_S, Live
from builder.client.profile import Profile
from tests.client.fakes import World

BUILDERFILE = """\
target a: {inputs: [x], outputs: [out/a], command: [cat, out/a, x]}
target b: {inputs: [":a"], outputs: [out/b], command: [cat, out/b, out/a]}
target c: {command: [fail, "1", no]}
target d: {command: [loud], depends: [c]}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.write({"Builderfile": BUILDERFILE, "x": "X"})
    return world


async def test_the_events_of_a_build(world: World) -> None:
    """Each target's story in order, the build's around them; all of it is JSON."""
    await world.build("a", "d")
    kinds = [(event.kind, event.target) for event in world.events]
    assert kinds[0] == ("build_started", "")
    assert kinds[-1] == ("build_ended", "")
    assert [kind for kind, target in kinds if target == "a"] == [
        "target_started",
        "uploading",
        "executing",
        "built",
    ]
    assert [kind for kind, target in kinds if target == "c"][-1] == "failed"
    assert not any(target == "d" for _, target in kinds)
    assert world.events[-1].more["failed"] == 1
    assert world.events[0].more["targets"] == ["a", "c", "d"]
    out = io.StringIO()
    for event in world.events:
        JsonLines(out)(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [kind for kind, _ in kinds]
    times = [line["at_s"] for line in lines]
    assert times == sorted(times)


async def test_hits_and_what_commands_wrote(world: World) -> None:
    """A hit has its age; texts are told as events too."""
    world.write({"Builderfile": "target t: {command: [loud]}\n"})
    await world.build("t")
    world.events.clear()
    await world.build("t")
    told = {event.kind: event.more for event in world.events}
    assert 120 < told["hit"]["age_s"] < 200
    assert told["wrote"] == {"stdout": "out\n", "stderr": "err\n"}


async def test_the_profile_of_a_build(world: World) -> None:
    """A span for each target that ended, in a lane of its own while it lasted."""
    await world.build("b", "c", keep_going=True)
    profile = Profile()
    for event in world.events:
        profile(event)
    content = json.loads(profile.text())
    spans = [event for event in content["traceEvents"] if event["ph"] == "X"]
    targets = {span["name"]: span for span in spans if span["cat"] == "target"}
    assert targets.keys() == {"a", "b", "c"}
    assert targets["a"]["args"]["how"] == "built"
    assert targets["c"]["args"]["how"] == "failed"
    assert targets["a"]["tid"] != targets["c"]["tid"]
    assert targets["b"]["ts"] >= targets["a"]["ts"] + targets["a"]["dur"]
    assert all(span["dur"] >= 0 for span in spans)
    whole = next(span for span in spans if span["cat"] == "build")
    assert whole["dur"] >= max(span["dur"] for span in targets.values())


def heard(*events: tuple[str, float, str, dict[str, object]]) -> Live:
    live = Live(started=0.0)
    for event in events:
        live(Event(*event))
    return live


STARTED: tuple[str, float, str, dict[str, object]] = (
    "build_started",
    0.0,
    "",
    {"targets": ["a", "b", "c", "d"], "expected_s": {"b": 4.0, "c": 2.0}},
)


def test_what_is_shown_live() -> None:
    """Who runs where and for how long; how much is done; what is left by earlier times."""
    live = heard(
        STARTED,
        ("target_started", 1.0, "a", {}),
        ("hit", 1.5, "a", {"age_s": 3}),
        ("target_started", 2.0, "b", {}),
        ("executing", 2.5, "b", {"where": "worker-1"}),
        ("target_started", 3.0, "c", {}),
    )
    assert list(live.rows(now_s=5.0)) == [
        ("b", "3.0s", "worker-1"),
        ("c", "2.0s", "waiting for a worker"),
    ]
    assert live.headline() == "1 of 4 targets, 1 from the cache, about 4.5s left"
    live(Event("failed", 6.0, "b", {"reason": "", "where": ""}))
    live(Event("built", 6.0, "c", {}))
    assert live.headline() == "3 of 4 targets, 1 from the cache, 1 failed"
    assert list(live.rows(7.0)) == []


def test_not_too_many_rows() -> None:
    """A wide build does not fill the screen."""
    live = heard(STARTED, *(("target_started", 0.0, f"t{n}", {}) for n in range(25)))
    rows = list(live.rows(1.0))
    assert len(rows) == 11
    assert rows[-1] == ("and 15 more", "", "")


async def test_it_ends_with_the_build(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows itself after a while, lines go above it, and it takes itself away."""
    live = heard(STARTED)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live.show)
            await trio.sleep(PATIENCE_S + REFRESH_S / 2)
            assert live.above is not None
            live.above("a line [with brackets] " + "x" * 200 + "\n")
            live(Event("build_ended", 1.0))
    assert live.above is None
    assert f"a line [with brackets] {'x' * 200}\n" in capsys.readouterr().out


def test_who_listens(tmp_path: Path) -> None:
    """Live on a terminal that can draw only; JSON takes the lines' place; a profile is a file."""
    plain = listening(0.0, as_json=False, profile=None, environ={"TERM": "xterm"})
    assert (plain.live, plain.listeners) == (None, ())  # pytest's stdout is no terminal
    as_json = listening(0.0, as_json=True, profile=None, environ={})
    assert isinstance(as_json.out, Nowhere)
    assert len(as_json.listeners) == 1
    path = tmp_path / "profile.json"
    profiled = listening(0.0, as_json=False, profile=path, environ={})
    profiled.finish()
    assert json.loads(path.read_text())["traceEvents"] == []


@pytest.mark.parametrize(
    ("environ", "drawn"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
        ({"TERM": "xterm", "CI": "1"}, False),
    ],
)
def test_terminals(environ: dict[str, str], drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dumb terminal, none, and those of CI get plain lines."""
    controller, terminal = os.openpty()
    try:
        with os.fdopen(terminal, "w", closefd=False) as stream:
            monkeypatch.setattr("sys.stdout", stream)
            found = listening(0.0, as_json=False, profile=None, environ=environ)
            assert (found.live is not None) == drawn
    finally:
        os.close(controller)
        os.close(terminal)


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR leaves out colours of what is drawn, as no-color.org asks."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    live = Live(0.0)
    live(Event("build_started", 0.0, "", {"targets": ["a"], "expected_s": {"a": 3.0}}))
    live(Event("target_started", 0.0, "a"))
    out = io.StringIO()
    Console(file=out, force_terminal=True).print(live._shown())
    assert "about 3.0s left" in out.getvalue()
    found = re.findall(r"\x1b\[([\d;]*)m", out.getvalue())
    codes = {code for one in found for code in one.split(";")}
    assert codes <= {"", "0", "1", "2"}, codes
