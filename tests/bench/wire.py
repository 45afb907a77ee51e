"""The product's server under load, beside its peers: `h2` with trio, and grpcio's asyncio server.

Ours asks for a token, counts every call, and gives complete results from a disk store; the peers
answer the same GetActionResult from a dictionary and do none of that; `casd` is buildbox-casd, if
it is installed (figures.casd_installed). `bare` is the peers' handler on our wire. One run,
interleaved rounds; each server is pinned to one core, the load to the other.
A figure is its best round: what disturbs a round on a shared machine only makes it slower.
`_per_cpu_s` and `_cpu_us` count CPU seconds of the server alone, which others hardly disturb;
`_client_limited` marks what the client or the machine held up. `gar_hooks_overhead` is the CPU of a
call with all that watches it (metrics, times, who found what) as a multiple of that without:
another port of the same process has nothing of it, and both are asked in turns. In
`gar_hooks_overhead_metadata` each call says who asks, and for what, as Bazel's do, and becomes a
row of its invocation. `write_floor` is a bare loop of recv, hash and write, in turns with ours:
`write_vs_floor` compares their CPU. Writes come in frames of 64 KiB, which the server offers and
grpcio's client takes; in `write_small_frames` of 16 KiB, as Go's client sends them. Their messages
are of 256 KiB; in `write_small_messages` of 16 KiB, as Bazel's are. `rss_growth_200_streams` is
what reads take whose client takes nothing, `rss_growth_200_uploads` what uploads take that go on.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import zstandard

from tests.bench import wire_api_parts as api
from tests.bench import wire_casd_parts as casd
from tests.bench import wire_load_parts as generator
from tests.bench import wire_streams_parts as streams
from tests.bench.wire_api_parts import Figures, Rates, cpu
from tests.bench.wire_floor_parts import PlainUpload
from tests.bench.wire_idle_parts import idle
from tests.bench.wire_overhead_parts import overhead
from tests.bench.wire_product_parts import (
    HUGE,
    LARGE,
    huge_digest,
    large_blob,
    packable_blob,
)
from tests.bench.wire_uploads_parts import uploads_rss_kib

SERVER_CORE, LOAD_CORE = 0, (os.cpu_count() or 2) - 1
ROUNDS = 3
SECONDS = 1.0
OURS, CASD, PEERS = "ours", "casd", ("bare", "h2", "grpcio")

PRODUCT = "tests.bench.wire_product_parts"
COMPOSED = "tests.bench.wire_composed_parts"
FLOOR = "tests.bench.wire_floor_parts"

Running = tuple[int, psutil.Process]


@contextmanager
def started(*command: str) -> Iterator[list[Running]]:
    """A server of ours; one for each port that it has."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command, str(SERVER_CORE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        server = psutil.Process(process.pid)
        yield [(int(port), server) for port in process.stdout.readline().split()]
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(30)


def measured(
    running: Running, connections: int, depth: int, seconds: float = SECONDS
) -> tuple[float, float]:
    """Calls per second, and server CPU seconds per call."""
    port, process = running
    before = cpu(process)
    done, elapsed = generator.load(port, connections, depth, seconds)
    return done / elapsed, (cpu(process) - before) / done


def get_action_result(servers: dict[str, Running]) -> tuple[Figures, Figures]:
    """64 in flight on each of four connections, then one call at a time."""
    best = dict.fromkeys(servers, 0.0)
    cost = dict.fromkeys(servers, 1.0)
    single = dict.fromkeys(servers, 1.0)
    for _ in range(ROUNDS):
        for kind, running in servers.items():
            rate, seconds = measured(running, 4, 64)
            best[kind], cost[kind] = max(best[kind], rate), min(cost[kind], seconds)
            print(f"{kind:7} {rate:10.0f}/s  {seconds * 1e6:7.1f} us of CPU", file=sys.stderr)
    for _ in range(2):
        for kind, running in servers.items():
            single[kind] = min(single[kind], measured(running, 1, 1)[1])
    figures: Figures = {}
    for kind in servers:
        mark = "" if kind == OURS else f"_{kind}"
        figures[f"gar_per_s{mark}"] = round(best[kind])
        figures[f"gar_per_cpu_s{mark}"] = round(1 / cost[kind])
        figures[f"one_in_flight_cpu_us{mark}"] = round(single[kind] * 1e6, 1)
    peers = [kind for kind in servers if kind != OURS]
    ratios = {f"gar_vs_{kind}": round(best[OURS] / best[kind], 2) for kind in peers}
    ratios |= {f"gar_cpu_vs_{kind}": round(cost[kind] / cost[OURS], 2) for kind in peers}
    return figures, ratios


