"""One sandbox, with its own broker, for each test."""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from builder.sandbox.interface import Sandbox
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import READ_ONLY


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with open_sandbox(read_only=READ_ONLY, ready=1) as opened:
        yield opened


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that other users can reach; pytest's own are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="builder-open-") as place:
        os.chmod(place, 0o755)
        yield Path(place)
