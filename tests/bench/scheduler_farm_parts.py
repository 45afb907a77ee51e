"""Light fake workers and a client over real connections: pre-encoded frames, one thread.

A worker answers each lease at once with a result, as a no-op action's would be; the client keeps so
many Execute calls open, or starts them at a steady rate. `Farm` runs all of them in this process,
against a coordinator in another one.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable

from hpack import Encoder

from builder.reapi.pb import operations_pb2, workers_pb2
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.messages import bytes_field
from builder.wire import frames

FULL = 2**31 - 1
EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"
CONNECT = "/builder.workers.Workers/Connect"
BEAT_S = 4.0
unpack = frames.FRAME_HEADER.unpack_from


def headers_of(path: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "127.0.0.1"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


def result() -> bytes:
    """The LeaseFinished.response of an action that did nothing, complete with its proof."""
    response = pb.ExecuteResponse(message="fake (hermetic: namespaces+cgroup)")
    metadata = response.result.execution_metadata
    metadata.worker = "fake"
    for stamp in ("queued", "worker_start", "execution_start", "execution_completed"):
        getattr(metadata, f"{stamp}_timestamp").FromNanoseconds(1_700_000_000_000_000_000)
    proof = workers_pb2.ExecutionProof(
        backend="namespaces+cgroup", guarantees=("mount-namespace",), outcome="exited"
    )
    proof.user_cpu.FromMilliseconds(1)
    metadata.auxiliary_metadata.add().Pack(proof)
    body = response.SerializeToString()
    return bytes_field(2, len(body)) + body


class Peer:
    """One connection; messages of its streams go to `took(stream, message)`."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.out: list[bytes] = []
        self.tail = b""
        self.received = 0
        self.partial: dict[int, bytes] = {}
        start = frames.settings({frames.INITIAL_WINDOW_SIZE: FULL, frames.ENABLE_PUSH: 0})
        self.sock.sendall(frames.PREFACE + start + frames.window_update(0, FULL - 65535))

    def took(self, stream: int, data: bytes) -> None:
        raise NotImplementedError

    def ended(self, stream: int) -> None:
        raise NotImplementedError

    def say(self, stream: int, body: bytes, last: bool = False) -> None:
        framed = message(body)
        self.out += (frames.pack_header(len(framed) << 8, last, stream), framed)

    def flush(self) -> None:
        if self.out:
            self.sock.sendall(b"".join(self.out))
            self.out.clear()

    def receive(self) -> None:
        data = self.sock.recv(262144)
        assert data, "the coordinator closed the connection"
        self.received += len(data)
        if self.received > 1 << 28:
            self.out.append(frames.window_update(0, self.received))
            self.received = 0
        data = self.tail + data
        at, end = 0, len(data)
        while end - at >= 9:
            word, flags, stream = unpack(data, at)
            stop = at + 9 + (word >> 8)
            if stop > end:
                break
            self._frame(word & 0xFF, flags, stream, data[at + 9 : stop])
            at = stop
        self.tail = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == frames.DATA:
            whole = self.partial.pop(stream, b"") + payload
            while len(whole) >= 5 and len(whole) >= 5 + int.from_bytes(whole[1:5], "big"):
                size = 5 + int.from_bytes(whole[1:5], "big")
                self.took(stream, whole[5:size])
                whole = whole[size:]
            if whole:
                self.partial[stream] = whole
        elif kind == frames.SETTINGS and not flags:
            self.out.append(frames.SETTINGS_ACK)
        elif kind == frames.PING and not flags:
            self.out.append(frames.ping(payload, 1))
        assert kind not in (frames.RST_STREAM, frames.GOAWAY), (kind, payload)
        if flags & 1 and kind in (frames.DATA, frames.HEADERS):
            self.ended(stream)


class Worker(Peer):
    """`granted(hash)` hears of each lease."""

    def __init__(self, port: int, name: str, farm: "Farm") -> None:
        super().__init__(port)
        self.farm = farm
        hello = workers_pb2.Hello(worker_name=name, slots=1, host="bench", pid=1, backend="fake")
        for key, value in (("ISA", "x86-64"), ("OSFamily", "linux"), ("Pool", "default")):
            hello.platform.properties.add(name=key, value=value)
        block = Encoder().encode(headers_of(CONNECT))
        self.out.append(frames.headers(1, block, False, 16384))
        self.say(1, workers_pb2.FromWorker(hello=hello).SerializeToString())
        self.flush()

    def took(self, stream: int, data: bytes) -> None:
        told = workers_pb2.ToWorker.FromString(data)
        kind = told.WhichOneof("kind")
        if kind == "granted":
            self.farm.granted(told.granted.action_digest.hash)
            lease = told.granted.lease_id.encode()
            body = bytes_field(1, len(lease)) + lease + self.farm.result
            self.say(stream, bytes_field(4, len(body)) + body)
        elif kind == "welcome":
            self.farm.welcome += 1

    def ended(self, stream: int) -> None:
        raise AssertionError("the coordinator ended a worker's stream")

    def beat(self) -> None:
        self.say(1, workers_pb2.FromWorker(heartbeat=workers_pb2.Heartbeat()).SerializeToString())
        self.flush()


