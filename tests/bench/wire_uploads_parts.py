"""Two hundred uploads at once that never end, as fast as the server takes them: what it keeps."""

import os
import selectors
import socket
import time
import uuid

from builder.reapi.pb import bytestream_pb2 as bs_pb
from builder.wire import frames
from tests.bench.wire_load_parts import message, unpack
from tests.bench.wire_streams_parts import WRITE, opened, rss_kib

DECLARED = 32 * 1024 * 1024  # bytes of each; there is room for all of them
AHEAD = 256 * 1024  # octets made before the socket takes them


class Flow:
    """One upload: what of it has been made, and how much may be sent."""

    def __init__(self, chunk: bytes) -> None:
        self.name = f"uploads/{uuid.uuid4()}/blobs/{os.urandom(32).hex()}/{DECLARED}"
        self.chunk = chunk
        self.offset = 0
        self.window = 65535
        self.rest = memoryview(b"")

    def more(self, octets: int) -> memoryview:
        """Of its messages."""
        if not self.rest and self.offset < DECLARED:
            request = bs_pb.WriteRequest(
                resource_name="" if self.offset else self.name,
                write_offset=self.offset,
                data=self.chunk[: DECLARED - self.offset],
            )
            self.offset += len(request.data)
            self.rest = memoryview(message(request.SerializeToString()))
        part, self.rest = self.rest[:octets], self.rest[octets:]
        return part


class Client:
    """A connection with uploads that take turns, a frame each."""

    def __init__(self, port: int, uploads: int, chunk: bytes) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        start = frames.PREFACE + frames.settings({frames.ENABLE_PUSH: 0})
        self.out = bytearray(start)
        self.flows = {number: Flow(chunk) for number in range(1, 2 * uploads, 2)}
        for number in self.flows:
            self.out += opened(WRITE, port, number)
        self.window, self.initial, self.frame = 65535, 65535, 16384
        self.tail = b""

    def send(self) -> bool:
        """Whether there may be more to send."""
        self._fill()
        try:
            del self.out[: self.sock.send(self.out)]
        except BlockingIOError:
            return True
        return bool(self.out)

    def _fill(self) -> None:
        going = True
        while going and len(self.out) < AHEAD:
            going = False
            for number, flow in self.flows.items():
                octets = min(self.frame, flow.window, self.window)
                part = flow.more(octets) if octets > 0 else b""
                if part:
                    going = True
                    self.out += frames.pack_header(len(part) << 8, 0, number) + part
                    flow.window -= len(part)
                    self.window -= len(part)

    def hear(self) -> None:
        data, at = self.tail + self.sock.recv(65536), 0
        assert len(data) > len(self.tail), "the server closed the connection"
        while len(data) - at >= 9:
            word, flags, number = unpack(data, at)
            stop = at + 9 + (word >> 8)
            if stop > len(data):
                break
            self._heard(word & 0xFF, flags, number, data[at + 9 : stop])
            at = stop
        self.tail = data[at:]

    def _heard(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        assert kind not in (frames.GOAWAY, frames.RST_STREAM, frames.HEADERS), payload
        if kind == frames.WINDOW_UPDATE and number:
            self.flows[number].window += int.from_bytes(payload, "big")
        elif kind == frames.WINDOW_UPDATE:
            self.window += int.from_bytes(payload, "big")
        elif kind == frames.SETTINGS and not flags:
            values = dict(frames.PACK_SETTING.iter_unpack(payload))
            self.frame = values.get(frames.MAX_FRAME_SIZE, self.frame)
            for flow in self.flows.values():
                flow.window += values.get(frames.INITIAL_WINDOW_SIZE, self.initial) - self.initial
            self.out += frames.SETTINGS_ACK


def uploads_rss_kib(
    port: int,
    pid: int,
    connections: int,
    chunk_bytes: int,
    uploads: int = 200,
    seconds: float = 3.0,
) -> int:
    """How much the server grows at most, while so many uploads come over so many connections in
    messages of that size."""
    before = most = rss_kib(pid)
    chunk = os.urandom(chunk_bytes)
    clients = [Client(port, uploads // connections, chunk) for _ in range(connections)]
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            for key, events in selector.select(0.1):
                client = key.data
                if events & selectors.EVENT_READ:
                    client.hear()
                going = client.send()
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if going else 0)
                if wanted != key.events:
                    selector.modify(client.sock, wanted, client)
            most = max(most, rss_kib(pid))
    for client in clients:
        client.sock.close()
    return most - before
