"""TLS and authentication of a real coordinator: what each role may do, on every listener."""

import http.client
import itertools
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import trio

from builder.assembly.coordinator import Coordinator, open_coordinator
from builder.assembly.dial import Access, open_channel
from builder.assembly.pages import open_pages
from builder.auth.rights import METHODS, RIGHTS, Right, right_of
from builder.base.errors import (
    PermissionDeniedError,
    StatusError,
    UnauthenticatedError,
    UnavailableError,
    UsageError,
)
from builder.config.kinds import Address, Secret
from builder.config.settings import Artifacts, Auth, Identity, Metrics, Settings, Tls, Token
from tests.net.certificates import Certificates, make

ROLES = ("reader", "writer", "trusted", "worker", "operator")
TOKENS = tuple(Token(f"the {role}", Secret(f"{role}-token"), role) for role in ROLES)
HEALTH = "/grpc.health.v1.Health/Check"
STATUS = "/builder.control.Control/GetStatus"
ANY_PORT = Address("127.0.0.1", 0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


def settings(
    folder: Path, certificates: Certificates | None = None, **sections: object
) -> Settings:
    base = Settings(role="coordinator")
    keys = certificates.folder if certificates else folder
    tls = Tls(str(keys / "server.pem"), str(keys / "server.key")) if certificates else Tls()
    return replace(
        base,
        coordinator=replace(base.coordinator, listen=ANY_PORT),
        reapi=replace(base.reapi, listen=ANY_PORT),
        store=replace(base.store, path=str(folder / "store")),
        metrics=Metrics(listen=ANY_PORT),
        artifacts=Artifacts(listen=ANY_PORT),
        **{"tls": tls, "auth": Auth("token", TOKENS), **sections},  # type: ignore[arg-type]  # sections by name
    )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Coordinator]:
    async with open_coordinator(settings) as coordinator:
        yield coordinator


def paths(coordinator: Coordinator) -> list[str]:
    return sorted(coordinator.servers[0].paths)


async def outcome(address: str, path: str, access: Access) -> StatusError | None:
    """How a call of an empty message ends; only refusals count, and streams are left at once."""
    async with open_channel(address, access) as channel:
        try:
            with trio.move_on_after(5):
                async with channel.stream(path) as call:
                    await call.send(b"")
                    await call.done_sending()
                    await call.receive()
        except StatusError as error:
            return error
    return None


async def test_every_role_against_every_method(tmp_path: Path) -> None:
    """The grid: whatever is registered is refused to exactly those whose role lacks its right."""
    async with serving(settings(tmp_path)) as coordinator:
        every = paths(coordinator)
        assert {p for p in every if p not in METHODS} == {
            "/builder.control.Control/DrainWorker",
            "/builder.control.Control/ScalePool",
        }, "a method that METHODS does not class is for operators only: is it meant so?"
        for role, path in itertools.product(ROLES, every):
            error = await outcome(coordinator.reapi, path, Access(f"{role}-token"))
            assert not isinstance(error, UnauthenticatedError), (role, path)
            refused = isinstance(error, PermissionDeniedError)
            assert refused is (right_of(path) not in RIGHTS[role]), (role, path, error)


async def test_strangers_get_health_only(tmp_path: Path) -> None:
    """Without a token, or with a wrong one, on both ports; the message says what to send."""
    async with serving(settings(tmp_path)) as coordinator:
        for address in (coordinator.coordinator, coordinator.reapi):
            for path in paths(coordinator):
                for token in ("", "wrong"):
                    error = await outcome(address, path, Access(token))
                    refused = isinstance(error, UnauthenticatedError)
                    assert refused is (right_of(path) is not Right.OPEN), (path, error)
                    assert not refused or "BUILDER_TOKEN" in error.message  # type: ignore[union-attr]  # it is one


async def test_the_join_token_is_a_workers_token(tmp_path: Path) -> None:
    """It joins and reads; it does not execute."""
    base = settings(tmp_path)
    base = replace(base, coordinator=replace(base.coordinator, join_token=Secret("join")))
    async with serving(base) as coordinator:
        refused = {}
        for path in paths(coordinator):
            error = await outcome(coordinator.coordinator, path, Access("join"))
            refused[path] = isinstance(error, PermissionDeniedError)
        assert refused == {path: right_of(path) not in RIGHTS["worker"] for path in refused}


