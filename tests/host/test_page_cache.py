"""What is in memory is known for what was written, and never said of what was not."""

import ctypes
import os
from pathlib import Path

from builder.host import page_cache
from builder.host.page_cache import is_cached

PAGE = 4096


def test_pages_of_a_hole_are_not_cached_and_written_ones_are(tmp_path: Path) -> None:
    """A range that begins or ends within a page asks for all of it."""
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        os.truncate(file.fileno(), 64 * PAGE)
        os.pwrite(file.fileno(), bytes(4 * PAGE), 0)
        parts = (ctypes.c_uint64 * 2)(0, PAGE), (ctypes.c_uint64 * 5)()
        tells = not ctypes.CDLL(None).syscall(page_cache.CACHESTAT, file.fileno(), *parts, 0)
        assert is_cached(file.fileno(), 0, 4 * PAGE) is tells
        assert is_cached(file.fileno(), PAGE + 1, 2 * PAGE) is tells
        assert not is_cached(file.fileno(), 0, 4 * PAGE + 1)
        assert not is_cached(file.fileno(), 32 * PAGE, 1)


def test_who_cannot_tell_says_no() -> None:
    assert not is_cached(-1, 0, PAGE)
