"""Load of other shapes: big bodies down and up, and connections that do nothing."""

import hashlib
import multiprocessing
import os
import socket
import time
import uuid
from multiprocessing.synchronize import Event
from pathlib import Path

from hpack import Encoder

from builder.base.digest import digest_of
from builder.reapi.pb import bytestream_pb2 as bs_pb
from builder.wire import frames
from tests.bench.wire_load_parts import FULL, Connection, bodies, headers_of, message, unpack

READ = "/google.bytestream.ByteStream/Read"
WRITE = "/google.bytestream.ByteStream/Write"
CHUNK = 256 * 1024  # bytes of a message that goes up
FRAME = 65536  # the server offers it, and grpcio's client takes the offer
SMALL_FRAME = 16384  # that every server has to take: Go's client sends no more
SMALL_CHUNK = 16384  # bytes of a message of Bazel's


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start = frames.settings({frames.INITIAL_WINDOW_SIZE: FULL, frames.ENABLE_PUSH: 0})
    sock.sendall(frames.PREFACE + start + frames.window_update(0, FULL - 65535))
    return sock


def opened(path: str, port: int, stream_id: int) -> bytes:
    return frames.headers(stream_id, Encoder().encode(headers_of(path, port)), False, 16384)


def reading(port: int, stream_id: int, name: str) -> bytes:
    """The frames of a ByteStream.Read."""
    body = message(bs_pb.ReadRequest(resource_name=name).SerializeToString())
    head = frames.pack_header(len(body) << 8, 1, stream_id)
    return opened(READ, port, stream_id) + head + body


def download_all(port: int, name: str) -> int:
    """Read a blob whose answer may be of any length; the octets of its DATA."""
    tail, octets = b"", 0
    with connect(port) as sock:
        sock.sendall(reading(port, 1, name))
        while True:
            data = tail + sock.recv(1 << 20)
            assert len(data) > len(tail), "the server closed the connection"
            at = 0
            while len(data) - at >= 9:
                word, flags, _ = unpack(data, at)
                stop = at + 9 + (word >> 8)
                if stop > len(data):
                    break
                if word & 0xFF == frames.DATA:
                    octets += word >> 8
                if word & 0xFF == frames.HEADERS and flags & 1:
                    return octets
                at = stop
            tail = data[at:]