def bytes_of(running: Running, rates: Rates) -> None:
    """Reads of 64 MiB."""
    port, _ = running
    whole = large_blob()
    name = f"blobs/{api.digest_of(whole).hash}/{LARGE}"
    rates.measure("read_gb", LARGE / 1e9, lambda: streams.download(port, name, LARGE), 2)


def writes(running: Running, bare: Running, rates: Rates) -> Figures:
    """Verified writes of 64 MiB, and the least that they can cost, in turns."""
    least = Rates(bare[1])
    for function, key in (("sha256", "write"), ("blake3", "write_blake3")):
        for _ in range(api.ROUNDS):
            fresh = os.urandom(16) + large_blob()[16:]
            upload, plain = streams.Upload(fresh, function), PlainUpload(fresh, function)
            least.once(f"{key}_floor_gb", LARGE / 1e9, lambda plain=plain: plain.run(bare[0]), 2)
            rates.once(f"{key}_gb", LARGE / 1e9, lambda upload=upload: upload.run(running[0]), 2)
    for _ in range(api.ROUNDS):
        fresh = os.urandom(16) + large_blob()[16:]
        upload = streams.Upload(fresh, "sha256", streams.SMALL_FRAME)
        rates.once("write_small_frames_gb", LARGE / 1e9, lambda: upload.run(running[0]), 2)  # noqa: B023 - called at once
        fresh = os.urandom(16) + large_blob()[16:]
        upload = streams.Upload(fresh, "sha256", chunk=streams.SMALL_CHUNK)
        rates.once("write_small_messages_gb", LARGE / 1e9, lambda: upload.run(running[0]), 2)  # noqa: B023 - called at once
    rates.figures |= least.figures
    cost, floor = rates.figures, least.figures
    return {
        f"{key}_vs_floor": round(
            cost[f"{key}_gb_per_cpu_s"] / floor[f"{key}_floor_gb_per_cpu_s"], 2
        )
        for key in ("write", "write_blake3")
    }


def packed(running: Running, rates: Rates) -> Figures:
    """Zstandard, of 64 MiB that get half as large: GB of content. Written as frames and read as
    these; read plain; and read compressed for the first time, when it came plain."""
    port, _ = running
    ratio = 0.0
    for number in range(api.ROUNDS):
        data = packable_blob(number)
        zstd = zstandard.ZstdCompressor(level=1).compress(data)
        ratio = round(len(data) / len(zstd), 2)
        upload = streams.Upload(data, "sha256", zstd=zstd)
        name = f"{upload.digest.hash}/{len(data)}"
        rates.once("write_zstd_gb", LARGE / 1e9, lambda: upload.run(port), 2)  # noqa: B023 - called at once
        for _ in range(2):
            rates.once("read_zstd_gb", LARGE / 1e9, lambda: _frames(port, name), 2)  # noqa: B023
        rates.once("read_zstd_as_plain_gb", LARGE / 1e9, lambda: _plain(port, name), 2)  # noqa: B023
        other = packable_blob(number + api.ROUNDS)
        upload = streams.Upload(other, "sha256")
        upload.run(port)
        name = f"{upload.digest.hash}/{len(other)}"
        rates.once("read_zstd_first_gb", LARGE / 1e9, lambda: _frames(port, name), 2)  # noqa: B023
    return {"zstd_ratio": ratio}


def packed_composed(kind: str) -> Figures:
    """The same reads and writes of frames, of storage that is composed."""
    with tempfile.TemporaryDirectory() as folder, started(COMPOSED, kind, folder) as (running,):
        port, process = running
        rates = Rates(process)
        for number in range(api.ROUNDS):
            data = packable_blob(number)
            upload = streams.Upload(data, "sha256", zstd=zstandard.ZstdCompressor(1).compress(data))
            name = f"{upload.digest.hash}/{len(data)}"
            rates.once(f"write_zstd_{kind}_gb", LARGE / 1e9, lambda: upload.run(port), 2)  # noqa: B023 - called at once
            for _ in range(2):
                rates.once(f"read_zstd_{kind}_gb", LARGE / 1e9, lambda: _frames(port, name), 2)  # noqa: B023
    return rates.figures


def _frames(port: int, name: str) -> None:
    assert 0 < streams.download_all(port, f"compressed-blobs/zstd/{name}") < LARGE * 3 // 4


