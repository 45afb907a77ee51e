"""What a build says, to whatever listens."""

import io
import os

import pytest

from builder.base.shown import ago
from builder.client.console import Console, Streams


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (-5, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (90000, "1d")],
)
def test_ages(seconds: float, said: str) -> None:
    """One unit is enough."""
    assert ago(seconds) == said


def test_a_terminal_that_cannot_show_it() -> None:
    """An arrow on an ASCII terminal is a question mark, not a traceback."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(out, out, several=False)
    console.built("t", 1.0, stored=True)
    console.wrote("t", Streams("ä".encode(), b"\xff"))
    console.completed(1.0)
    assert raw.getvalue().decode() == (
        "?\n?\n[INFO] Build completed in 1.0s\n[INFO] Cache miss ? stored for reuse\n"
    )


def test_a_reader_that_went_away() -> None:
    """`bldr build | head -1` goes on building."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as out:
        console = Console(out, out, several=False)
        console.greet("Hello")
        console.completed(1.0)


def test_several_targets_have_names() -> None:
    """Lines of one target among several begin with its name; a failure names it always."""
    out, err = io.StringIO(), io.StringIO()
    console = Console(out, err, several=True)
    console.greet("Hello")
    console.greet("Hello")
    console.uploading("a", 240_000)
    console.executing("a", "")
    console.hit("b", None)
    console.failed("a", "exit code 1", "w", Streams(b"out", b"err\n"))
    console.not_completed(0.5, 1, 2)
    assert out.getvalue() == (
        "[INFO] Hello\n"
        "[INFO] a: Uploading inputs... (234 KB)\n"
        "[INFO] a: Executing on a worker\n"
        "[INFO] Cache hit: b\n"
    )
    assert err.getvalue() == (
        "out\nerr\n"
        "[ERROR] Target a failed on w: exit code 1\n"
        "[ERROR] Build failed in 500ms: 1 failed, 2 not built\n"
    )


def test_where_the_time_went() -> None:
    """The longest ones, and the chain that more workers would not shorten; long chains are cut."""
    out = io.StringIO()
    console = Console(out, out, several=True)
    seconds = {"a": 0.25, "b": 2.0, "c": 1.0, "d": 0.1}
    console.spent(seconds, ["b", "c"])
    console.spent(seconds, ["b", "a", "c", "d"])
    assert out.getvalue().splitlines() == [
        "[INFO] Longest: b 2.0s, c 1.0s, a 250ms; longest chain: 3.0s (b → c)",
        "[INFO] Longest: b 2.0s, c 1.0s, a 250ms; longest chain: 3.4s (b → … → d)",
    ]
