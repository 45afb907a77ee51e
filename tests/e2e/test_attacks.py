"""Attacks on the real server process: each ends, memory is bounded, and others are unharmed."""

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import psutil
import pytest

from builder.reapi.pb import bytestream_pb2 as bs_pb
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.wire import frames
from builder.wire.frames import ErrorCode
from tests.e2e.service import Service
from tests.wire.peers import block, error_of, frame, message, request

pytestmark = pytest.mark.slow
HEALTH = "/grpc.health.v1.Health/Check"
UPDATE = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs"
READ = "/google.bytestream.ByteStream/Read"
WATCH = "/grpc.health.v1.Health/Watch"
GROWTH = 64 * 1024 * 1024  # bytes that an attack may cost
BIG = bytes(range(256)) * 12_000  # 3 MB, more than all windows that we leave shut
PATIENCE_S = 60.0  # of a call beside an attack; it takes milliseconds, the machine may be busy


def opened(stream_id: int, path: str, *extra: tuple[str, str]) -> bytes:
    return frame(frames.HEADERS, 4, stream_id, block(request(path, *extra)))


def rapid_reset(n: int) -> bytes:
    """CVE-2023-44487."""
    return opened(2 * n + 1, WATCH) + frames.rst_stream(2 * n + 1, 8)


def made_you_reset(n: int) -> bytes:
    """CVE-2025-8671."""
    return opened(2 * n + 1, WATCH) + frames.window_update(2 * n + 1, 0)


def pings(n: int) -> bytes:
    return frames.ping(b"%08d" % (n % 10**8))


def settings(n: int) -> bytes:
    return frames.settings({})


def continuations(n: int) -> bytes:
    """CVE-2024-27316."""
    return frame(frames.CONTINUATION, 0, 1, b"") if n else frame(frames.HEADERS, 0, 1)


def hpack_bombs(n: int) -> bytes:
    """10 KiB that stand for 40 MiB."""
    bomb = b"\x40\x01a" + b"\x7f\x81\x1e" + b"v" * 3968 + b"\xbe" * 10_000
    return frame(frames.HEADERS, 4, 2 * n + 1, bomb)


def tiny_data(n: int) -> bytes:
    if n == 0:
        return opened(1, UPDATE) + frame(frames.DATA, 0, 1, (4_000_000).to_bytes(5, "big"))
    return frame(frames.DATA, 0, 1, b"x")


FLOODS = [rapid_reset, made_you_reset, pings, settings, continuations, hpack_bombs, tiny_data]


@pytest.fixture
def server(service: Service) -> psutil.Process:
    return psutil.Process(service.process.pid)


class Bystander:
    """Somebody else's calls, one after the other, while the test runs."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = threading.Event()
        self._answered = threading.Condition()
        self._count = 0

    def ask(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            check = channel.unary_unary(HEALTH)
            while not self._stop.is_set():
                check(b"", timeout=PATIENCE_S)
                with self._answered:
                    self._count += 1
                    self._answered.notify_all()

    def gets_answers(self, more: int = 1) -> None:
        """So many more from now on."""
        with self._answered:
            wanted = self._count + more
            assert self._answered.wait_for(lambda: self._count >= wanted, PATIENCE_S)

    def stop(self) -> None:
        self._stop.set()


@pytest.fixture
def bystander(service: Service) -> Iterator[Bystander]:
    one = Bystander(service.reapi)
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(one.ask)
        yield one
        one.stop()
        asking.result(2 * PATIENCE_S)


def connected(service: Service, start: bytes = b"") -> socket.socket:
    host, _, port = service.reapi.rpartition(":")
    sock = socket.create_connection((host, int(port)), PATIENCE_S)
    sock.sendall(frames.PREFACE + (start or frames.settings({})))
    return sock


def until_closed(sock: socket.socket) -> bytes:
    """What the server said until it closed; a reset may overtake some of it."""
    said = b""
    try:
        while data := sock.recv(65536):
            said = (said + data)[-65536:]
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_floods_leave_others_unharmed(
    flood: Callable[[int], bytes], service: Service, server: psutil.Process, bystander: Bystander
) -> None:
    """The attacker is sent away before he has sent it all; memory is what it was."""
    before = server.memory_info().rss
    with connected(service) as sock:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for first in range(0, 200_000, 500):
                sock.sendall(b"".join(flood(n) for n in range(first, first + 500)))
        said = until_closed(sock)  # a server that did not mind would let us wait here
    goaways = [at for at in range(len(said) - 17) if said[at + 3 : at + 5] == b"\x07\x00"]
    if said and goaways:
        at = goaways[-1]
        assert error_of(said[at + 9 : at + 17]) == ErrorCode.ENHANCE_YOUR_CALM
    assert server.memory_info().rss - before < GROWTH
    bystander.gets_answers()


def test_zero_windows_held_open(
    service: Service, server: psutil.Process, bystander: Bystander
) -> None:
    """900 reads of 3 MB whose client takes nothing cost a piece of 256 KiB each, and no more."""
    with grpc.insecure_channel(service.reapi) as channel:
        update = pb.BatchUpdateBlobsRequest()
        one = update.requests.add(data=BIG)
        one.digest.hash, one.digest.size_bytes = hashlib.sha256(BIG).hexdigest(), len(BIG)
        channel.unary_unary(UPDATE)(update.SerializeToString(), timeout=60)
        name = f"blobs/{one.digest.hash}/{len(BIG)}"
    body = message(bs_pb.ReadRequest(resource_name=name).SerializeToString())
    before = server.memory_info().rss
    with connected(service, frames.settings({frames.INITIAL_WINDOW_SIZE: 0})) as sock:
        for n in range(900):
            sock.sendall(opened(2 * n + 1, READ) + frame(frames.DATA, 1, 2 * n + 1, body))
        bystander.gets_answers(20)  # what it may fill is filled meanwhile
        assert server.memory_info().rss - before < 900 * (256 + 64) * 1024


def test_more_streams_than_allowed(service: Service, bystander: Bystander) -> None:
    """Those above the limit are refused, the connection lives on."""
    with connected(service) as sock:
        sock.sendall(b"".join(opened(2 * n + 1, WATCH) for n in range(1100)))
        said, refused = b"", 0
        while refused < 50:
            said += sock.recv(65536)
            refused = said.count(bytes((0, 0, 4, frames.RST_STREAM, 0)))
        assert b"\0\0\0\x07" in said  # REFUSED_STREAM
        sock.sendall(frames.ping(b"are here"))
        while b"are here" not in said:
            data = sock.recv(65536)
            assert data, "the connection was closed"
            said += data


def test_oversized_metadata_and_messages(service: Service, bystander: Bystander) -> None:
    """Each ends its call with RESOURCE_EXHAUSTED; the connection lives on."""
    options = [("grpc.max_metadata_size", 10**7), ("grpc.absolute_max_metadata_size", 10**7)]
    with grpc.insecure_channel(service.reapi, options) as channel:
        check = channel.unary_unary(HEALTH)
        for metadata, body in (([], bytes(8_000_000)), ([("x", "y" * 70_000)], b"")):
            with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
                check(body, timeout=PATIENCE_S, metadata=metadata)
        check(b"", timeout=PATIENCE_S)
