"""What connections cost that do nothing, in a server that has done nothing else.

A fresh process: what an earlier load has left in its heap would hold them all, and they would
seem to cost nothing. Each has made calls before it is counted, so that buffers and tables are what
they are in use.
"""

import time
from contextlib import ExitStack

import psutil

from builder.wire import frames
from tests.bench.wire_api_parts import Figures, cpu
from tests.bench.wire_load_parts import Connection, bodies
from tests.bench.wire_streams_parts import rss_kib

COUNT = 1000
CALLS = 4
WARM = 20
PING_EVERY_S = 10.0


def connected(port: int, count: int, stack: ExitStack) -> list[Connection]:
    """Connections that have made some calls each."""
    requests, made = bodies(), []
    for _ in range(count):
        peer = Connection(port, 1, requests)
        stack.callback(peer.sock.close)
        for number in range(CALLS):
            peer.call(1)
            peer.flush()
            while peer.done == number:
                peer.receive()
        made.append(peer)
    return made


def idle(port: int, process: psutil.Process, seconds: float = 5.0) -> Figures:
    """KiB of each of 1,000 connections, and the share of a core that they take: in silence, and
    with a PING of each every 10 s, of which each wakes a sleeping process."""
    with ExitStack() as stack:
        connected(port, WARM, stack)
        before = rss_kib(process.pid)
        peers = connected(port, COUNT, stack)
        figures = {"idle_connection_kib": round((rss_kib(process.pid) - before) / COUNT, 1)}
        used, started = cpu(process), time.perf_counter()
        time.sleep(seconds)
        share = (cpu(process) - used) / (time.perf_counter() - started)
        figures["silent_1000_connections_core_percent"] = round(100 * share, 2)
        figures["idle_1000_connections_core_percent"] = round(100 * pinged(process, peers, 5.0), 2)
        return figures


def pinged(process: psutil.Process, peers: list[Connection], seconds: float) -> float:
    """The share of a core that so many PINGs take."""
    used, started, sent = cpu(process), time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        if sent < elapsed * len(peers) / PING_EVERY_S:
            peers[sent % len(peers)].sock.sendall(frames.ping(b"12345678"))
            sent += 1
        else:
            time.sleep(0.005)
    return (cpu(process) - used) / elapsed
