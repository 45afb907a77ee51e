"""Digests, batches and cached executions of the product's server, over one connection.

Requests are encoded before, answers are only counted, so that little but the server is measured.
"""

import itertools
import time
import uuid
from collections.abc import Callable

import psutil

from builder.base.digest import digest_of
from builder.reapi.pb import bytestream_pb2 as bs_pb
from builder.reapi.pb import operations_pb2
from builder.reapi.pb import remote_execution_pb2 as re_pb
from tests.bench.wire_load_parts import Connection, load, message
from tests.bench.wire_product_parts import SMALL_BLOBS, small_blob
from tests.bench.wire_servers_parts import ENTRIES, digest

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage"
READ = "/google.bytestream.ByteStream/Read"
EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"
WRITE = "/google.bytestream.ByteStream/Write"
DIGESTS = 10_000
SMALL_WRITES = 5000
BUSY = 0.85  # of a core: a server below that waited for its client, or for the machine
ROUNDS = 3

Figures = dict[str, float]


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


class Rates:
    """Best of some rounds, as amounts per second and per CPU second of the server."""

    def __init__(self, process: psutil.Process) -> None:
        self.figures: Figures = {}
        self._process = process
        self._busy: Figures = {}

    def cpu(self) -> float:
        """Seconds of the server's so far."""
        return cpu(self._process)

    def measure(
        self, name: str, amount: float, what: Callable[[], object], digits: int = 0
    ) -> None:
        for _ in range(ROUNDS):
            self.once(name, amount, what, digits)

    def once(self, name: str, amount: float, what: Callable[[], object], digits: int = 0) -> None:
        """One of the rounds, so that others may be between them."""
        before, started = cpu(self._process), time.perf_counter()
        what()
        elapsed = time.perf_counter() - started
        used = max(cpu(self._process) - before, 0.01)
        limited = f"{name}_client_limited"
        for key, found in (("per_s", amount / elapsed), ("per_cpu_s", amount / used)):
            best = self.figures.get(f"{name}_{key}", 0.0)
            self.figures[f"{name}_{key}"] = max(best, round(found, digits))
        if used / elapsed < BUSY and self._busy.get(name, 0.0) < BUSY:
            self.figures[limited] = 1
        else:
            self.figures.pop(limited, None)
        self._busy[name] = max(self._busy.get(name, 0.0), used / elapsed)


class Caller:
    """Calls of one method on one connection, some of them in flight; the first answer is kept."""

    def __init__(self, port: int, path: str, depth: int = 2) -> None:
        self._peer = Connection(port, 1, [], path=path)
        self._depth = depth

    def call(self, bodies: list[bytes]) -> bytes:
        """Send them all; the body of the first answer, without its prefix."""
        peer = self._peer
        peer.answer.clear()
        peer.keep = True
        before, sent = peer.done, 0
        while peer.done - before < len(bodies):
            while sent < len(bodies) and sent - (peer.done - before) < self._depth:
                peer.send(bodies[sent])
                sent += 1
            peer.flush()
            if peer.done - before < sent:
                peer.receive()
        return b"".join(peer.answer)[5:]

    def close(self) -> None:
        self._peer.sock.close()


def digests_of(numbers: range) -> list[re_pb.Digest]:
    found = [digest_of(small_blob(number)) for number in numbers]
    return [re_pb.Digest(hash=one.hash, size_bytes=one.size_bytes) for one in found]


def find_missing(port: int, rates: Rates) -> None:
    """A mixture as of a build after a change, those that are all here, those that are all not."""
    caller = Caller(port, f"{CAS}/FindMissingBlobs")
    cases = {
        "find_missing_digests": range(DIGESTS),
        "find_present_digests": range(SMALL_BLOBS),
        "find_absent_digests": range(DIGESTS, 2 * DIGESTS),
    }
    for name, numbers in cases.items():
        request = re_pb.FindMissingBlobsRequest(blob_digests=digests_of(numbers))
        body = message(request.SerializeToString())
        answer = caller.call([body])
        missing = re_pb.FindMissingBlobsResponse.FromString(answer).missing_blob_digests
        assert len(missing) == len([number for number in numbers if number >= SMALL_BLOBS])
        times = 100_000 // len(numbers)
        rates.measure(name, times * len(numbers), lambda: caller.call([body] * times))  # noqa: B023 - called at once
    caller.close()


