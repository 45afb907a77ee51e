"""An input that is an output by another name is refused, with both names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.base.errors import UsageError
from tests.client.fakes import World
from tests.project.sample import graph_of

TARGET = "target t: {{command: [fail, 3, no], inputs: ['{}'], outputs: ['{}']}}\n"


def project(root: Path) -> World:
    """`link` is `src`, `src/alias.c` is `src/a.c`, `far` leads out of the project."""
    world = World(root)
    world.write({"src/a.c": "a", "src/sub/b.c": "b", "Builderfile": ""})
    (root / "link").symlink_to("src")
    (root / "src/alias.c").symlink_to("a.c")
    (root / "far").symlink_to(root.parent)
    return world


async def failure(world: World, inputs: str, output: str) -> str:
    """Why the only target cannot be built; empty when it can."""
    world.write({"Builderfile": TARGET.format(inputs, output)})
    summary = await world.build()
    return "".join(one.reason for one in summary.failures.values())


@pytest.mark.parametrize(
    ("inputs", "output", "both"),
    [
        ("link/a.c", "src/a.c", "src/a.c"),
        ("link/sub/b.c", "src/sub/", "src/sub/b.c"),
        ("src/a.c", "link/a.c", "src/a.c"),
        ("src/**", "link/sub/", "src/sub/b.c"),
        ("src/alias.c", "src/a.c", "src/a.c"),
        ("link/alias.c", "src/a.c", "src/a.c"),
        ("src/**", "link/*.c", "src/a.c"),
    ],
)
async def test_one_place_by_a_symlink(tmp_path: Path, inputs: str, output: str, both: str) -> None:
    """In either direction, a file or in a directory, by a link to it or on the way."""
    world = project(tmp_path)
    said = await failure(world, inputs, output)
    assert f"overlaps the output '{output.rstrip('/')}'" in said, said
    assert f"both are '{both}'" in said
    assert (tmp_path / "src/a.c").read_text() == "a"


@pytest.mark.parametrize("inputs", ["src/a.c", "src/**"])
@pytest.mark.parametrize("output", ["src/a.c/x", "src/a.c/d/", "src/a.c/*.o"])
async def test_an_output_beneath_a_file(tmp_path: Path, inputs: str, output: str) -> None:
    """It is told before anything is run, with both names."""
    said = await failure(project(tmp_path), inputs, output)
    beneath = "overlaps: it lies beneath the input 'src/a.c', which is a file"
    assert f"output '{output.rstrip('/')}' of target 't' {beneath}" in said, said


@pytest.mark.parametrize(
    ("inputs", "output"),
    [("src/**", "src/app"), ("src/*.c", "link/app"), ("link/a.c", "out"), ("src/a.c", "far/out")],
)
async def test_places_of_their_own(tmp_path: Path, inputs: str, output: str) -> None:
    """An output beside sources is none of them, nor is one behind a link elsewhere."""
    said = await failure(project(tmp_path), inputs, output)
    assert "overlaps" not in said


NAMES = st.sampled_from(["a", "b", "A"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SPELLINGS = st.sampled_from(["{}", "./{}", "{}", "{}"])
SLASHES = st.sampled_from(["/", "//", "/./"])


@given(PATHS, PATHS, SPELLINGS, SPELLINGS, SLASHES, SLASHES, st.booleans())
def test_names_are_compared_by_what_they_mean(
    one: str, two: str, left: str, right: str, slash: str, other: str, directory: bool
) -> None:
    """However they are spelled: refused are the same, and an input within an output."""
    inputs = left.format(one.replace("/", slash))
    output = right.format(two.replace("/", other)) + ("/" if directory else "")
    text = TARGET.format(inputs, output)
    if one == two or one.startswith(two + "/"):
        with pytest.raises(UsageError, match=f"input {inputs!r} overlaps the output {two!r}"):
            graph_of(text)
    else:
        graph_of(text)