def download(port: int, name: str, octets: int) -> None:
    """Read a blob; frames are counted, not looked at."""
    view = memoryview(bytearray(1 << 20))
    total, owed = 0, 0
    with connect(port) as sock:
        sock.sendall(reading(port, 1, name))
        while total < octets:
            size = sock.recv_into(view)
            assert size, "the server closed the connection"
            total += size
            owed += size
            if owed > 1 << 24:
                sock.sendall(frames.window_update(0, owed * 99 // 100))  # frame headers not
                owed = 0


def sha256_gb_per_cpu_s() -> float:
    """What a verified write cannot be faster than on one core."""
    data, best = bytes(1 << 20), 1.0
    for _ in range(200):
        before = time.thread_time()
        hashlib.sha256(data).digest()
        best = min(best, time.thread_time() - before)
    return round(len(data) / 1e9 / best, 2)


class Upload:
    """A ByteStream.Write of new bytes, encoded beforehand; of their frames, where it has some."""

    def __init__(
        self,
        data: bytes,
        function: str,
        frame: int = FRAME,
        zstd: bytes | None = None,
        chunk: int = CHUNK,
    ) -> None:
        found = digest_of(data, function)
        prefix = "" if function == "sha256" else f"{function}/"
        kind = "blobs" if zstd is None else "compressed-blobs/zstd"
        name = f"uploads/{uuid.uuid4()}/{kind}/{prefix}{found.hash}/{len(data)}"
        self.digest = found
        self.frame = frame
        data = data if zstd is None else zstd
        self.messages = []
        for at in range(0, len(data), chunk):
            request = bs_pb.WriteRequest(
                resource_name="" if at else name,
                write_offset=at,
                finish_write=at + chunk >= len(data),
                data=data[at : at + chunk],
            )
            body = message(request.SerializeToString())
            framed = []
            for start in range(0, len(body), frame):
                part = body[start : start + frame]
                framed.append(frames.pack_header(len(part) << 8, 0, 1) + part)
            self.messages.append((len(body), memoryview(b"".join(framed))))

    def run(self, port: int) -> None:
        """Send it within the windows; returns when the server has said that it is stored."""
        with connect(port) as sock:
            sock.sendall(opened(WRITE, port, 1))
            windows = [65535, 65535]
            tail, done = b"", False
            waiting = iter([*self.messages, (0, frames.pack_header(0, 1, 1))])
            size, framed = next(waiting)
            while not done:
                while framed and (part := self._fitting(size, framed, min(windows))):
                    sock.sendall(framed[:part])
                    octets = part - -(-part // (self.frame + 9)) * 9
                    windows = [window - octets for window in windows]
                    size, framed = size - octets, framed[part:]
                    if not framed:
                        size, framed = next(waiting, (0, b""))
                data = sock.recv(65536)
                assert data, "the server closed the connection"
                tail, done = _windows(tail + data, windows)

    def _fitting(self, size: int, framed: memoryview | bytes, window: int) -> int:
        """How much of a message's frames, of which `size` octets are left, may be sent."""
        return len(framed) if size <= window else window // self.frame * (self.frame + 9)


def _windows(data: bytes, windows: list[int]) -> tuple[bytes, bool]:
    at, done = 0, False
    while len(data) - at >= 9:
        word, flags, stream_id = unpack(data, at)
        stop = at + 9 + (word >> 8)
        if stop > len(data):
            break
        kind = word & 0xFF
        if kind == frames.WINDOW_UPDATE:
            windows[stream_id] += int.from_bytes(data[at + 9 : stop], "big")
        elif kind == frames.SETTINGS and not flags:
            values = dict(frames.PACK_SETTING.iter_unpack(data[at + 9 : stop]))
            windows[1] += values.get(frames.INITIAL_WINDOW_SIZE, 65535) - 65535
        elif kind == frames.HEADERS and flags & 1:
            done = True
        assert kind != frames.GOAWAY
        assert done or kind != frames.RST_STREAM  # after the answer it says that all is read
        at = stop
    return data[at:], done


def rss_kib(pid: int) -> int:
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE") // 1024


def stalled_rss_kib(port: int, pid: int, name: str, streams: int = 200) -> int:
    """How much the server grows by reads of a blob whose client takes nothing."""
    before = rss_kib(pid)
    with connect(port) as sock:
        for stream_id in range(1, 2 * streams, 2):
            sock.sendall(reading(port, stream_id, name))
        time.sleep(1.0)  # it fills what it may fill
        return rss_kib(pid) - before


def read_all(port: int, name: str, big: int, flowing: Event) -> None:
    """Read a blob so many times at once, as fast as it goes; `flowing` is set when it does."""
    sock = connect(port)
    for stream_id in range(1, 2 * big, 2):
        sock.sendall(reading(port, stream_id, name))
    view = memoryview(bytearray(1 << 20))
    owed = 0
    while size := sock.recv_into(view):
        owed += size
        if owed > 1 << 24:
            flowing.set()
            sock.sendall(frames.window_update(0, owed * 99 // 100))
            owed = 0


def small_calls(port: int, calls: int = 1000, seconds: float = 1.0) -> tuple[float, float]:
    """Median and 99th percentile of a small call, in seconds: so many one after the other, and for
    so long, because what disturbs them has to get its turn, too."""
    peer = Connection(port, 1, bodies())
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < calls or time.perf_counter() < until:
        started = time.perf_counter()
        before = peer.done
        peer.call(1)
        peer.flush()
        while peer.done == before:
            peer.receive()
        times.append(time.perf_counter() - started)
    peer.sock.close()
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def small_calls_beside_streams(port: int, name: str, big: int = 8) -> tuple[float, float]:
    """As `small_calls`, while big streams run on another connection that reads as fast as it can,
    in another process: it shares the core of the load, so that is in the times, too."""
    context = multiprocessing.get_context("fork")
    flowing = context.Event()
    reader = context.Process(target=read_all, args=(port, name, big, flowing))
    reader.start()
    assert flowing.wait(60)
    found = small_calls(port)
    assert reader.is_alive(), "the streams ended before the small calls"
    reader.kill()
    reader.join()
    return found
