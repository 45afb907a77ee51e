"""Paths and globs of a Builderfile."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.project.paths import PathError, normalise, parents, pattern

NAMES = st.text(alphabet="ab.", min_size=1, max_size=3).filter(lambda n: n not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@pytest.mark.parametrize(
    ("text", "path", "matches"),
    [
        ("a.c", "a.c", True),
        ("./a//b.c", "a/b.c", True),
        ("*.c", "a.c", True),
        ("*.c", "d/a.c", False),
        ("src/*.c", "src/.c", True),
        ("src/**/*.c", "src/a.c", True),
        ("src/**/*.c", "src/x/y/a.c", True),
        ("src/**/*.c", "src.c", False),
        ("**/a", "a", True),
        ("**/a", "x/y/a", True),
        ("**/a", "xa", False),
        ("src/**", "src/a", True),
        ("src/**", "src/x/a", True),
        ("src/**", "src", False),
        ("src/", "src/x/a", True),
        ("a/**/**/b", "a/b", True),
        ("?.c", "a.c", True),
        ("?.c", "ab.c", False),
        ("?", "/", False),
        ("[ab].c", "b.c", True),
        ("[!ab].c", "b.c", False),
        ("[!ab].c", "c.c", True),
        ("[a-c]x", "bx", True),
        ("[]]", "]", True),
        ("[!]]", "]", False),
        ("[^a]", "^", True),
        ("[", "[", True),
        ("a+b(1).c", "a+b(1).c", True),
    ],
)
def test_globs(text: str, path: str, matches: bool) -> None:
    """The table says which path each form of glob means."""
    assert pattern(text).matches(path) is matches


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("~/x", "absolute"),
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        (".", "the project itself"),
        ("a\\b", "character"),
        ("a\0b", "character"),
        ("a**", "mixes '**'"),
        ("[z-a]", "no glob"),
    ],
)
def test_paths_that_cannot_be(text: str, said: str) -> None:
    """What leaves the project or is no path is refused, with what to write instead."""
    with pytest.raises(PathError, match=said.replace("*", r"\*").replace(".", r"\.")) as caught:
        pattern(text)
    assert caught.value.hint


@given(PATHS)
def test_a_plain_path_means_itself_only(path: str) -> None:
    """Normalising changes nothing twice, and a path without wildcards matches itself."""
    assert normalise(normalise(path)) == normalise(path) == path
    assert pattern(path).matches(path)
    assert not pattern(path).matches(path + "x")


@given(PATHS, st.lists(st.sampled_from(["*", "?", "a", "b*", "[ab]", "."]), min_size=1))
def test_one_segment_agrees_with_fnmatch(path: str, parts: list[str]) -> None:
    """Within one name our globs mean what the standard library's mean."""
    text = "".join(parts)
    if text in (".", "..") or "**" in text:
        return
    name = path.split("/")[-1]
    assert pattern(text).matches(name) == fnmatch.fnmatchcase(name, text)


@given(PATHS, st.lists(st.sampled_from(["**", "*", "a", "b", "?.a"]), min_size=1, max_size=4))
def test_every_match_lies_behind_entered_directories(path: str, parts: list[str]) -> None:
    """The walk never cuts off a directory that holds a match."""
    glob = pattern("/".join(parts))
    if glob.matches(path):
        assert all(glob.enters(directory) for directory in parents(path))
        assert not glob.base or path.startswith(glob.base)


def test_wildcards_leave_version_control_alone() -> None:
    """`**` does not enter .git; a pattern that names it does."""
    assert not pattern("**").enters(".git")
    assert not pattern("*/config").enters(".git")
    assert pattern(".git/**").enters(".git")
    assert pattern(".github/**").enters(".github")
    assert pattern("**").enters(".github")
