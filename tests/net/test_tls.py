"""TLS on both sides: ALPN, versions, mTLS, large bodies, and peers that do not fit."""

import ssl

import grpc
import pytest
import trio

from builder.base.errors import UnavailableError
from builder.net.channel import Channel
from builder.net.rpc import Context, Method, Service
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
        with trio.fail_after(10):
            for size in (0, 1, 100_000, 4_000_000):
                assert await channel.unary("/test.Echo/Echo", bytes(size)) == bytes(size)
            async with channel.stream("/test.Echo/Down") as call:
                await call.send(b"30 1000000")
                await call.done_sending()
                total = 0
                while (message := await call.receive()) is not None:
                    total += len(message)
                assert total == 30_000_000


async def test_the_identity_of_a_client_is_handed_up(certificates: Certificates) -> None:
    def who(request: bytes, context: Context) -> bytes:
        return context.peer.identity.encode()

    service = Service("test.Who", (Method("/test.Who/Am", unary=who),))
    async with serving(service, tls=certificates.server(wants_client=True)) as server:
        own = certificates.client(with_own=True)
        async with Channel(server.addresses[0], tls=own) as channel:
            assert await channel.unary("/test.Who/Am", b"") == b"spiffe://test/worker"
        async with Channel(server.addresses[0], tls=certificates.client()) as channel:
            with pytest.raises(UnavailableError), trio.fail_after(5):
                await channel.unary("/test.Who/Am", b"")


async def test_a_certificate_of_somebody_else_is_refused(certificates: Certificates) -> None:
    stranger = ssl.create_default_context()
    async with (
        serving(tls=certificates.server()) as server,
        Channel(server.addresses[0], tls=stranger) as channel,
    ):
        with pytest.raises(UnavailableError, match="certificate"), trio.fail_after(5):
            await channel.unary("/test.Echo/Echo", b"")


async def test_a_plain_client_of_a_tls_server_is_told(certificates: Certificates) -> None:
    async with (
        serving(tls=certificates.server()) as server,
        Channel(server.addresses[0]) as channel,
    ):
        with pytest.raises(UnavailableError, match="TLS"), trio.fail_after(5):
            await channel.unary("/test.Echo/Echo", b"")


async def test_grpcio_over_tls(certificates: Certificates) -> None:
    async with serving(ECHO, tls=certificates.server()) as server:

        def story() -> None:
            credentials = grpc.ssl_channel_credentials(certificates.authority())
            with grpc.secure_channel(server.addresses[0], credentials) as channel:
                call = channel.unary_unary("/test.Echo/Echo")
                assert call(bytes(1_000_000), timeout=10) == bytes(1_000_000)

        with trio.fail_after(20):
            await trio.to_thread.run_sync(story)
