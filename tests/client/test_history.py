"""What is remembered of builds, and how it is told."""

import pytest

from builder.client.builderfile import read
from builder.client.explaining import explanation
from builder.client.history import MOST_BUILDS, History
from builder.client.walk import Walker
from builder.project.graph import graph
from tests.client.fakes import World
from tests.project.sample import SCHEMA

BUILDERFILE = """\
target lib: {inputs: ["src/*"], outputs: [out/lib], command: [cat, out/lib, src/a]}
target app: {inputs: [":lib"], outputs: [out/app], command: [cat, out/app, out/lib]}
target all: {depends: [app]}
"""


@pytest.fixture
def world(tmp_path: object) -> World:
    world = World(tmp_path)  # type: ignore[arg-type]
    world.write({"Builderfile": BUILDERFILE, "src/a": "A"})
    return world


def explain(world: World, name: str) -> list[str]:
    walker = Walker(world.root)
    found = graph(read(world.root / "Builderfile", lambda: SCHEMA, walker=walker))
    return list(explanation(found, world.root, walker, name, ()))


async def test_a_target_is_explained(world: World) -> None:
    """First it is new; then the input is named that changed, before and after it ran."""
    assert explain(world, "lib") == [
        "lib has not been built in this directory yet (--remote asks the coordinator)"
    ]
    await world.build("all")
    how, *rest = explain(world, "lib")
    assert how.startswith("lib: ran 0s ago on worker-1 (hermetic: namespaces+cgroup) in ")
    assert rest == ["  because it was new here", "  since then nothing has changed"]
    world.write({"src/a": "B"})
    assert explain(world, "lib")[2:] == ["  since then input src/a changed"]
    await world.build("all")
    assert explain(world, "lib")[1:] == [
        "  because input src/a changed",
        "  since then nothing has changed",
    ]
    assert explain(world, "app")[1:] == [
        "  because input out/lib changed",
        "  since then nothing has changed",
    ]
    assert explain(world, "all") == ["all has no command of its own; it stands for app"]


async def test_a_result_that_was_known(world: World) -> None:
    """Going back to what was built before is a hit, and is told as one."""
    for content in "ABA":
        world.write({"src/a": content})
        await world.build("lib")
    how, reason, _ = explain(world, "lib")
    assert how.startswith("lib: found in the cache ")
    assert reason == "  because input src/a changed"


async def test_a_lost_result(world: World) -> None:
    """Nothing changed, and still it ran: the cache had lost it."""
    await world.build("lib")
    world.results.results.clear()
    await world.build("lib")
    assert explain(world, "lib")[1] == "  because nothing changed; its result was not in the cache"


async def test_a_failure_is_remembered(world: World) -> None:
    """With its reason; and what cannot be built now says why."""
    world.write({"Builderfile": "target lib: {inputs: [src/a], command: [fail, 3, no]}\n"})
    await world.build("lib")
    assert explain(world, "lib")[0].startswith("lib: failed: exit code 3 0s ago on worker-1")
    (world.root / "src" / "a").unlink()
    assert "input 'src/a' does not exist" in explain(world, "lib")[2]


async def test_builds_are_listed(world: World) -> None:
    """Names, counts, times of what ran, and failures."""
    await world.build("all")
    await world.build("all")
    first, second = History(world.root / ".builder" / "history").builds()
    assert (first["targets"], first["hits"], first["built"]) == (["all"], 0, 2)
    assert set(first["ran"]) == {"lib", "app"}
    assert (second["hits"], second["built"], second["failed"]) == (2, 0, [])


def test_the_list_does_not_grow_for_ever(world: World) -> None:
    """The newest are kept; a line that was cut is left out."""
    history = History(world.root / "history")
    for number in range(5 * MOST_BUILDS):
        history.add_build({"number": number, "padding": "x" * 400})
    with (world.root / "history" / "builds.jsonl").open("a") as file:
        file.write('{"number": 9')
    builds = history.builds()
    assert builds[-1]["number"] == 5 * MOST_BUILDS - 1
    assert MOST_BUILDS <= len(builds) < 3 * MOST_BUILDS