def _plain(port: int, name: str) -> None:
    streams.download(port, f"blobs/{name}", LARGE)


def beside_streams(servers: dict[str, Running], figures: Figures) -> Figures:
    """Small calls alone, and while eight reads of a gigabyte run; the best of some rounds."""
    best: dict[str, float] = {}
    name = f"blobs/{huge_digest().hash}/{HUGE}"
    for _ in range(ROUNDS):
        for kind in (OURS, "grpcio"):
            port, _ = servers[kind]
            mark = "" if kind == OURS else f"_{kind}"
            _, alone = streams.small_calls(port)
            p50, p99 = streams.small_calls_beside_streams(port, name)
            for key, seconds in (
                ("small_alone_ms_p99", alone),
                ("small_beside_streams_ms_p50", p50),
                ("small_beside_streams_ms_p99", p99),
            ):
                best[key + mark] = min(best.get(key + mark, seconds), seconds)
    figures |= {key: round(seconds * 1e3, 2) for key, seconds in best.items()}
    p99 = best["small_beside_streams_ms_p99"]
    return {
        "small_p99_vs_alone": round(p99 / best["small_alone_ms_p99"], 1),
        "small_p99_vs_grpcio": round(p99 / best["small_beside_streams_ms_p99_grpcio"], 2),
    }


def connections(running: Running) -> Figures:
    """Streams that nobody reads."""
    port, process = running
    name = f"blobs/{huge_digest().hash}/{HUGE}"
    return {
        "rss_growth_200_streams_mib": round(
            streams.stalled_rss_kib(port, process.pid, name) / 1024, 1
        ),
    }


def uploads() -> Figures:
    """Many that go on at the same time, on few and on many connections, each on a new server."""
    most = 0
    for count, chunk_bytes in ((1, 256 << 10), (200, 256 << 10), (200, 4 << 20)):
        with tempfile.TemporaryDirectory() as fresh, started(PRODUCT, fresh, "few") as ports:
            port, process = ports[0]
            most = max(most, uploads_rss_kib(port, process.pid, count, chunk_bytes))
    return {"rss_growth_200_uploads_mib": round(most / 1024, 1)}


def ours(running: Running, bare: Running) -> tuple[Figures, Figures]:
    """What only the product's server does; `bare` is the loop of `wire_floor_parts`."""
    port, process = running
    rates = Rates(process)
    before = cpu(process)
    count, _ = generator.load_varying(port, 20_000, 64)
    rates.figures["varying_cpu_us"] = round((cpu(process) - before) / count * 1e6, 1)
    api.execute_cached(port, rates)
    api.small_reads(port, rates)
    api.small_writes(port, rates)
    api.find_missing(port, rates)
    api.batches(port, rates)
    bytes_of(running, rates)
    rates.figures |= packed(running, rates)
    ratios = writes(running, bare, rates)
    return rates.figures | connections(running), ratios


def run() -> tuple[Figures, Figures]:
    os.sched_setaffinity(0, {LOAD_CORE})
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        product = started(PRODUCT, folder, "all")
        hooked, unhooked = stack.enter_context(product)
        servers = {OURS: hooked}
        for kind in PEERS:
            (servers[kind],) = stack.enter_context(started("tests.bench.wire_servers_parts", kind))
        program = casd.find()
        if program is not None:
            store = stack.enter_context(tempfile.TemporaryDirectory())
            servers[CASD] = stack.enter_context(casd.started(program, store, SERVER_CORE))
        with tempfile.TemporaryDirectory() as fresh, started(PRODUCT, fresh, "few") as ports:
            idling = idle(*ports[0])
        figures, ratios = get_action_result(servers)
        figures["casd_installed"] = int(program is not None)
        ports = (hooked[1].pid, hooked[0], unhooked[0])
        ratios["gar_hooks_overhead"] = overhead(*ports)
        ratios["gar_hooks_overhead_metadata"] = overhead(*ports, metadata=True)
        with tempfile.TemporaryDirectory() as folder, started(FLOOR, folder) as (bare,):
            own, against = ours(hooked, bare)
        figures |= (
            own | idling | uploads() | packed_composed("tiered") | packed_composed("mirrored")
        )
        ratios |= against
        figures["sha256_gb_per_cpu_s"] = floor = streams.sha256_gb_per_cpu_s()
        ratios["write_vs_sha256"] = round(figures["write_gb_per_cpu_s"] / floor, 2)
        ratios |= beside_streams(servers, figures)
        return figures, ratios
