"""A lean load generator: pre-encoded frames, one thread, no client library.

It keeps a fixed number of calls in flight on each connection. Blocks are those of a client with
a dynamic table: the second and all later calls are a dozen indexed octets.
"""

import base64
import itertools
import selectors
import socket
import time
from collections.abc import Iterator
from itertools import islice
from struct import Struct

from hpack import Encoder

from builder.reapi.pb import remote_execution_pb2 as re_pb
from builder.server.admission import METADATA_HEADER
from builder.wire import frames
from tests.bench.wire_servers_parts import ENTRIES, PATH, TOKEN, digest

FULL = 2**31 - 1
unpack = frames.FRAME_HEADER.unpack_from


def headers_of(path: str, port: int) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", f"127.0.0.1:{port}"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-java-netty/1.66.0"),
        ("grpc-accept-encoding", "gzip"),
        ("authorization", f"Bearer {TOKEN}"),
    ]


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


def bodies() -> list[bytes]:
    found = []
    for number in range(ENTRIES):
        request = re_pb.GetActionResultRequest()
        request.action_digest.hash = digest(number)
        request.action_digest.size_bytes = 140 + number % 60
        found.append(message(request.SerializeToString()))
    return found


class Connection:
    """One connection with `depth` calls in flight."""

    def __init__(
        self, port: int, depth: int, requests: list[bytes], varying: int = 0, path: str = PATH
    ) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        encoder = Encoder()
        first = encoder.encode(headers_of(path, port))
        again = encoder.encode(headers_of(path, port))
        self.encoder, self.port = encoder, port
        self.varying: list[bytes] = []
        self.vary(varying, itertools.count())
        self.first = frames.headers(1, first, False, 16384)
        self.pack = Struct(f">IBI{len(again)}sIBI").pack
        self.again = again
        self.requests = requests
        self.depth = depth
        self.next_id = 1
        self.done = 0
        self.received = 0
        self.tail = b""
        self.answer: list[bytes] = []  # bodies of DATA frames until a call has ended
        self.keep = True
        self.windows = [65535, 65535, 0]  # of the connection, of a new stream, of the open one
        self.max_frame = 16384
        self.out: list[bytes] = []
        start = frames.settings({frames.INITIAL_WINDOW_SIZE: FULL, frames.ENABLE_PUSH: 0})
        self.sock.sendall(frames.PREFACE + start + frames.window_update(0, FULL - 65535))

    def vary(self, count: int, numbers: Iterator[int]) -> None:
        """The next `count` calls have metadata of their own, which these numbers make."""
        self.varying = varying_blocks(self.encoder, self.port, list(islice(numbers, count)))

    def call(self, count: int) -> None:
        out, requests, pack, again = self.out, self.requests, self.pack, self.again
        stream_id = self.next_id
        word = len(again) << 8 | 1
        for _ in range(count):
            if self.varying:
                again = self.varying.pop()
                head = frames.headers(stream_id, again, False, 16384)
                body = requests[(stream_id >> 1) % ENTRIES]
                out += (head, frames.pack_header(len(body) << 8, 1, stream_id), body)
                stream_id += 2
                continue
            body = requests[(stream_id >> 1) % ENTRIES]
            if stream_id == 1:
                out += (self.first, frames.pack_header(len(body) << 8, 1, 1), body)
            else:
                out += (pack(word, 4, stream_id, again, len(body) << 8, 1, stream_id), body)
            stream_id += 2
        self.next_id = stream_id

    def send(self, body: bytes) -> None:
        """One call of any size, within the windows, which small calls never meet."""
        block = self.first[9:] if self.next_id == 1 else self.again
        self.out.append(frames.headers(self.next_id, block, False, 16384))
        self.windows[2] = self.windows[1]
        view, at = memoryview(body), 0
        while at < len(body):
            size = min(self.max_frame, len(body) - at, self.windows[0], self.windows[2])
            if size <= 0:
                self.flush()
                self.receive()
                continue
            last = at + size == len(body)
            self.out += (frames.pack_header(size << 8, last, self.next_id), view[at : at + size])
            self.windows[0] -= size
            self.windows[2] -= size
            at += size
        self.next_id += 2

    def flush(self) -> None:
        if self.out:
            self.sock.sendall(b"".join(self.out))
            self.out.clear()

    def receive(self) -> int:
        """Handle what came; returns how many calls ended."""
        data = self.sock.recv(262144)
        assert data, "the server closed the connection"
        self.received += len(data)
        if self.received > 1 << 28:
            self.out.append(frames.window_update(0, self.received))
            self.received = 0
        if self.tail:
            data = self.tail + data
        at, end, ended = 0, len(data), 0
        while end - at >= 9:
            word, flags, stream_id = unpack(data, at)
            stop = at + 9 + (word >> 8)
            if stop > end:
                break
            kind = word & 0xFF
            if kind == 1:
                ended += flags & 1
                self.keep = self.keep and not flags & 1
            elif kind == 0:
                if self.keep:
                    self.answer.append(data[at + 9 : stop])
            else:
                self.control(kind, flags, data[at + 9 : stop], stream_id)
            at = stop
        self.tail = data[at:]
        self.done += ended
        return ended

    def control(self, kind: int, flags: int, payload: bytes, stream_id: int) -> None:
        if kind == frames.SETTINGS and not flags:
            self.out.append(frames.SETTINGS_ACK)
            values = dict(frames.PACK_SETTING.iter_unpack(payload))
            initial = values.get(frames.INITIAL_WINDOW_SIZE, 65535)
            self.windows[2] += initial - self.windows[1]
            self.windows[1] = initial
            self.max_frame = values.get(frames.MAX_FRAME_SIZE, 16384)
        elif kind == frames.WINDOW_UPDATE:
            if stream_id == 0 or stream_id == self.next_id:
                self.windows[2 if stream_id else 0] += int.from_bytes(payload, "big")
        elif kind == frames.PING and not flags:
            self.out.append(frames.ping(payload, 1))
        assert kind not in (frames.RST_STREAM, frames.GOAWAY), (kind, payload)


