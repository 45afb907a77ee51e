"""What log lines look like."""

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.base.errors import UsageError
from builder.telemetry import log
from builder.telemetry.log import announce, configure, get_logger

ROOT = Path(__file__).parent.parent.parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _forget_the_set_up() -> Iterator[None]:
    yield
    log.SET_UP.reset()


def written(level: str = "info", form: str = "human") -> io.StringIO:
    out = io.StringIO()
    configure(level, form, out)
    return out


def test_people_read_level_message_and_fields() -> None:
    """A line is `[LEVEL] message key=value`, in the order of the fields."""
    out = written()
    get_logger(worker="worker-1").info("Lease finished", lease="l1", seconds=0.12345)
    assert out.getvalue() == "[INFO] Lease finished worker=worker-1 lease=l1 seconds=0.123\n"


@pytest.mark.parametrize(("stream", "begins"), [(Terminal(), "[INFO"), (io.StringIO(), '{"')])
def test_the_form_may_follow_the_reader(stream: io.StringIO, begins: str) -> None:
    """`auto` is for people on a terminal, and JSON in a file or a pipe."""
    configure("info", "auto", stream)
    get_logger().info("x")
    assert re.sub(r"\x1b\[\d+m", "", stream.getvalue()).startswith(begins)


@pytest.mark.parametrize(
    ("form", "log_says", "words"),
    [("human", "", True), ("auto", "json", True), ("json", "json", False)],
)
def test_what_is_announced(
    form: str, log_says: str, words: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words on stdout, whatever that is; in the log, too, where that is for programs."""
    out = written(form=form)
    announce("  Coordinator: here")
    assert capsys.readouterr().out == ("[INFO]   Coordinator: here\n" if words else "")
    said = json.loads(out.getvalue())["message"] if log_says else out.getvalue()
    assert said == ("Coordinator: here" if log_says else "")
    written("warning", form)
    announce("quiet")
    assert capsys.readouterr().out == ""


def test_values_never_break_the_line() -> None:
    """A value with spaces or line breaks is quoted, so a name cannot forge a line."""
    out = written()
    get_logger().warning("x", target="a b", evil="1\n[INFO] forged", empty="")
    assert out.getvalue() == "[WARNING] x target='a b' evil='1\\n[INFO] forged' empty=''\n"


def test_indented_lines_keep_their_indent() -> None:
    """The start-up lines of `serve` are indented under the first."""
    out = written()
    get_logger().info("  Coordinator: 127.0.0.1:9000")
    assert out.getvalue() == "[INFO]   Coordinator: 127.0.0.1:9000\n"


def test_lines_below_the_level_are_not_written() -> None:
    out = written("warning")
    get_logger().info("no")
    get_logger().error("yes")
    assert out.getvalue() == "[ERROR] yes\n"


def test_colour_only_on_a_terminal() -> None:
    """A terminal gets a coloured level, a file never an escape sequence."""
    out = Terminal()
    configure("info", "human", out)
    get_logger().error("broken")
    assert out.getvalue() == "\x1b[31m[ERROR]\x1b[0m broken\n"
    plain = written()
    get_logger().error("broken")
    assert "\x1b" not in plain.getvalue()


def test_programs_read_one_object_a_line() -> None:
    out = written(form="json")
    get_logger().info("Lease finished", lease="l1")
    line = json.loads(out.getvalue())
    assert (line["level"], line["message"], line["lease"]) == ("info", "Lease finished", "l1")
    assert line["timestamp"].endswith("Z")


def test_exceptions_carry_their_traceback() -> None:
    out = written()
    try:
        raise ValueError("here")
    except ValueError:
        get_logger().exception("It broke")
    assert out.getvalue().startswith("[ERROR] It broke\nTraceback")
    assert "ValueError: here" in out.getvalue()


@pytest.mark.parametrize(("level", "form"), [("loud", "human"), ("info", "xml")])
def test_unknown_settings_name_the_right_ones(level: str, form: str) -> None:
    with pytest.raises(UsageError, match="use one of"):
        configure(level, form)


def test_lines_of_the_standard_library_look_the_same() -> None:
    """Modules that log by `logging` (hypercorn does) write lines of our form."""
    out = written()
    logging.getLogger("builder.net").warning("cannot accept on %s", "x")
    logging.getLogger("builder.net").info("seen")
    logging.getLogger("builder.net").debug("not seen")
    assert out.getvalue() == "[WARNING] cannot accept on x\n[INFO] seen\n"


def test_a_reader_that_went_away_breaks_nothing() -> None:
    """A service whose log is piped into something that ends goes on."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with contextlib.suppress(OSError), os.fdopen(write_end, "w") as stream:
        configure("info", "human", stream)
        get_logger().info("nobody reads this")


def test_without_a_set_up_only_trouble_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing goes to stdout, which is the program's own."""
    get_logger().info("Lease granted")
    get_logger().warning("Worker lost")
    assert capsys.readouterr() == ("", "[WARNING] Worker lost\n")


def test_nothing_is_imported_before_the_first_line() -> None:
    """A worker that has nothing to say does not pay for how it would say it."""
    script = """
import sys
from builder.telemetry.log import configure, get_logger
configure("warning")
log = get_logger(worker="w")
log.bind(lease="l").info("unheard")
assert "structlog" not in sys.modules
log.error("heard", why=1)
assert "structlog" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "[ERROR] heard worker=w why=1\n")


def test_bound_fields_come_first() -> None:
    out = written()
    get_logger(a=1).bind(b=2).error("x", c=3)
    assert out.getvalue() == "[ERROR] x a=1 b=2 c=3\n"