def by_grpcio(address: str, authority: bytes, token: str) -> tuple[grpc.StatusCode, str]:
    credentials = grpc.ssl_channel_credentials(authority)
    with grpc.secure_channel(address, credentials) as channel:
        call = channel.unary_unary(STATUS)
        try:
            call(b"", timeout=60, metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as error:
            return error.code(), error.details()  # type: ignore[attr-defined]  # grpc's own calls have both
    return grpc.StatusCode.OK, ""


async def test_grpcio_with_tls_and_a_token(tmp_path: Path, certificates: Certificates) -> None:
    """A client that is not ours; who does not know our authority gets nowhere."""
    own = certificates.authority()
    other = (make_other(tmp_path)).authority()
    async with serving(settings(tmp_path, certificates)) as coordinator:

        async def ask(authority: bytes, token: str) -> tuple[grpc.StatusCode, str]:
            return await trio.to_thread.run_sync(by_grpcio, coordinator.reapi, authority, token)

        assert await ask(own, "reader-token") == (grpc.StatusCode.OK, "")
        assert (await ask(own, "nobody's"))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert (await ask(other, "reader-token"))[0] is grpc.StatusCode.UNAVAILABLE


async def test_results_are_written_by_the_trusted_alone(tmp_path: Path) -> None:
    """With `auth.results: trusted` a writer builds and uploads but writes no result, by no way in;
    one who is trusted does, and so does an operator."""
    auth = Auth("token", TOKENS, results="trusted")
    record = [path for path, right in METHODS.items() if right is Right.RECORD]
    async with serving(settings(tmp_path, auth=auth)) as coordinator:
        for role, path in itertools.product(ROLES, record):
            error = await outcome(coordinator.reapi, path, Access(f"{role}-token"))
            refused = isinstance(error, PermissionDeniedError)
            assert refused is (role not in ("trusted", "operator")), (role, path, error)
        execute = "/build.bazel.remote.execution.v2.Execution/Execute"
        error = await outcome(coordinator.reapi, execute, Access("writer-token"))
        assert not isinstance(error, PermissionDeniedError)
        assert coordinator.guard.check_page is not None
        basic = "Bearer writer-token"
        coordinator.guard.check_page("PUT", f"/cas/{'ab' * 32}", basic, "")
        with pytest.raises(PermissionDeniedError, match="write results: that takes the role"):
            coordinator.guard.check_page("PUT", f"/ac/{'ab' * 32}", basic, "")
        coordinator.guard.check_page("PUT", f"/ac/{'ab' * 32}", "Bearer trusted-token", "")


def make_other(folder: Path) -> Certificates:
    (folder / "other").mkdir()
    return make(folder / "other")


async def test_our_channel_checks_the_certificate(
    tmp_path: Path, certificates: Certificates
) -> None:
    """grpcs:// with the right authority works; plain text, and another authority, do not."""
    other = make_other(tmp_path)
    async with serving(settings(tmp_path, certificates)) as coordinator:
        secure = f"grpcs://{coordinator.reapi}"
        right = Access("reader-token", str(certificates.folder / "ca.pem"))
        assert await outcome(secure, STATUS, right) is None
        wrong = Access("reader-token", str(other.folder / "ca.pem"))
        error = await outcome(secure, STATUS, wrong)
        assert isinstance(error, UnavailableError)
        assert "certificate verify failed" in error.message
        error = await outcome(coordinator.reapi, STATUS, right)
        assert isinstance(error, UnavailableError)
        assert "does it want TLS" in error.message


async def test_mtls(tmp_path: Path, certificates: Certificates) -> None:
    """A certificate is an identity; one that is not named reads; without one TLS ends."""
    folder = certificates.folder
    tls = Tls(str(folder / "server.pem"), str(folder / "server.key"), str(folder / "ca.pem"))
    known = Auth("mtls", (), (Identity("spiffe://test/worker", "worker"),))
    mine = Access(
        "", str(folder / "ca.pem"), str(folder / "client.pem"), str(folder / "client.key")
    )
    for auth, role in ((known, "worker"), (Auth("mtls"), "reader")):
        async with serving(settings(tmp_path, tls=tls, auth=auth)) as coordinator:
            secure = f"grpcs://{coordinator.coordinator}"
            for path in paths(coordinator):
                error = await outcome(secure, path, mine)
                refused = isinstance(error, PermissionDeniedError)
                assert refused is (right_of(path) not in RIGHTS[role]), (role, path, error)
            nobody = Access("", str(folder / "ca.pem"))
            assert isinstance(await outcome(secure, STATUS, nobody), UnavailableError)


async def test_unix_sockets_are_listened_on(tmp_path: Path) -> None:
    """And removed at the end; the token is asked for there too."""
    path = tmp_path / "c.sock"
    base = settings(tmp_path)
    listen = Address("", 0, path=str(path))
    base = replace(base, coordinator=replace(base.coordinator, listen=listen))
    async with serving(base) as coordinator:
        assert coordinator.coordinator == f"unix:{path}"
        assert await outcome(coordinator.coordinator, STATUS, Access("reader-token")) is None
        error = await outcome(coordinator.coordinator, STATUS, Access())
        assert isinstance(error, UnauthenticatedError)
    assert not path.exists()


async def test_own_workers_come_by_a_socket_that_others_cannot_enter(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Only where something guards the port; its directory is the user's alone."""
    own = replace(settings(tmp_path, certificates), role="all")
    async with serving(own) as coordinator:
        socket = Path(coordinator.inside.removeprefix("unix:"))
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        assert await outcome(coordinator.inside, STATUS, Access("worker-token")) is None
        assert isinstance(await outcome(coordinator.inside, STATUS, Access()), UnauthenticatedError)
    assert not socket.parent.exists()
    open_to_all = replace(own, tls=Tls(), auth=Auth())
    async with serving(open_to_all) as coordinator:
        assert coordinator.inside == coordinator.coordinator


async def test_certificates_that_cannot_be_used(tmp_path: Path, certificates: Certificates) -> None:
    """The start ends with the file's name."""
    broken = Tls(str(certificates.folder / "server.pem"), str(certificates.folder / "client.key"))
    missing = Tls(str(tmp_path / "none.pem"), str(tmp_path / "none.key"))
    for tls, words in ((broken, "server.pem"), (missing, "none.pem")):
        with pytest.raises(UsageError, match=words):
            async with serving(settings(tmp_path, tls=tls)):
                pass


# ---- the HTTP ports


@contextmanager
def answered(url: str, method: str, token: str, context: ssl.SSLContext) -> Iterator[int]:
    request = urllib.request.Request(url, b"x" if method == "PUT" else None, method=method)
    if token:
        request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as response:
            yield response.status
    except urllib.error.HTTPError as error:
        yield error.code


async def test_the_http_ports_ask_too(tmp_path: Path, certificates: Certificates) -> None:
    """HTTPS with the same tokens: reading, storing, and results for those who may."""
    blob = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of b"x"
    cases = [
        (0, "GET", "/healthz", "", 200),
        (0, "GET", "/metrics", "", 401),
        (0, "GET", "/metrics", "reader-token", 200),
        (1, "GET", f"/cas/{blob}", "", 401),
        (1, "GET", f"/cas/{blob}", "reader-token", 404),
        (1, "PUT", f"/cas/{blob}", "reader-token", 403),
        (1, "PUT", f"/cas/{blob}", "worker-token", 204),
        (1, "PUT", f"/ac/{blob}", "worker-token", 403),
        (1, "PUT", f"/ac/{blob}", "writer-token", 204),
        (1, "GET", f"/ac/{blob}", "reader-token", 200),
    ]
    context = certificates.client()
    context.set_alpn_protocols(["http/1.1"])
    base = settings(tmp_path, certificates)
    async with serving(base) as coordinator, open_pages(base) as pages:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pages.serve, coordinator)
            for port, method, path, token, status in cases:
                url = f"https://{pages.addresses[port]}{path}"

                def ask(url: str = url, method: str = method, token: str = token) -> int:
                    with answered(url, method, token, context) as found:
                        return found

                assert await trio.to_thread.run_sync(ask) == status, (method, path, token)
            pages.stop()


async def test_certificates_are_identities_on_the_http_ports_too(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Two clients at the same time, each with its own role, on connections that stay open."""
    keys = certificates.folder
    tls = Tls(str(keys / "server.pem"), str(keys / "server.key"), str(keys / "ca.pem"))
    known = (Identity("spiffe://test/worker", "worker"), Identity("localhost", "writer"))
    base = settings(tmp_path, tls=tls, auth=Auth("mtls", (), known))
    name = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of b"x"

    def connection(address: str, who: str) -> http.client.HTTPSConnection:
        context = certificates.client()
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(keys / f"{who}.pem", keys / f"{who}.key")
        made = http.client.HTTPSConnection(address, timeout=60, context=context)
        made.connect()
        return made

    def put(connection: http.client.HTTPSConnection, path: str) -> int:
        connection.request("PUT", path, b"x")
        with connection.getresponse() as response:
            response.read()
            return response.status

    def story(address: str) -> list[int]:
        worker, writer = connection(address, "client"), connection(address, "server")
        found = []
        for _ in range(2):
            for who in (worker, writer):
                found += [put(who, f"/cas/{name}"), put(who, f"/ac/{name}")]
        worker.close()
        writer.close()
        return found

    async with serving(base) as coordinator, open_pages(base) as pages:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pages.serve, coordinator)
            found = await trio.to_thread.run_sync(story, pages.addresses[1])
            assert found == [204, 403, 204, 204] * 2
            pages.stop()


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Neither in settings nor in what a channel is made of."""
    base = settings(tmp_path)
    assert "reader-token" not in repr(base)
    assert "secret" not in repr(Access("secret"))
