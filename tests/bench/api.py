"""The API on real stores, one server core: results, missing blobs, batches, streams.

Auth check, metrics and completeness check are on. `_per_s` is what came through in a second of
wall time, limited by the client where that is slower; `_per_cpu_s` counts CPU seconds of the
server only.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import psutil
import trio

from builder.base.digest import digest_of
from builder.net.channel import Channel
from builder.reapi.pb import bytestream_pb2 as bs_pb
from builder.reapi.pb import remote_execution_pb2 as re_pb
from tests.bench import wire_load_parts as generator
from tests.bench.api_server_parts import LARGE, SMALL_BLOBS, large_blob, small_blob
from tests.bench.wire import LOAD_CORE, SERVER_CORE, cpu

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage"
BYTES = "/google.bytestream.ByteStream"
PIECE = 1 << 20
ROUNDS = 3
DIGESTS = 10_000


@contextmanager
def service() -> Iterator[tuple[int, psutil.Process]]:
    with tempfile.TemporaryDirectory() as folder:
        module = "tests.bench.api_server_parts"
        process = subprocess.Popen(
            [sys.executable, "-m", module, folder, str(SERVER_CORE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(20)


class Bench:
    def __init__(self, channel: Channel, process: psutil.Process) -> None:
        self.channel = channel
        self.process = process
        self.figures: dict[str, float] = {}

    async def measure(
        self, name: str, amount: float, what: Callable[[], Awaitable[object]], digits: int
    ) -> None:
        """Best of some rounds, as `amount` per second and per CPU second of the server."""
        best = best_cpu = 0.0
        for _ in range(ROUNDS):
            before, started = cpu(self.process), time.perf_counter()
            await what()
            best = max(best, amount / (time.perf_counter() - started))
            best_cpu = max(best_cpu, amount / max(cpu(self.process) - before, 0.01))
        self.figures[f"{name}_per_s"] = round(best, digits)
        self.figures[f"{name}_per_cpu_s"] = round(best_cpu, digits)

    async def find_missing(self) -> None:
        request = re_pb.FindMissingBlobsRequest()
        for number in range(DIGESTS):
            data = small_blob(number)
            found = digest_of(data)
            request.blob_digests.add(hash=found.hash, size_bytes=found.size_bytes)
        raw = request.SerializeToString()

        async def ask() -> None:
            for _ in range(10):
                answer = await self.channel.unary(f"{CAS}/FindMissingBlobs", raw)
            missing = re_pb.FindMissingBlobsResponse.FromString(answer).missing_blob_digests
            assert len(missing) == DIGESTS - SMALL_BLOBS

        await self.measure("find_missing_digests", 10 * DIGESTS, ask, 0)

    async def batches(self) -> None:
        request = re_pb.BatchReadBlobsRequest()
        for number in range(SMALL_BLOBS):
            found = digest_of(small_blob(number))
            request.digests.add(hash=found.hash, size_bytes=found.size_bytes)
        raw = request.SerializeToString()

        async def read() -> None:
            answer = await self.channel.unary(f"{CAS}/BatchReadBlobs", raw)
            responses = re_pb.BatchReadBlobsResponse.FromString(answer).responses
            assert len(responses) == SMALL_BLOBS
            assert not any(response.status.code for response in responses)

        await self.measure("batch_read_blobs", SMALL_BLOBS, read, 0)
        fresh = iter(range(10_000_000, 1 << 40))

        async def write() -> None:
            update = re_pb.BatchUpdateBlobsRequest()
            for _ in range(1000):
                data = small_blob(next(fresh))
                found = digest_of(data)
                entry = update.requests.add(data=data)
                entry.digest.hash, entry.digest.size_bytes = found.hash, found.size_bytes
            raw = update.SerializeToString()
            answer = await self.channel.unary(f"{CAS}/BatchUpdateBlobs", raw)
            responses = re_pb.BatchUpdateBlobsResponse.FromString(answer).responses
            assert not any(response.status.code for response in responses)

        await self.measure("batch_update_blobs", 1000, write, 0)

    async def streams(self) -> None:
        whole = large_blob()
        name = f"blobs/{hashlib.sha256(whole).hexdigest()}/{LARGE}"

        async def read() -> None:
            request = bs_pb.ReadRequest(resource_name=name).SerializeToString()
            total = 0
            async with self.channel.stream(f"{BYTES}/Read") as call:
                await call.send(request)
                await call.done_sending()
                while (message := await call.receive()) is not None:
                    total += len(message)
            assert total >= LARGE

        await self.measure("read_gb", LARGE / 1e9, read, 2)
        for function in ("sha256", "blake3"):
            await self.measure(
                "write_gb" if function == "sha256" else "write_blake3_gb",
                LARGE / 1e9,
                lambda function=function: self._write(function),
                2,
            )

    async def _write(self, function: str) -> None:
        data = os.urandom(16) + large_blob()[16:]
        prefix = "" if function == "sha256" else f"{function}/"
        found = digest_of(data, function)
        name = f"uploads/{uuid.uuid4()}/blobs/{prefix}{found.hash}/{LARGE}"
        async with self.channel.stream(f"{BYTES}/Write") as call:
            for at in range(0, LARGE, PIECE):
                request = bs_pb.WriteRequest(
                    resource_name=name if at == 0 else "",
                    write_offset=at,
                    finish_write=at + PIECE >= LARGE,
                    data=data[at : at + PIECE],
                )
                await call.send(request.SerializeToString())
            await call.done_sending()
            answer = await call.receive()
        assert answer is not None
        assert bs_pb.WriteResponse.FromString(answer).committed_size == LARGE


async def measured() -> dict[str, float]:
    with service() as (port, process):
        best = cost = 0.0
        for _ in range(ROUNDS):
            before = cpu(process)
            done, elapsed = generator.load(port, 4, 16, 1.0)
            best = max(best, done / elapsed)
            cost = max(cost, done / (cpu(process) - before))
        async with Channel(f"127.0.0.1:{port}") as channel:
            bench = Bench(channel, process)
            bench.figures |= {"gar_per_s": round(best), "gar_per_cpu_s": round(cost)}
            await bench.find_missing()
            await bench.batches()
            await bench.streams()
        return bench.figures


def run() -> tuple[dict[str, float], dict[str, float]]:
    os.sched_setaffinity(0, {LOAD_CORE})
    return trio.run(measured), {}
