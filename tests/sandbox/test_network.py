"""Network: none is a loopback of one's own; full is the host's."""

import os
import socket
import subprocess
import sys
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


USE_AGAIN = """
import os, socket
from builder.sandbox.kernel import identity, network
if os.getuid() != 0:
    uid, gid = os.getuid(), os.getgid()
    identity.unshare(identity.CLONE_NEWUSER)
    identity.map_ids("self", 1000, uid, gid)

def of(path):
    return os.stat(path).st_ino

net = network.Network()
net.refresh()
made, first = net.traces(), of("/proc/self/ns/net")
spare = socket.socket(); spare.bind(("127.0.0.1", 0)); spare.listen()
assert net.traces() == b""  # a socket is open in it
spare.close()
assert net.is_as_made()
net.refresh()
assert (net.traces(), of("/proc/self/ns/net")) == (made, first), "it was as good as new"
TRACE
assert not net.is_as_made() and net.traces() != b""
net.refresh()
assert net.traces() == made and of("/proc/self/ns/net") != first, "it had been used"
"""
TRACES = {
    "a packet to oneself": (
        "a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0)); "
        "a.sendto(b'x', a.getsockname()); a.close()"
    ),
    "a refused connection": "a = socket.socket(); a.connect_ex(('127.0.0.1', 9)); a.close()",
    "a host that has no route": "a = socket.socket(); a.connect_ex(('192.0.2.1', 9)); a.close()",
}


@pytest.mark.parametrize("trace", TRACES.values(), ids=list(TRACES))
def test_a_network_is_used_again_only_without_a_trace(trace: str) -> None:
    """A network in which nothing has happened serves again; one attempt is enough to end it."""
    home = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = [sys.executable, "-c", USE_AGAIN.replace("TRACE", trace)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_no_action_sees_the_traffic_of_another(sandbox: Sandbox, tmp_path: Path) -> None:
    """Whatever was sent before, an action begins with counters that nobody has touched."""
    look = "print(open('/proc/net/snmp').read(), open('/proc/net/snmp6').read())"
    talk = "import socket; a = socket.socket(); a.connect_ex(('127.0.0.1', 9))"
    seen = set()
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        done = await python(sandbox, tmp_path / str(number), f"{look}; {talk}")
        assert done.exit.exit_code == 0, done.err
        seen.add(done.out)
    assert len(seen) == 1
