"""Pages behind the gate: who may only look sees no buttons."""

import httpx
import pytest
from prometheus_client import CollectorRegistry

from builder.base.errors import PermissionDeniedError, UnauthenticatedError
from builder.web.guarded import guarded
from builder.web.metrics import MetricsPages
from builder.web.serving import App
from tests.web.site import evil


def check(method: str, path: str, authorization: str | None, _identity: str) -> None:
    """`look` may look, `write` may also run and cancel, `steer` may do everything."""
    if authorization is None:
        raise UnauthenticatedError("show a token")
    steering = path.startswith("/pool/") or path.endswith("/drain")
    if method == "POST" and (authorization == "look" or (steering and authorization != "steer")):
        raise PermissionDeniedError("it is not for you")


def behind_the_gate() -> App:
    plain = evil()
    return guarded(MetricsPages(CollectorRegistry(), lambda: True, list, plain).app(), check)


@pytest.mark.parametrize(
    ("who", "steers", "runs"),
    [("look", False, False), ("write", False, True), ("steer", True, True)],
)
async def test_buttons_are_for_those_who_may_press_them(who: str, steers: bool, runs: bool) -> None:
    transport = httpx.ASGITransport(behind_the_gate())
    async with httpx.AsyncClient(
        transport=transport, base_url="http://here", headers={"authorization": who}
    ) as client:
        workers = (await client.get("/workers")).text
        action = (await client.get("/actions/0000")).text
        scaled = await client.post("/pool/scale", data={"workers": "1"})
    assert ("/pool/scale" in workers, "/drain" in workers) == (steers, steers)
    assert ("Run again" in action) == runs
    assert scaled.status_code == (409 if steers else 403)  # our form's token is missing


async def test_who_shows_nothing_sees_nothing() -> None:
    transport = httpx.ASGITransport(behind_the_gate())
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answer = await client.get("/")
    assert (answer.status_code, "Builder" in answer.text) == (401, False)
