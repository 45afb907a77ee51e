"""The network of some hosts: what the proxy lets through, what it refuses, and that it tells."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trio

from builder.sandbox import proxy
from builder.sandbox.interface import AuditLevel, Network, Sandbox
from tests.sandbox.support import python, shell

FETCH = (
    "import os, sys, urllib.request\n"
    "try: print(urllib.request.urlopen(sys.argv[1]).read().decode())\n"
    "except OSError as error: print(type(error).__name__, error)\n"
)
TUNNEL = (
    "import http.client, sys\n"
    "c = http.client.HTTPConnection('127.0.0.1', 3128)\n"
    "c.set_tunnel('127.0.0.1', int(sys.argv[1]))\n"
    "try: c.request('GET', '/t'); print(c.getresponse().read().decode())\n"
    "except OSError as error: print(error)\n"
)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the base class's word
        body = f"you asked for {self.path}, {self.headers['Connection']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[int]:
    """A server of the host's."""
    with HTTPServer(("127.0.0.1", 0), Answer) as found:
        thread = Thread(target=found.serve_forever)
        thread.start()
        yield found.server_port
        found.shutdown()
        thread.join()


async def test_allowed_host_is_reached(sandbox: Sandbox, tmp_path: Path, server: int) -> None:
    """By http_proxy, which is set; and nothing else is."""
    hosts = (f"127.0.0.1:{server}",)
    url = f"http://127.0.0.1:{server}/a?b=c"
    environment = {"no_proxy": ""}  # the name of the test's host is one that usually needs none
    done = await python(
        sandbox, tmp_path, FETCH, url, network=Network.HOSTS, hosts=hosts, environment=environment
    )
    assert done.out == "you asked for /a?b=c, close\n", done.err
    assert done.exit.blocked == ()
    assert "network-hosts" in done.exit.guarantees
    assert "network-namespace" not in done.exit.guarantees


async def test_tunnels_go_to_allowed_hosts_only(
    sandbox: Sandbox, tmp_path: Path, server: int
) -> None:
    """CONNECT to a port that is not allowed is refused, and told with the result."""
    script = TUNNEL.replace("sys.argv[1]", f"{server}") + TUNNEL.replace("sys.argv[1]", "1")
    hosts = (f"127.0.0.1:{server}",)
    done = await python(sandbox, tmp_path, script, network=Network.HOSTS, hosts=hosts)
    assert done.out.splitlines()[0] == "you asked for /t, None", done.err
    assert "403" in done.out.splitlines()[1]
    assert done.exit.blocked == ("127.0.0.1:1",)
    assert done.exit.message == "the network refused 127.0.0.1:1"


async def test_there_is_no_way_around_the_proxy(
    sandbox: Sandbox, tmp_path: Path, server: int
) -> None:
    """A direct connection meets the action's own network, where nobody listens."""
    script = f"import socket\nsocket.create_connection(('127.0.0.1', {server}), 5)"
    hosts = (f"127.0.0.1:{server}",)
    done = await python(sandbox, tmp_path, script, network=Network.HOSTS, hosts=hosts)
    assert "ConnectionRefusedError" in done.err


async def test_audit_tells_of_refused_hosts(sandbox: Sandbox, tmp_path: Path) -> None:
    """The way to the proxy is no finding; the host that it refused is one."""
    script = TUNNEL.replace("'127.0.0.1', int(sys.argv[1])", "'evil.invalid', 443")
    more = {"network": Network.HOSTS, "hosts": ("a.b",), "audit": AuditLevel.FULL}
    done = await python(sandbox, tmp_path, script, **more)
    assert "403" in done.out, done.err
    assert done.exit.audit is not None
    connects = [one.name for one in done.exit.audit.outside if one.use == "connect"]
    assert connects == ["evil.invalid:443"]


async def test_environment_is_the_actions_own_first(sandbox: Sandbox, tmp_path: Path) -> None:
    """A proxy that the action names itself stays; without hosts there is none."""
    more = {"environment": {"http_proxy": "mine"}, "network": Network.HOSTS, "hosts": ("a.b",)}
    done = await shell(sandbox, tmp_path, "echo $http_proxy $https_proxy", **more)
    assert done.out == f"mine {proxy.URL}\n"
    done = await shell(sandbox, tmp_path, "echo $http_proxy $https_proxy")
    assert done.out == "\n"


def test_names_do_not_lead_home() -> None:
    """A name that resolves to the worker itself is refused; its address may be written down."""
    found = proxy.Filter(("evil.org", "127.0.0.1", "localhost"))
    for address in ("127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "::ffff:127.0.0.1"):
        assert found.leads_home("evil.org", address)
    assert found.leads_home("localhost", "127.0.0.1")
    assert not found.leads_home("127.0.0.1", "127.0.0.1")
    assert not found.leads_home("evil.org", "192.0.2.1")


@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1", b"nonsense", b"CONNECT http://a:1/ HTTP/1.1", b"GET ftp://a/ HTTP/1.1",
     b"GET http://a:x/ HTTP/1.1", b"CONNECT  HTTP/1.1", b"\xff GET http://a/ HTTP/1.1"],
)  # fmt: skip
def test_odd_requests_are_refused(head: bytes) -> None:
    """What is no request to a proxy is answered with 400."""
    with pytest.raises(proxy.RequestError) as told:
        proxy.parsed(head + b"\r\n\r\n")
    assert told.value.status.startswith("400")


def test_requests_are_sent_on_without_what_is_the_proxys() -> None:
    """The path replaces the URL, the connection ends with the answer, the rest stays."""
    head = b"GET http://a:81/x?y HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\n\r\n"
    assert proxy.parsed(head) == (
        "a", 81, b"GET /x?y HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n"
    )  # fmt: skip


async def test_head_without_an_end_is_refused() -> None:
    """A client that sends more than a head may have, or goes away, gets an answer or nothing."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    fd = listeners[0].socket.detach()
    served = proxy.Proxy(("a.b",))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.serve, fd)
        with trio.fail_after(60):
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(b"GET " + b"x" * (proxy.HEAD_BYTES + 1))
                assert (await client.receive_some(100)).startswith(b"HTTP/1.1 400")
            with socket.create_connection(("127.0.0.1", port)):
                pass
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(b"CONNECT c.d:443 HTTP/1.1\r\n\r\n")
                assert (await client.receive_some(100)).startswith(b"HTTP/1.1 403")
        nursery.cancel_scope.cancel()
    assert list(served.filter.blocked) == ["c.d:443"]
