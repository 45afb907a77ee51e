"""A skipped test tells why, wherever in it that turned out."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest, trio

@pytest.fixture
async def asked():
    yield 1

async def test_itself(asked):
    pytest.skip("no such thing")

async def test_a_task_of_it():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)

async def task():
    pytest.skip("no other thing")

def test_plain():
    pytest.skip("no third thing")

async def test_that_fails():
    assert not "so"
"""
HOOKS = "from tests.conftest import pytest_runtest_call\n"


def test_async_tests_tell_why(tmp_path: Path) -> None:
    (tmp_path / "test_skips.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(HOOKS)
    argv = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*argv, "-o", "trio_mode=true", "--import-mode=importlib"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert skipped == [
        "SKIPPED [1] test_skips.py:9: no such thing",
        "SKIPPED [1] test_skips.py:16: no other thing",
        "SKIPPED [1] test_skips.py:19: no third thing",
    ], done
    assert "1 failed, 3 skipped" in done.stdout
