"""TLS on both sides: ALPN, versions, mTLS, large bodies, and peers that do not fit."""

import contextlib
import math
import shutil
import ssl
from functools import partial
from pathlib import Path

import grpc
import pytest
import trio

from builder.base.errors import UnavailableError, UsageError
from builder.net import tls
from builder.net.channel import Channel
from builder.net.hooks import Hooks
from builder.net.rpc import Context, Method, Service
from builder.net.upkeep import Upkeep
from tests.net.certificates import Certificates, make
from tests.net.echo import ECHO, serving


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_calls_over_tls(certificates: Certificates, version: ssl.TLSVersion) -> None:
    client = certificates.client()
    client.minimum_version = client.maximum_version = version
    async with (
        serving(tls=certificates.server()) as server,
        Channel(server.addresses[0], tls=client) as channel,
    ):
        with trio.fail_after(60):
            for size in (0, 1, 100_000, 4_000_000):
                assert await channel.unary("/test.Echo/Echo", bytes(size)) == bytes(size)
            async with channel.stream("/test.Echo/Down") as call:
                await call.send(b"30 1000000")
                await call.done_sending()
                total = 0
                while (message := await call.receive()) is not None:
                    total += len(message)
                assert total == 30_000_000


@pytest.mark.parametrize("offered", [[], ["http/1.1"]], ids=str)
async def test_who_does_not_offer_h2_is_sent_away(
    certificates: Certificates, offered: list[str]
) -> None:
    """RFC 9113, 3.2: HTTP/2 over TLS is agreed on by ALPN, or not spoken."""
    context = ssl.create_default_context(cafile=certificates.folder / "ca.pem")
    if offered:
        context.set_alpn_protocols(offered)
    async with serving(tls=certificates.server()) as server:
        host, _, port = server.addresses[0].rpartition(":")
        with trio.fail_after(60):
            stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context)
            await stream.do_handshake()
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
                )
                assert await stream.receive_some() == b""
            await trio.aclose_forcefully(stream)
        async with Channel(server.addresses[0], tls=certificates.client()) as channel:
            assert await channel.unary("/test.Echo/Echo", b"all is well") == b"all is well"


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> str:
    """The suite on which they agree. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(down, up, server_hostname="localhost"),
        server.wrap_bio(up, down, server_side=True),
    ]
    while sides:
        with contextlib.suppress(ssl.SSLWantReadError):
            sides[0].do_handshake()
            agreed = sides.pop(0).cipher()
        sides.reverse()
    assert agreed is not None
    return agreed[0]


@pytest.mark.parametrize(
    ("suite", "good"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA", False),
        ("ECDHE-ECDSA-AES256-SHA384", False),
        ("ECDHE-ECDSA-AES128-CCM", False),
    ],
)
def test_suites_that_http2_prohibits_are_not_agreed_on(
    certificates: Certificates, suite: str, good: bool
) -> None:
    """RFC 9113, 9.2.2: of TLS 1.2, on both of our sides; 9.2.1: never renegotiated."""
    folder = certificates.folder
    identity = tls.Identity(str(folder / "server.pem"), str(folder / "server.key"))
    server = tls.server_context(identity)
    client = tls.client_context(str(folder / "ca.pem"))
    wanting, offering = certificates.client(), certificates.server()
    for context in (wanting, offering):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suite)
    for left, right in ((wanting, server), (client, offering)):
        if good:
            assert shake_hands(left, right) == suite
        else:
            with pytest.raises(ssl.SSLError):
                shake_hands(left, right)
    assert all(one.options & ssl.OP_NO_RENEGOTIATION for one in (server, client))


async def test_a_handshake_is_waited_for_no_longer_than_is_said(
    certificates: Certificates,
) -> None:
    """Who does not come to its end is sent away, and counted; others come in meanwhile."""
    hit: list[str] = []
    options = {"hooks": Hooks(limit_hit=hit.append), "upkeep": Upkeep(handshake_s=0.05)}
    async with serving(tls=certificates.server(), **options) as server:
        host, _, port = server.addresses[0].rpartition(":")
        with trio.fail_after(60):
            stream = await trio.open_tcp_stream(host, int(port))
            assert await stream.receive_some() == b""
            await stream.aclose()
    assert hit == ["handshake_timeout"]


async def test_a_handshake_does_not_hold_up_the_end(certificates: Certificates) -> None:
    """It is no call: nothing is lost when it ends with the server."""
    async with serving(tls=certificates.server(), upkeep=Upkeep(handshake_s=math.inf)) as server:
        host, _, port = server.addresses[0].rpartition(":")
        with trio.fail_after(60):
            stream = await trio.open_tcp_stream(host, int(port))
            async with Channel(server.addresses[0], tls=certificates.client()) as channel:
                # accepted in the order of coming, so the other one is there too
                assert await channel.unary("/test.Echo/Echo", b"x") == b"x"
                await server.drain()
            with contextlib.suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
            await stream.aclose()


async def test_the_identity_of_a_client_is_handed_up(certificates: Certificates) -> None:
    def who(request: bytes, context: Context) -> bytes:
        return context.peer.identity.encode()

    service = Service("test.Who", (Method("/test.Who/Am", unary=who),))
    async with serving(service, tls=certificates.server(wants_client=True)) as server:
        own = certificates.client(with_own=True)
        async with Channel(server.addresses[0], tls=own) as channel:
            assert await channel.unary("/test.Who/Am", b"") == b"spiffe://test/worker"
        async with Channel(server.addresses[0], tls=certificates.client()) as channel:
            with pytest.raises(UnavailableError), trio.fail_after(60):
                await channel.unary("/test.Who/Am", b"")


async def test_a_certificate_of_somebody_else_is_refused(certificates: Certificates) -> None:
    stranger = ssl.create_default_context()
    async with (
        serving(tls=certificates.server()) as server,
        Channel(server.addresses[0], tls=stranger) as channel,
    ):
        with pytest.raises(UnavailableError, match="certificate"), trio.fail_after(60):
            await channel.unary("/test.Echo/Echo", b"")


async def test_a_plain_client_of_a_tls_server_is_told(certificates: Certificates) -> None:
    async with (
        serving(tls=certificates.server()) as server,
        Channel(server.addresses[0]) as channel,
    ):
        with pytest.raises(UnavailableError, match="TLS"), trio.fail_after(60):
            await channel.unary("/test.Echo/Echo", b"")


async def test_grpcio_over_tls(certificates: Certificates) -> None:
    async with serving(ECHO, tls=certificates.server()) as server:

        def story() -> None:
            credentials = grpc.ssl_channel_credentials(certificates.authority())
            with grpc.secure_channel(server.addresses[0], credentials) as channel:
                call = channel.unary_unary("/test.Echo/Echo")
                assert call(bytes(1_000_000), timeout=60) == bytes(1_000_000)

        with trio.fail_after(60):
            await trio.to_thread.run_sync(story)


async def test_a_new_certificate_without_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Replaced files are used by the next handshake; broken ones leave the old in place."""
    first = make(_folder(tmp_path, "first"))
    second = make(_folder(tmp_path, "second"))
    live = _folder(tmp_path, "live")
    identity = tls.Identity(str(live / "pem"), str(live / "key"))

    def install(source: Certificates) -> None:
        for name in ("pem", "key"):
            shutil.copy(source.folder / f"server.{name}", live / name)

    async def call(address: str, certificates: Certificates) -> bytes:
        context = tls.client_context(str(certificates.folder / "ca.pem"))
        async with Channel(address, tls=context) as channel:
            return await channel.unary("/test.Echo/Echo", b"x")

    install(first)
    opened = partial(tls.server_context, identity)
    context = tls.RenewedContext(opened, identity.certificate, identity.key)
    async with serving(tls=context) as server, trio.open_nursery() as nursery:
        nursery.start_soon(context.keep_fresh, 0.01)
        await trio.lowlevel.checkpoint()
        with trio.fail_after(60):
            assert await call(server.addresses[0], first) == b"x"
            (live / "pem").write_text("broken")
            while "not reloaded" not in caplog.text:
                await trio.lowlevel.checkpoint()
            assert await call(server.addresses[0], first) == b"x"
            install(second)
            while True:
                try:
                    assert await call(server.addresses[0], second) == b"x"
                except UnavailableError:
                    continue  # not yet reloaded
                break
        nursery.cancel_scope.cancel()


