"""The HTTP ports of a service, and those that somebody else has."""

import contextlib
import socket
from dataclasses import replace

import pytest

from builder.assembly.pages import open_pages
from builder.assembly.settings import load_settings
from builder.base.errors import UsageError
from builder.config.kinds import ARTIFACTS
from builder.config.settings import Metrics


async def addresses(**chosen: str) -> list[str]:
    """Of the HTTP ports that open, without metrics."""
    settings, _ = load_settings(None, {f"{key}.listen": value for key, value in chosen.items()}, {})
    settings = replace(settings, metrics=Metrics(enabled=False))
    async with open_pages(settings) as pages:
        return pages.addresses


async def test_a_port_that_was_chosen_and_is_taken_ends_the_start() -> None:
    """Also where it is the one that is the default; that nobody chose is done without."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # then somebody else has it: as good
            stack.enter_context(socket.create_server((ARTIFACTS.host, ARTIFACTS.port)))
        with pytest.raises(UsageError, match=f"cannot listen on {ARTIFACTS}"):
            await addresses(artifacts=str(ARTIFACTS))
        assert await addresses() == []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"):
            await addresses(artifacts=f"127.0.0.1:{port}")
