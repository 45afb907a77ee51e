"""What ends in the background ends, in order, and its failures are told."""

import errno
import os
import threading
from pathlib import Path

from builder.sandbox.kernel.janitor import BEHIND, Janitor

PATIENCE_S = 60.0


def test_work_is_done_in_order_and_failures_are_kept(tmp_path: Path) -> None:
    """A failed piece of work does not keep the next from being done."""
    janitor, done = Janitor(), threading.Event()
    read_end, write_end = os.pipe()
    (tmp_path / "group").mkdir()
    janitor.let_go([write_end], (tmp_path / "absent").rmdir)
    janitor.do((tmp_path / "group").rmdir)
    janitor.do(done.set)
    janitor.end()
    assert done.wait(PATIENCE_S)
    assert os.read(read_end, 1) == b""  # the other end is closed
    os.close(read_end)
    assert not (tmp_path / "group").exists()
    assert janitor.failed is not None
    assert janitor.failed.errno == errno.ENOENT


def test_working_directory_is_not_the_threads(tmp_path: Path) -> None:
    """The thread has a working directory of its own, as entering a namespace requires."""
    janitor, done, here = Janitor(), threading.Event(), Path.cwd()

    def move() -> None:
        os.chdir(tmp_path)
        done.set()

    janitor.do(move)
    janitor.end()
    assert done.wait(PATIENCE_S)
    assert Path.cwd() == here


def test_a_janitor_is_behind_when_too_much_waits() -> None:
    """Until it has done it."""
    janitor, go, done = Janitor(), threading.Event(), threading.Event()
    janitor.do(lambda: [go.wait(PATIENCE_S)].clear())
    for _ in range(BEHIND + 2):
        janitor.do(lambda: None)
    assert janitor.behind
    janitor.do(done.set)
    go.set()
    janitor.end()
    assert done.wait(PATIENCE_S)
    assert not janitor.behind
