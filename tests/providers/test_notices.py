"""What a cloud's metadata service says, and a worker that heeds it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import pytest
import trio

from builder.providers.notices import Notice, wait_for_notice

Answers = dict[str, tuple[int, str]]


@asynccontextmanager
async def metadata(answers: Answers, asked: list[str]) -> AsyncIterator[str]:
    """A metadata service that gives these answers; what it does not know is 404."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    more = await stream.receive_some()
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                lines = head.decode().lower().split("\r\n")
                method, path, _ = head.decode().split("\r\n")[0].split(" ")
                key = f"{method} {path}"
                asked.append(key)
                if "/latest/meta-data" in path:
                    assert "x-aws-ec2-metadata-token: key" in lines
                if "/computemetadata" in path.lower():
                    assert "metadata-flavor: google" in lines
                status, body = answers.get(key, (404, ""))
                date = format_datetime(datetime.now(UTC), usegmt=True)
                reply = (
                    f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                await stream.send_all((reply + body).encode())

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


TOKEN: Answers = {"PUT /latest/api/token": (200, "key")}
ACTION = "GET /latest/meta-data/spot/instance-action"
REBALANCE = "GET /latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "GET /computeMetadata/v1/instance/preempted"


async def notice(cloud: str, answers: Answers, asked: list[str] | None = None) -> Notice:
    with trio.fail_after(60):
        async with metadata(answers, asked if asked is not None else []) as endpoint:
            return await wait_for_notice(cloud, endpoint, every_s=0.01)


async def test_a_spot_interruption_two_minutes_ahead() -> None:
    """The time that is left is told, less a little for the goodbye."""
    at = datetime.now(UTC) + timedelta(seconds=120)
    said = json.dumps({"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")})
    found = await notice("aws", {**TOKEN, ACTION: (200, said)})
    assert found.why == "AWS will terminate this spot instance"
    assert found.grace_s == pytest.approx(110, abs=3)


async def test_a_rebalance_recommendation_leaves_time() -> None:
    found = await notice("aws", {**TOKEN, REBALANCE: (200, '{"noticeTime": "x"}')})
    assert found == Notice("AWS expects to interrupt this spot instance", None)


async def test_a_preemption_at_google() -> None:
    found = await notice("gcp", {PREEMPTED: (200, "TRUE\n")})
    assert (found.why, found.grace_s) == ("Google preempts this machine", 25.0)


@pytest.mark.parametrize(
    ("cloud", "quiet"), [("aws", TOKEN), ("gcp", {PREEMPTED: (200, "FALSE")}), ("aws", {})]
)
async def test_it_asks_until_there_is_one(cloud: str, quiet: Answers) -> None:
    """Nothing to tell, and a service that refuses, are no notice."""
    answers, asked = dict(quiet), list[str]()
    found: list[Notice] = []
    async with metadata(answers, asked) as endpoint:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    found.append(await wait_for_notice(cloud, endpoint, every_s=0.01))

                nursery.start_soon(wait)
                while len(asked) < 6:  # noqa: ASYNC110 - the service's own count
                    await trio.sleep(0.01)
                assert found == []
                answers |= {**TOKEN, REBALANCE: (200, "{}"), PREEMPTED: (200, "TRUE")}
    assert len(found) == 1
