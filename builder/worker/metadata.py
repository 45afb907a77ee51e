"""When each stage of an action began and ended, and the proof of how it ran.

Bazel takes a non-empty `worker` as proof that every timestamp is set, so all of them are filled
at once when the metadata is made: a stage that was not reached lasted no time. The wall clock may
step back and the queue's clock is another machine's, so the series is made monotone here.
"""

from collections.abc import Iterable

from builder.base.clock import Clock
from builder.base.units import format_size
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.sandbox.interface import Audit, Exit, Outcome, Usage

# In the order of time (REAPI v2, ExecutedActionMetadata).
STAMPS = (
    "queued",
    "worker_start",
    "input_fetch_start",
    "input_fetch_completed",
    "execution_start",
    "execution_completed",
    "output_upload_start",
    "output_upload_completed",
    "worker_completed",
)


# Without one of these an action may see more than its inputs and the system's directories.
MAX_NAMES = 1000
HERMETIC = frozenset({"mount-namespace", "pid-namespace", "network-namespace"})
HERMETIC_ENGINE = frozenset({"webassembly", "no-network"})


def is_hermetic(guarantees: Iterable[str]) -> bool:
    """Whether what held is enough to call an action hermetic."""
    held = frozenset(guarantees)
    return any(enough.issubset(held) for enough in (HERMETIC, HERMETIC_ENGINE))


class Timeline:
    """The stamps of one action on one worker, in nanoseconds since 1970."""

    def __init__(self, clock: Clock, worker: str, queued_ns: int = 0) -> None:
        self._clock = clock
        self._worker = worker
        self._stamps: dict[str, int] = {}
        start = clock.wall_ns()
        self._stamps["queued"] = min(queued_ns or start, start)
        self._stamps["worker_start"] = start

    def mark(self, stamp: str) -> None:
        """The stamp is now, and never before the one before it."""
        assert stamp in STAMPS, stamp
        self._stamps[stamp] = max(self._clock.wall_ns(), *self._stamps.values())

    def metadata(self) -> pb.ExecutedActionMetadata:
        """Every stamp set and monotone; one not reached yet is equal to the last that was."""
        message = pb.ExecutedActionMetadata(worker=self._worker)
        last = 0
        for stamp in STAMPS:
            last = self._stamps.get(stamp, last)
            getattr(message, f"{stamp}_timestamp").FromNanoseconds(last)
        return message

    def partial(self) -> pb.ExecutedActionMetadata:
        """Only what has happened, for the progress that clients may watch."""
        message = pb.ExecutedActionMetadata(worker=self._worker)
        for stamp, at in self._stamps.items():
            getattr(message, f"{stamp}_timestamp").FromNanoseconds(at)
        return message


def proof(done: Exit, attempt: int, unkept: Iterable[str] = ()) -> workers_pb2.ExecutionProof:
    """What held while the action ran, as the sandbox that ran it says; what it wrote in vain."""
    message = workers_pb2.ExecutionProof(
        backend=done.backend,
        guarantees=done.guarantees,
        limits=done.limits,
        peak_memory_bytes=done.usage.peak_memory_bytes,
        processes=done.usage.processes,
        outcome=done.outcome.value,
        attempt=attempt,
        audit=None if done.audit is None else _audit(done.audit),
        output_cut=done.output_cut,
        spec=done.spec,
        read_bytes=done.usage.read_bytes,
        written_bytes=done.usage.written_bytes,
        reused=done.usage.reused,
        undeclared=[tellable(path) for path in unkept],
    )
    if (served := done.served) is not None:
        message.persistent_worker.key = served.key
        message.persistent_worker.request = served.request
        message.persistent_worker.fell_back = served.fell_back
    _durations(message, done.usage)
    return message


def server_log(done: Exit) -> bytes:
    """For people, of an action that did not end by itself; empty for one that did."""
    if done.outcome is Outcome.EXITED:
        return b""
    usage = done.usage
    lines = [
        f"outcome: {done.outcome.value}{f' ({done.message})' if done.message else ''}",
        f"exit code: {done.exit_code}",
        f"sandbox: {done.backend} ({', '.join(done.guarantees) or 'no guarantees'})",
        f"limits: {', '.join(done.limits) or 'none'}",
        f"ran for {usage.wall_s:.3f} s, on the CPU for {usage.user_s + usage.system_s:.3f} s",
        f"peak memory: {format_size(usage.peak_memory_bytes)}, processes: {usage.processes}",
        f"disk: {format_size(usage.read_bytes)} read, {format_size(usage.written_bytes)} written",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _audit(found: Audit) -> workers_pb2.Audit:
    """Of the names outside the first ones: metadata travels with every cached result."""
    outside = found.outside
    told = [
        workers_pb2.Audit.Access(
            name=tellable(one.name), use=one.use, program=tellable(one.program), there=one.there
        )
        for one in outside[:MAX_NAMES]
    ]
    return workers_pb2.Audit(
        level=found.level.value,
        complete=found.complete,
        outside=told,
        outside_count=len(outside),
        count=len(found.accesses),
    )


def tellable(name: str) -> str:
    """A name of any bytes as text that a message can carry."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _durations(message: workers_pb2.ExecutionProof, usage: Usage) -> None:
    message.user_cpu.FromNanoseconds(round(usage.user_s * 1e9))
    message.system_cpu.FromNanoseconds(round(usage.system_s * 1e9))
    message.setup.FromNanoseconds(round(usage.setup_s * 1e9))
    message.cleanup.FromNanoseconds(round(usage.cleanup_s * 1e9))
