"""One sandbox, with its own broker, for each test."""

from collections.abc import AsyncIterator

import pytest

from builder.sandbox.interface import Sandbox
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import READ_ONLY


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with open_sandbox(read_only=READ_ONLY, ready=1) as opened:
        yield opened
