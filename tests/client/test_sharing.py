"""Here, away, and one after the other."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from builder.base.errors import UnavailableError
from builder.client.executor import Place, Ticket
from builder.client.retry import soon
from builder.client.sharing import Sharing
from builder.client.target import Choices, TargetBuilder
from builder.stores.memory import MemoryBlobStore
from tests.client.fakes import FakeExecutor, MemoryResults, World, unavailable

BUILDERFILE = """\
target a: {inputs: [src], outputs: [out/a], command: [cat, out/a, src]}
target b: {inputs: [":a"], outputs: [out/b], command: [cat, out/b, out/a, out/a]}
target local:
  inputs: [":b"]
  outputs: [out/local]
  command: [cat, out/local, out/b]
  remote: false
target c: {inputs: [":local", ":a"], outputs: [dir/], command: [tree, dir, x]}
"""


class Both:
    """A world whose builds share two places. `away` is where its own executor would be."""

    def __init__(self, root: Path, *, shares: bool = False, processors: int = 2) -> None:
        self.world = World(root)
        self.world.write({"Builderfile": BUILDERFILE, "src": "S"})
        self.away = self.world.executor
        blobs, results = MemoryBlobStore(1 << 30), MemoryResults()
        self.here = FakeExecutor(blobs, results, message="this machine (hermetic: namespaces)")
        self.place = Place("Using local execution", False, blobs, results, self.here)
        self.shares = shares
        self.limit = trio.CapacityLimiter(processors)
        self.told: list[str] = []
        self.world.shared = self.shared

    def shared(self, away: TargetBuilder) -> Sharing:
        here = TargetBuilder(self.place, away.workspace, away.console, away.choices)
        away.pauses = partial(iter, [0.0, 0.0])
        return Sharing(here, away, self.shares, self.limit, self.told.append)

    @property
    def ran(self) -> tuple[list[str], list[str]]:
        return self.away.ran, self.here.ran


async def test_each_target_in_its_place(tmp_path: Path) -> None:
    """What is not for the coordinator runs here, and its outputs go there."""
    both = Both(tmp_path)
    assert not (await both.world.build("c")).failed
    assert both.ran == (["a", "b", "c"], ["local"])
    assert both.told == []


def fails_from(number: int) -> Callable[[Ticket], None]:
    """A coordinator that goes away for good, when so many actions have begun."""
    left = [number]

    def before(_ticket: Ticket) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise UnavailableError("the connection to it was lost")

    return before


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_coordinator_that_goes_away(tmp_path: Path, number: int) -> None:
    """What it cannot do any more is done here, with the same bytes; it is told of once."""
    both = Both(tmp_path)
    both.away.before = fails_from(number)
    summary = await both.world.build("c")
    assert not summary.failed
    assert both.told == ["the connection to it was lost"]
    every = ["a", "b", "local", "c"]
    away = [name for name in every if name != "local"][: number - 1]
    assert both.ran == (away, [name for name in every if name not in away])
    assert both.world.text("out/local") == "SS"
    undisturbed = World(tmp_path / "undisturbed")
    undisturbed.write({"Builderfile": BUILDERFILE, "src": "S"})
    actions = {n: b.action for n, b in (await undisturbed.build("c")).built.items()}
    assert {name: built.action for name, built in summary.built.items()} == actions


async def test_one_that_is_away_for_a_moment(tmp_path: Path) -> None:
    """Is asked again before it is given up."""
    both = Both(tmp_path)
    lookup, left = both.world.results.lookup, [2]

    async def away_for_a_moment(instance: str, action: object) -> object:
        if left[0]:
            left[0] -= 1
            raise UnavailableError("it starts again")
        return await lookup(instance, action)  # type: ignore[arg-type]  # passed on as it came

    both.world.results.lookup = away_for_a_moment  # type: ignore[method-assign, assignment]  # a moment's
    assert not (await both.world.build("c")).failed
    assert both.told == []


async def test_a_command_that_fails_fails(tmp_path: Path) -> None:
    """Only the coordinator's absence is made up for."""
    both = Both(tmp_path)
    both.world.write({"Builderfile": "target t: {command: [fail, 3, no]}\n"})
    assert (await both.world.build("t")).failed == ("t",)
    assert both.ran == (["t"], [])


async def test_sharing_by_load(tmp_path: Path) -> None:
    """As many as there are processors run here, the others there, all at once."""
    both = Both(tmp_path, shares=True)
    text = "".join(
        f"target t{n}: {{inputs: [src], outputs: [o{n}], command: [cat, o{n}, src]}}\n"
        for n in range(6)
    )
    both.world.write({"Builderfile": text})
    gate = trio.Event()

    def count(_ticket: Ticket) -> None:
        if both.here.running + both.away.running == 5:  # and this one
            gate.set()

    both.here.before = both.away.before = count
    both.here.gate = both.away.gate = gate
    with trio.fail_after(60):
        assert not (await both.world.build(jobs=6)).failed
    assert [len(ran) for ran in both.ran] == [4, 2]


async def test_shared_hits_come_from_the_coordinator(tmp_path: Path) -> None:
    """What it has is not built here."""
    both = Both(tmp_path, shares=True)
    await World(tmp_path, results=both.world.results, blobs=both.world.blobs).build("b")
    summary = await both.world.build("b")
    assert all(built.cached for built in summary.built.values())
    assert both.ran == ([], [])


async def test_what_is_wanted_here(tmp_path: Path) -> None:
    """The rest stays on the server, and is an input there all the same."""
    world = World(tmp_path)
    world.write({"Builderfile": BUILDERFILE, "src": "S"})
    world.choices = Choices(landed=frozenset({"b"}))
    summary = await world.build("b")
    assert not summary.failed
    assert (world.text("out/b"), (tmp_path / "out" / "a").exists()) == ("SS", False)
    assert (summary.built["a"].landed, summary.built["a"].entries.keys()) == ({}, {"out/a"})
    world.choices = Choices(landed=frozenset())
    (tmp_path / "out" / "b").unlink()
    assert (await world.build("b")).built["b"].cached
    assert not (tmp_path / "out" / "b").exists()


async def test_what_the_server_has_lost_meanwhile(tmp_path: Path) -> None:
    """An output that is nowhere any more: the message says what to do."""
    world = World(tmp_path)
    world.write({"Builderfile": BUILDERFILE, "src": "S"})
    world.choices = Choices(landed=frozenset())
    await world.build("a")
    everything = world.blobs
    world.blobs = MemoryBlobStore(1 << 30)
    world.executor.blobs = world.blobs
    (result,) = world.results.results.values()
    assert result.output_files
    await world.build("b")
    assert "build again with --download=all" in world.errors
    assert everything is not world.blobs


def test_patience() -> None:
    """Who has another way gives up within seconds."""
    assert 1 < sum(soon()) < 10


async def test_one_error_at_the_end(tmp_path: Path) -> None:
    """Without another way the coordinator's absence is the target's failure."""
    world = World(tmp_path)
    world.write({"Builderfile": BUILDERFILE, "src": "S"})
    world.executor.before = unavailable(1, UnavailableError("gone"))
    assert (await world.build("a")).failed == ("a",)
    assert "gone (UNAVAILABLE)" in world.errors