class Client(Peer):
    """Execute calls, one stream each."""

    def __init__(self, port: int, farm: "Farm") -> None:
        super().__init__(port)
        self.farm = farm
        encoder = Encoder()
        self.first = encoder.encode(headers_of(EXECUTE))
        self.again = encoder.encode(headers_of(EXECUTE))
        self.next_id = 1
        self.last: dict[int, bytes] = {}

    def call(self, action: tuple[str, bytes], at: float) -> None:
        hash_, request = action
        block = self.first if self.next_id == 1 else self.again
        self.out.append(frames.headers(self.next_id, block, False, 16384))
        self.say(self.next_id, request, last=True)
        self.next_id += 2
        self.farm.asked[hash_] = at

    def took(self, stream: int, data: bytes) -> None:
        self.last[stream] = data

    def ended(self, stream: int) -> None:
        operation = operations_pb2.Operation.FromString(self.last.pop(stream))
        assert operation.done
        assert operation.response.value
        self.farm.done += 1


class Farm:
    """`actions` are pairs of a hash and the serialized ExecuteRequest; each is asked for once."""

    def __init__(self, port: int, workers: int, actions: deque[tuple[str, bytes]]) -> None:
        self.result = result()
        self.actions = actions
        self.asked: dict[str, float] = {}
        self.waits: list[float] = []
        self.late: list[float] = []  # seconds by which we ask after a call is due
        self.done = self.welcome = 0
        self.selector = selectors.DefaultSelector()
        self.workers = deque(Worker(port, f"fake-{number}", self) for number in range(workers))
        self.clients = [Client(port, self) for _ in range(4)]
        self.next_beat = time.perf_counter()
        for peer in (*self.workers, *self.clients):
            self.selector.register(peer.sock, selectors.EVENT_READ, peer)
        while self.welcome < workers:
            self.turn(1.0)

    def granted(self, hash_: str) -> None:
        self.waits.append(time.perf_counter() - self.asked.pop(hash_))

    def turn(self, patience_s: float) -> None:
        """Handle what has come."""
        for key, _ in self.selector.select(patience_s):
            key.data.receive()
            key.data.flush()
        while time.perf_counter() >= self.next_beat:
            self.workers[0].beat()
            self.workers.rotate()
            self.next_beat += BEAT_S / len(self.workers)

    def ask(self, times: Iterable[float]) -> None:
        """One call for each time at which it is, or was, due."""
        now = time.perf_counter()
        for number, at in enumerate(times):
            self.late.append(now - at)
            self.clients[number % len(self.clients)].call(self.actions.popleft(), at)
        for client in self.clients:
            client.flush()

    def closed(self, depth: int, count: int) -> float:
        """Seconds for so many actions, with `depth` of them open."""
        self.waits.clear()
        start, asked, before = time.perf_counter(), 0, self.done
        while self.done - before < count:
            open_ = asked - (self.done - before)
            more = min(depth - open_, count - asked)
            self.ask([time.perf_counter()] * more)
            asked += more
            self.turn(1.0)
        return time.perf_counter() - start

    def steady(self, rate: float, count: int, depth: int) -> list[float]:
        """Seconds to the lease of so many actions, from when they are due at this rate.

        What is due while `depth` are open waits here, and its wait counts.
        """
        self.waits.clear()
        self.late.clear()
        start, asked, before = time.perf_counter(), 0, self.done
        while self.done - before < count:
            due = int((time.perf_counter() - start) * rate) + 1
            upto = min(count, due, self.done - before + depth)
            self.ask(start + number / rate for number in range(asked, upto))
            asked = max(asked, upto)
            self.turn(0.001 if asked < count else 1.0)
        return sorted(self.waits)

    def close(self) -> None:
        for peer in (*self.workers, *self.clients):
            peer.sock.close()
