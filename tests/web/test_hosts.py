"""A port on loopback answers to its own names only."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from builder.web.hosts import is_own, named


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9090",
        "localhost.",
        "a.localhost:1",
        "127.0.0.1:9090",
        "[::1]:9090",
        "192.0.2.7",
        "builds.internal:443",
        "Builds.Internal",
    ],
)
def test_addresses_and_our_names_are_ours(host: str) -> None:
    """An attacker's name cannot be a number."""
    assert is_own(host, {"builds.internal"})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[evil]:1",
        "127.0.0.1@evil.example",
        "xn--lcalhost-8za",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not is_own(host, {"builds.internal"})


async def test_what_was_meant_for_another_site_is_misdirected() -> None:
    """421 (RFC 9110, 15.5.20), and the application never sees it."""

    async def page(_request: object) -> PlainTextResponse:
        return PlainTextResponse("secret")

    app = named(Starlette(routes=[Route("/", page)]), ["Builds.internal"])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for host in ("127.0.0.1:9090", "builds.INTERNAL"):
            assert (await client.get("/", headers={"host": host})).text == "secret"
        answer = await client.get("/", headers={"host": "evil.example:9090"})
        assert answer.status_code == 421
        assert "evil.example" in answer.text
        assert "metrics.hosts" in answer.text