def check(peer: Connection) -> None:
    """The first answer is the right one: what is counted is real."""
    result = re_pb.ActionResult.FromString(b"".join(peer.answer)[5:])
    assert result.output_files[0].digest.hash == digest(0), peer.answer


def varying_blocks(encoder: Encoder, port: int, numbers: list[int]) -> list[bytes]:
    """Blocks of calls with metadata of their own, as Bazel sends it; the first is the last."""
    blocks = []
    for number in numbers:
        metadata = re_pb.RequestMetadata(
            action_id=digest(number % ENTRIES),
            tool_invocation_id="6facd249-0558-4391-8824-00afde6c2057",
            correlated_invocations_id="11b52a9b-8d5c-4c8e-9d5e-1d3a6d0c7f55",
            action_mnemonic="CppCompile",
            target_id=f"//some/package:target_{number}",
        )
        metadata.tool_details.tool_name, metadata.tool_details.tool_version = "bazel", "7.1.0"
        value = base64.b64encode(metadata.SerializeToString()).decode().rstrip("=")
        blocks.append(encoder.encode([*headers_of(PATH, port), (METADATA_HEADER, value)]))
    return blocks[::-1]


def load_varying(port: int, count: int, depth: int) -> tuple[int, float]:
    """`count` calls on one connection, each with other metadata."""
    peer = Connection(port, depth, bodies(), varying=count)
    varying, peer.varying = peer.varying, []
    peer.call(1)
    peer.flush()
    while peer.done == 0:
        peer.receive()
    peer.varying = varying
    started = time.perf_counter()
    peer.call(depth)
    peer.flush()
    while peer.done <= count:
        peer.call(min(peer.receive(), len(varying)))
        peer.flush()
    elapsed = time.perf_counter() - started
    peer.sock.close()
    return count, elapsed


def load(
    port: int,
    connections: int,
    depth: int,
    seconds: float,
    path: str = PATH,
    requests: list[bytes] | None = None,
) -> tuple[int, float]:
    """Calls that ended and the seconds that they took. `requests` are ENTRIES messages."""
    requests = requests or bodies()
    selector = selectors.DefaultSelector()
    peers = [Connection(port, depth, requests, path=path) for _ in range(connections)]
    for peer in peers:
        selector.register(peer.sock, selectors.EVENT_READ, peer)
        peer.call(1)
        peer.flush()
        while peer.done == 0:  # the dynamic table is filled before others use it
            peer.receive()
        if path == PATH:
            check(peer)
        peer.call(depth)
        peer.flush()
    started = time.perf_counter()
    until = started + seconds
    before = sum(peer.done for peer in peers)
    while time.perf_counter() < until:
        for key, _ in selector.select(1):
            peer = key.data
            peer.call(peer.receive())
            peer.flush()
    elapsed = time.perf_counter() - started
    done = sum(peer.done for peer in peers) - before
    for peer in peers:
        peer.sock.close()
    return done, elapsed
