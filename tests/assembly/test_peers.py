"""The port between workers: nobody is let in who was not introduced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from builder.assembly.dial import Access, open_channel, worker_access
from builder.assembly.peers import PeerSetup, open_peers, peer_setup
from builder.base.errors import (
    InvalidArgumentError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from builder.config.kinds import Address
from builder.config.settings import Peers, Scheduler, Settings, Tls, Worker
from builder.reapi.pb import workers_pb2
from builder.worker.stealing import STEAL, Stealing
from builder.worker.thief import Terms
from tests.net.certificates import make

ASKING = workers_pb2.StealRequest(thief="t", lease_ids=["a/1", "b/1"], most=1)
SETUP = PeerSetup(Terms(), "127.0.0.1:0")


@asynccontextmanager
async def victim(setup: PeerSetup = SETUP) -> AsyncIterator[Stealing]:
    """One that gives the first of what is asked for."""
    async with open_peers(setup) as stealing:
        stealing.attach("v", lambda _thief, leases, most: list(leases[:most]), lambda: None)
        with trio.fail_after(60):
            yield stealing


async def ask(address: str, access: Access, path: str = STEAL, request: bytes = b"") -> bytes:
    async with open_channel(address, access) as channel:
        return await channel.unary(path, request or ASKING.SerializeToString(), timeout_s=30)


async def test_only_who_shows_the_token_is_let_in() -> None:
    """Whoever has it gets an answer; nobody else does, and it is another one each time."""
    async with victim() as one, victim() as other:
        address, token = one.reachable.address, one.reachable.token
        answer = workers_pb2.StealResponse.FromString(await ask(address, Access(token)))
        assert list(answer.lease_ids) == ["a/1"]
        for wrong in ("", "join", other.reachable.token):
            with pytest.raises(UnauthenticatedError):
                await ask(address, Access(wrong))


async def test_nothing_else_is_served_there() -> None:
    """And a request without a thief, or with no end of leases, is refused."""
    async with victim() as one:
        address, access = one.reachable.address, Access(one.reachable.token)
        with pytest.raises(UnimplementedError):
            await ask(address, access, "/builder.workers.Stealing/Other")
        for request in (
            workers_pb2.StealRequest(lease_ids=["a/1"], most=1),
            workers_pb2.StealRequest(thief="t", lease_ids=["a"] * 1001),
        ):
            with pytest.raises(InvalidArgumentError):
                await ask(address, access, request=request.SerializeToString())
        with pytest.raises(InvalidArgumentError):
            await ask(address, access, request=b"\xff\xff")


async def test_beyond_loopback_it_speaks_tls(tmp_path: Path) -> None:
    """With the certificate of `tls`, by the name of `worker.peers.host`."""
    certificates = make(tmp_path)
    folder = certificates.folder
    settings = Settings(
        role="worker",
        tls=Tls(str(folder / "server.pem"), str(folder / "server.key")),
        scheduler=Scheduler(work_stealing=True),
        worker=Worker(
            peers=Peers(Address("0.0.0.0", 0), "localhost"),
            ca=str(folder / "ca.pem"),
        ),
    )
    access = worker_access(settings.worker)
    setup = peer_setup(settings, access)
    assert setup is not None
    async with victim(setup) as one:
        address, token = one.reachable.address, one.reachable.token
        assert address.startswith("grpcs://localhost:")
        assert await ask(address, replace(access, token=token))
        with pytest.raises(UnavailableError):
            await ask(address.removeprefix("grpcs://"), Access(token))


def test_without_work_stealing_there_is_no_port() -> None:
    """Off means that nothing listens."""
    assert peer_setup(Settings(role="worker"), Access()) is None