async def test_an_authority_that_is_replaced_is_trusted_no_more(tmp_path: Path) -> None:
    """Clients of the new one come in, those of the old one do not; no restart."""
    first = make(_folder(tmp_path, "first"))
    second = make(_folder(tmp_path, "second"))
    live = tmp_path / "authorities.pem"
    shutil.copy(first.folder / "ca.pem", live)
    identity = tls.Identity(str(first.folder / "server.pem"), str(first.folder / "server.key"))
    opened = partial(tls.server_context, identity, str(live))
    context = tls.RenewedContext(opened, str(live))
    trusted = str(first.folder / "ca.pem")

    async def comes_in(address: str, who: Certificates) -> bool:
        own = tls.Identity(str(who.folder / "client.pem"), str(who.folder / "client.key"))
        async with Channel(address, tls=tls.client_context(trusted, own)) as channel:
            try:
                return await channel.unary("/test.Echo/Echo", b"x") == b"x"
            except UnavailableError:
                return False

    async with serving(tls=context) as server, trio.open_nursery() as nursery:
        nursery.start_soon(context.keep_fresh, 0.01)
        with trio.fail_after(60):
            address = server.addresses[0]
            assert await comes_in(address, first)
            assert not await comes_in(address, second)
            shutil.copy(second.folder / "ca.pem", live)
            while not await comes_in(address, second):
                pass
            assert not await comes_in(address, first)
        nursery.cancel_scope.cancel()


async def test_an_expired_certificate_of_the_server(tmp_path: Path) -> None:
    """The client is told that it has expired, and what helps."""
    expired = make(tmp_path, days=-1)
    async with (
        serving(tls=expired.server()) as server,
        Channel(server.addresses[0], tls=expired.client()) as channel,
    ):
        message = "certificate has expired; it has to be renewed there"
        with pytest.raises(UnavailableError, match=message), trio.fail_after(60):
            await channel.unary("/test.Echo/Echo", b"")


async def test_an_expired_certificate_of_the_client(
    tmp_path: Path, certificates: Certificates
) -> None:
    """It says so, not that the server is none."""
    expired = make(tmp_path, days=-1, authority=certificates)
    context = certificates.client()
    context.load_cert_chain(expired.folder / "client.pem", expired.folder / "client.key")
    async with (
        serving(tls=certificates.server(wants_client=True)) as server,
        Channel(server.addresses[0], tls=context) as channel,
    ):
        with pytest.raises(UnavailableError, match="certificate expired"), trio.fail_after(60):
            await channel.unary("/test.Echo/Echo", b"")


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    """The message names the files."""
    with pytest.raises(UsageError, match=r"no\.pem"):
        tls.server_context(tls.Identity(str(tmp_path / "no.pem"), str(tmp_path / "no.key")))
    with pytest.raises(UsageError, match=r"no\.ca"):
        tls.client_context(str(tmp_path / "no.ca"))
