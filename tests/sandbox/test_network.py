"""Network: none is a loopback of one's own; full is the host's."""

import socket
from pathlib import Path

import pytest
import trio

from builder.sandbox.interface import Network, Outcome, Sandbox, SandboxRefusedError
from tests.sandbox.support import PYTHON, python, spec

CONNECT = "import socket, sys\ns = socket.create_connection(('127.0.0.1', {port}), 60)\nprint('in')"


async def test_own_loopback_works(sandbox: Sandbox, tmp_path: Path) -> None:
    """A server and its client inside one action find each other, by IPv4 and localhost."""
    script = (
        "import socket\ns = socket.create_server(('localhost', 0))\n"
        "c = socket.create_connection(s.getsockname()[:2])\nprint(s.accept()[1][0])"
    )
    done = await python(sandbox, tmp_path, script)
    assert (done.out, done.err) == ("127.0.0.1\n", "")


async def test_two_actions_may_take_the_same_port(sandbox: Sandbox, tmp_path: Path) -> None:
    """Networks of actions that run at once are apart: both bind the same port and meet nobody."""
    script = (
        "import os, socket, time\ns = socket.create_server(('127.0.0.1', 7777))\n"
        "print('bound', flush=True)\ntime.sleep(0.3)\ns.settimeout(0)\n"
        "try: s.accept()\nexcept BlockingIOError: print('alone')"
    )
    outs = []

    async def one(base: Path) -> None:
        outs.append((await python(sandbox, base, script)).out)

    async with trio.open_nursery() as nursery:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            nursery.start_soon(one, tmp_path / name)
    assert outs == ["bound\nalone\n"] * 2


async def test_full_network_reaches_the_host(sandbox: Sandbox, tmp_path: Path) -> None:
    """With the full network a listener of the host is reachable, and no isolation is claimed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = CONNECT.format(port=server.getsockname()[1])
        done = await python(sandbox, tmp_path, script, network=Network.FULL)
    assert (done.out, done.exit.outcome) == ("in\n", Outcome.EXITED)
    assert "network-namespace" not in done.exit.guarantees


async def test_full_network_does_not_meet_the_guarantee(sandbox: Sandbox, tmp_path: Path) -> None:
    """Requiring a network of one's own and asking for the host's is refused."""
    wanted = spec(tmp_path, PYTHON, network=Network.FULL, required=frozenset({"network-namespace"}))
    with pytest.raises(SandboxRefusedError, match="network-namespace"):
        await sandbox.run(wanted)
