"""The HTTP ports of a service, and those that somebody else has."""

import socket
from dataclasses import replace

import pytest

from builder.assembly.pages import open_pages
from builder.assembly.settings import load_settings
from builder.base.errors import UsageError
from builder.config.kinds import ARTIFACTS
from builder.config.settings import Metrics, Settings


def chosen(address: str | None) -> Settings:
    """With this `--artifacts`, and without metrics."""
    settings, _ = load_settings(None, {"artifacts.listen": address}, {})
    return replace(settings, metrics=Metrics(enabled=False))


async def test_a_port_that_was_chosen_and_is_taken_ends_the_start() -> None:
    """The service does not run without what somebody asked for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"cannot listen on {address}"):
            async with open_pages(chosen(address)):
                pass


def test_the_default_that_somebody_wrote_down_was_chosen() -> None:
    """Equal, but not the object by which `open_pages` knows that nobody did; e2e shows the rest."""
    assert chosen(None).artifacts.listen is ARTIFACTS
    written = chosen(str(ARTIFACTS)).artifacts.listen
    assert written == ARTIFACTS
    assert written is not ARTIFACTS
