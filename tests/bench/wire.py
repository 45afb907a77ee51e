"""The wire against its peers: GetActionResult with the same handler on ours, h2, and grpcio.

One run, interleaved rounds; the server is pinned to one core, the load to the other. Each figure
is the best round: what disturbs a round on a shared machine only makes it slower.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.bench import wire_load_parts as generator
from tests.bench import wire_streams_parts as streams

SERVER_CORE, LOAD_CORE = 0, (os.cpu_count() or 2) - 1
ROUNDS = 4
SECONDS = 1.0
KINDS = ("ours", "h2", "grpcio")


@contextmanager
def server(kind: str) -> Iterator[tuple[int, psutil.Process]]:
    command = [sys.executable, "-m", "tests.bench.wire_servers_parts", kind, str(SERVER_CORE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def measured(
    port: int, process: psutil.Process, connections: int, depth: int
) -> tuple[float, float]:
    """Calls per second, and server CPU seconds per call."""
    before = cpu(process)
    done, elapsed = generator.load(port, connections, depth, SECONDS)
    return done / elapsed, (cpu(process) - before) / done


def others(port: int, process: psutil.Process) -> dict[str, float]:
    """Figures of ours alone: varying headers, streams, idle and stalled connections."""
    before = cpu(process)
    count, _ = generator.load_varying(port, 20_000, 64)
    varying = (cpu(process) - before) / count
    before = cpu(process)
    read = max(streams.download(port, 1 << 28) for _ in range(3))
    read_cpu = (cpu(process) - before) / (3 * (1 << 28))
    before = cpu(process)
    write = max(streams.upload(port, 1 << 27) for _ in range(3))
    write_cpu = (cpu(process) - before) / (3 * (1 << 27))
    p50, p99 = streams.small_calls_beside_streams(port)
    return {
        "varying_cpu_us": round(varying * 1e6, 1),
        "stream_read_gb_per_s": round(read / 1e9, 2),
        "stream_read_gb_per_cpu_s": round(1e-9 / read_cpu, 2),
        "stream_write_gb_per_s": round(write / 1e9, 2),
        "stream_write_gb_per_cpu_s": round(1e-9 / write_cpu, 2),
        "small_beside_streams_ms_p50": round(p50 * 1e3, 2),
        "small_beside_streams_ms_p99": round(p99 * 1e3, 2),
        "idle_connection_kib": round(streams.idle_kib(port, process.pid), 1),
        "idle_1000_connections_core_percent": round(100 * streams.idle_cpu_share(port, process), 2),
        "rss_growth_200_streams_mib": round(streams.stalled_rss_kib(port, process.pid) / 1024, 1),
    }


def run() -> tuple[dict[str, float], dict[str, float]]:
    os.sched_setaffinity(0, {LOAD_CORE})
    best = dict.fromkeys(KINDS, 0.0)
    cost = dict.fromkeys(KINDS, 1.0)
    single = dict.fromkeys(KINDS, 1.0)
    with server("ours") as ours, server("h2") as h2, server("grpcio") as grpcio:
        for _ in range(ROUNDS):
            for kind, (port, process) in zip(KINDS, (ours, h2, grpcio), strict=True):
                rate, seconds = measured(port, process, connections=4, depth=64)
                best[kind] = max(best[kind], rate)
                cost[kind] = min(cost[kind], seconds)
                print(f"{kind:7} {rate:10.0f}/s  {seconds * 1e6:7.1f} us of CPU", file=sys.stderr)
        for kind, (port, process) in zip(KINDS, (ours, h2, grpcio), strict=True):
            single[kind] = measured(port, process, connections=1, depth=1)[1]
        figures = others(*ours)
    with server("guarded") as (port, process):
        rate, seconds = max(measured(port, process, connections=4, depth=64) for _ in range(2))
        figures["gar_guarded_per_s"] = round(rate)
        figures["gar_guarded_cpu_us"] = round(seconds * 1e6, 2)
    figures |= {
        "gar_per_s": round(best["ours"]),
        "gar_per_s_h2": round(best["h2"]),
        "gar_per_s_grpcio": round(best["grpcio"]),
        "gar_cpu_us": round(cost["ours"] * 1e6, 2),
        "one_in_flight_cpu_us": round(single["ours"] * 1e6, 1),
        "one_in_flight_cpu_us_h2": round(single["h2"] * 1e6, 1),
        "one_in_flight_cpu_us_grpcio": round(single["grpcio"] * 1e6, 1),
    }
    ratios = {
        "gar_vs_h2": round(best["ours"] / best["h2"], 2),
        "gar_vs_grpcio": round(best["ours"] / best["grpcio"], 2),
        "gar_cpu_vs_h2": round(cost["h2"] / cost["ours"], 2),
        "gar_cpu_vs_grpcio": round(cost["grpcio"] / cost["ours"], 2),
    }
    return figures, ratios
