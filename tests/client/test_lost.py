"""Builds whose server has lost something meanwhile."""

from pathlib import Path

import pytest

from builder.base.errors import FailedPreconditionError
from builder.client.executor import Ticket
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


async def test_blobs_that_vanish_are_uploaded_again(world: World) -> None:
    """MISSING on execution leads to an upload of just those and another try."""
    world.write({"Builderfile": ONE, **FILES})
    tries: list[str] = []

    def forget(ticket: Ticket) -> None:
        tries.append(ticket.target)
        if len(tries) == 1:
            world.executor.blobs.__init__(1 << 30)  # type: ignore[misc]  # emptied in place

    world.executor.before = forget
    summary = await world.build()
    assert not summary.failed, world.errors
    assert tries == ["app", "app"]
    assert world.text("out/app") == "AB"


async def test_a_precondition_that_no_upload_helps(world: World) -> None:
    """FAILED_PRECONDITION of another kind is a failure at once."""
    world.write({"Builderfile": ONE, **FILES})

    def refuse(ticket: Ticket) -> None:
        raise FailedPreconditionError("no pool for OSFamily=plan9; the nearest is default")

    world.executor.before = refuse
    assert (await world.build()).failed == ("app",)
    assert "no pool for OSFamily=plan9; the nearest is default (FAILED_PRECONDITION)" in (
        world.errors
    )


async def test_a_lost_result_is_built_again(world: World) -> None:
    """A hit whose blob is gone is a miss."""
    world.write({"Builderfile": ONE, **FILES})
    await world.build()
    (world.root / "out/app").unlink()
    fresh = World(world.root, results=world.results)
    await fresh.build()
    assert fresh.executor.ran == ["app"]
    assert world.text("out/app") == "AB"
