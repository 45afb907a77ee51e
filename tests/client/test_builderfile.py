"""Where the Builderfile is, and that it is parsed once."""

import json
from pathlib import Path

import pytest

from builder.base.errors import UsageError
from builder.client.builderfile import find, read
from tests.client.fakes import World
from tests.project.sample import SCHEMA


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_the_parsed_builderfile_is_remembered(world: World) -> None:
    """The same text is not parsed again; errors still show their place; damage does no harm."""
    world.write({"Builderfile": 'target t: {command: [x], inputs: ["*.c"]}\n'})
    memory = world.root / "memory.json"
    builderfile = world.root / "Builderfile"
    first = read(builderfile, lambda: SCHEMA, memory)

    def never() -> dict[str, object]:
        raise AssertionError("the schema is not needed")

    again = read(builderfile, never, memory)
    assert again == first
    error = again.source.error(("target t", "inputs", 0), "wrong", "do this")
    assert str(error) == str(first.source.error(("target t", "inputs", 0), "wrong", "do this"))
    damages = ("", "{}", "[]", '{"Builderfile": {"key": 1, "values": {}}}', '{"Builderfile": 1}')
    for damage in damages:
        memory.write_text(damage)
        assert read(builderfile, lambda: SCHEMA, memory) == first
    key = json.loads(memory.read_text())["Builderfile"]["key"]
    wrong = {"key": key, "values": {"target t": {"env": []}}}
    memory.write_text(json.dumps({"Builderfile": wrong}))
    assert read(builderfile, lambda: SCHEMA, memory) == first


def test_finding_the_builderfile(tmp_path: Path) -> None:
    """In this directory, or in the nearest one above."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(UsageError, match="no Builderfile in"):
        find(deep)
    (tmp_path / "Builderfile.yaml").write_text("")
    assert find(deep) == tmp_path / "Builderfile.yaml"
    (tmp_path / "a" / "Builderfile").write_text("")
    assert find(deep) == tmp_path / "a" / "Builderfile"
