"""Where the program starts."""

import signal
import subprocess
import sys

EARLY = """\
import os, signal, sys
from builder.cli import start
from builder.client import noop
noop.answer = lambda *_: {}
sys.argv = ["bldr", "build"]
start.main()
"""


def ran(what: str) -> "subprocess.CompletedProcess[str]":
    code = EARLY.format(what)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_ctrl_c_before_anything_is_there() -> None:
    """It ends the process as it ends any other, without a traceback."""
    done = ran("os.kill(os.getpid(), signal.SIGINT)")
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    """As of a job in the background of a script."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + EARLY.format("os.kill(os.getpid(), signal.SIGINT) or 1")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_hear_of_it() -> None:
    """From then on it is the program's to end well."""
    code = (
        "import signal; from builder.cli.main import run\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL); run(['version'], 'bldr')\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert said.stdout.splitlines()[-1] == "True", said.stderr
