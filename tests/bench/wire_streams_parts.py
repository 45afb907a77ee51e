"""Load of other shapes: big bodies down and up, and connections that do nothing."""

import contextlib
import multiprocessing
import os
import socket
import time
from pathlib import Path

import psutil
from hpack import Encoder

from builder.wire import frames
from tests.bench.wire_load_parts import FULL, Connection, bodies, headers_of, unpack
from tests.bench.wire_servers_parts import CHUNK, DOWN, UP


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    start = frames.settings({frames.INITIAL_WINDOW_SIZE: FULL, frames.ENABLE_PUSH: 0})
    sock.sendall(frames.PREFACE + start + frames.window_update(0, FULL - 65535))
    return sock


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


def opened(path: str, port: int, stream_id: int) -> bytes:
    return frames.headers(stream_id, Encoder().encode(headers_of(path, port)), False, 16384)


def download(port: int, octets: int, streams: int = 1) -> float:
    """Octets per second of bodies that come down; frames are counted, not read."""
    sock = connect(port)
    request = b"".join(
        opened(DOWN, port, stream_id)
        + frames.pack_header((5 + len(b"%d" % octets)) << 8, 1, stream_id)
        + message(b"%d" % octets)
        for stream_id in range(1, 2 * streams, 2)
    )
    sock.sendall(request)
    view = memoryview(bytearray(1 << 20))
    total, owed, wanted = 0, 0, octets * streams
    started = time.perf_counter()
    while total < wanted:
        size = sock.recv_into(view)
        assert size, "the server closed the connection"
        total += size
        owed += size
        if owed > 1 << 24:
            sock.sendall(frames.window_update(0, owed * 99 // 100))  # frame headers do not count
            owed = 0
    elapsed = time.perf_counter() - started
    sock.close()
    return wanted / elapsed


def upload(port: int, octets: int, frame_size: int = 16384) -> float:
    """Octets per second of a body that goes up, in messages of 256 KiB, within the windows."""
    sock = connect(port)
    body = message(CHUNK)
    pieces = []
    for at in range(0, len(body), frame_size):
        part = body[at : at + frame_size]
        pieces.append(frames.pack_header(len(part) << 8, 0, 1) + part)
    framed = b"".join(pieces)
    sock.sendall(opened(UP, port, 1))
    windows = [65535, 65535]
    sent = 0
    started = time.perf_counter()
    tail = b""
    ended = False
    while True:
        while sent < octets and min(windows) >= len(body):
            sock.sendall(framed)
            sent += len(CHUNK)
            windows = [w - len(body) for w in windows]
        if sent >= octets and not ended:
            sock.sendall(frames.pack_header(0, 1, 1))
            ended = True
        tail, done = _windows(tail + sock.recv(65536), windows)
        if done:
            break
    elapsed = time.perf_counter() - started
    sock.close()
    return sent / elapsed


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
        assert kind not in (frames.GOAWAY, frames.RST_STREAM)
        at = stop
    return data[at:], done


def rss_kib(pid: int) -> int:
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE") // 1024


def idle_kib(port: int, pid: int, count: int = 500) -> float:
    """Resident KiB of the server per connection that has said its SETTINGS and waits."""
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(port)).recv(100)
        before = rss_kib(pid)
        for _ in range(count):
            stack.enter_context(connect(port)).recv(100)
        time.sleep(0.3)  # the server handles the last SETTINGS
        return (rss_kib(pid) - before) / count


def stalled_rss_kib(port: int, pid: int, streams: int = 200) -> int:
    """How much the server grows by streams of 1 GiB whose client reads nothing."""
    before = rss_kib(pid)
    octets = b"%d" % (1 << 30)
    with connect(port) as sock:
        for stream_id in range(1, 2 * streams, 2):
            head = frames.pack_header((5 + len(octets)) << 8, 1, stream_id)
            sock.sendall(opened(DOWN, port, stream_id) + head + message(octets))
        time.sleep(1.0)  # it fills what it may fill
        return rss_kib(pid) - before


def read_all(port: int, big: int) -> None:
    """Read streams without end, as fast as it goes."""
    sock = connect(port)
    octets = b"%d" % (1 << 36)
    for stream_id in range(1, 2 * big, 2):
        head = frames.pack_header((5 + len(octets)) << 8, 1, stream_id)
        sock.sendall(opened(DOWN, port, stream_id) + head + message(octets))
    view = memoryview(bytearray(1 << 20))
    owed = 0
    while size := sock.recv_into(view):
        owed += size
        if owed > 1 << 24:
            sock.sendall(frames.window_update(0, owed * 99 // 100))
            owed = 0


def small_calls_beside_streams(port: int, big: int = 8, calls: int = 1000) -> tuple[float, float]:
    """Median and 99th percentile, in seconds, of a small call while big streams run on another
    connection that reads as fast as it can, in another process."""
    reader = multiprocessing.get_context("fork").Process(target=read_all, args=(port, big))
    reader.start()
    peer = Connection(port, 1, bodies())
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        before = peer.done
        peer.call(1)
        peer.flush()
        while peer.done == before:
            peer.receive()
        times.append(time.perf_counter() - started)
    reader.kill()
    reader.join()
    peer.sock.close()
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def idle_cpu_share(
    port: int, process: psutil.Process, count: int = 1000, seconds: float = 5.0
) -> float:
    """The share of a core that connections take which do nothing but a PING every 10 s each."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(port)) for _ in range(count)]
        for sock in socks:
            sock.recv(100)
        time.sleep(0.5)  # the last SETTINGS are handled
        before = sum(process.cpu_times()[:2])
        started = time.perf_counter()
        sent = 0
        while (elapsed := time.perf_counter() - started) < seconds:
            if sent < elapsed * count / 10:
                socks[sent % count].sendall(frames.ping(b"12345678"))
                sent += 1
            else:
                time.sleep(0.005)
        return (sum(process.cpu_times()[:2]) - before) / elapsed