def batches(port: int, rates: Rates) -> None:
    """1 KiB blobs, read in batches of nearly 4 MiB, and written new ones by the thousand."""
    caller = Caller(port, f"{CAS}/BatchReadBlobs")
    request = re_pb.BatchReadBlobsRequest(digests=digests_of(range(SMALL_BLOBS)))
    body = message(request.SerializeToString())
    answer = re_pb.BatchReadBlobsResponse.FromString(caller.call([body])).responses
    assert [one.data for one in answer] == [small_blob(number) for number in range(SMALL_BLOBS)]
    rates.measure("batch_read_blobs", 5 * SMALL_BLOBS, lambda: caller.call([body] * 5))
    caller.close()
    writer = Caller(port, f"{CAS}/BatchUpdateBlobs")
    fresh = itertools.count(10_000_000)
    uploads = [[_update(fresh) for _ in range(5)] for _ in range(ROUNDS)]
    rates.measure("batch_update_blobs", 5000, lambda: writer.call(uploads.pop()))
    writer.close()


def _update(fresh: "itertools.count[int]") -> bytes:
    request = re_pb.BatchUpdateBlobsRequest()
    for number in itertools.islice(fresh, 1000):
        data = small_blob(number)
        found = digest_of(data)
        one = request.requests.add(data=data)
        one.digest.hash, one.digest.size_bytes = found.hash, found.size_bytes
    return message(request.SerializeToString())


def execute_cached(port: int, rates: Rates) -> None:
    """Operations that are done in their first message, 64 in flight on each of four connections."""
    requests = []
    for number in range(ENTRIES):
        request = re_pb.ExecuteRequest()
        request.action_digest.hash = digest(number)
        request.action_digest.size_bytes = 140 + number % 60
        requests.append(message(request.SerializeToString()))
    caller = Caller(port, EXECUTE)
    operation = operations_pb2.Operation.FromString(caller.call(requests[:1]))
    response = re_pb.ExecuteResponse()
    assert operation.done
    assert operation.response.Unpack(response)
    assert response.cached_result
    caller.close()
    small_calls(port, rates, "execute_cached", EXECUTE, requests)


def small_reads(port: int, rates: Rates) -> None:
    """1 KiB blobs by ByteStream, as Bazel reads them, 64 in flight on each of four connections."""
    requests = []
    for one in digests_of(range(ENTRIES)):
        request = bs_pb.ReadRequest(resource_name=f"blobs/{one.hash}/{one.size_bytes}")
        requests.append(message(request.SerializeToString()))
    caller = Caller(port, READ)
    answer = bs_pb.ReadResponse.FromString(caller.call(requests[:1]))
    assert answer.data == small_blob(0)
    caller.close()
    small_calls(port, rates, "small_reads", READ, requests)


def small_writes(port: int, rates: Rates) -> None:
    """New blobs of 1 KiB by ByteStream, as Bazel sends them, 64 in flight on one connection."""
    writer = Caller(port, WRITE, 64)
    fresh = itertools.count(20_000_000)
    uploads = [[_write(next(fresh)) for _ in range(SMALL_WRITES)] for _ in range(ROUNDS)]
    answer = bs_pb.WriteResponse.FromString(writer.call([_write(next(fresh))]))
    assert answer.committed_size == len(small_blob(0))
    rates.measure("small_writes", SMALL_WRITES, lambda: writer.call(uploads.pop()))
    writer.close()


def _write(number: int) -> bytes:
    data = small_blob(number)
    digest = digest_of(data)
    name = f"uploads/{uuid.UUID(int=number)}/blobs/{digest.hash}/{digest.size_bytes}"
    request = bs_pb.WriteRequest(resource_name=name, data=data, finish_write=True)
    return message(request.SerializeToString())


def small_calls(port: int, rates: Rates, name: str, path: str, requests: list[bytes]) -> None:
    best = best_cpu = 0.0
    for _ in range(ROUNDS):
        before = rates.cpu()
        count, elapsed = load(port, 4, 64, 1.0, path, requests)
        best = max(best, count / elapsed)
        best_cpu = max(best_cpu, count / (rates.cpu() - before))
    rates.figures[f"{name}_per_s"] = round(best)
    rates.figures[f"{name}_per_cpu_s"] = round(best_cpu)
