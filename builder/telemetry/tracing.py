"""Traces of actions: a span for whoever works on one, and a child for each stage that took time.

The client's `traceparent` (W3C Trace Context) goes with the call, the coordinator's with the
lease; so client, coordinator, worker and sandbox are one trace. A client that sends none gets the
trace of its build: the invocation's UUID is the trace's id.

Here is what others see, without OpenTelemetry; `telemetry.otlp` exports. Off, a span costs one
call and only passes on what it was given.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Protocol, Self

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.pb.timestamp_pb2 import Timestamp
from builder.reapi.times import nanoseconds

HEADER = "traceparent"
FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
STAGES = (
    ("inputs", "input_fetch_start", "input_fetch_completed"),
    ("execution", "execution_start", "execution_completed"),
    ("outputs", "output_upload_start", "output_upload_completed"),
)

Attributes = Mapping[str, str | int | bool]


class Span(Protocol):
    """Lasts from its making to the end of its `with`; an exception that leaves it is its failure.

    Times are nanoseconds since 1970.
    """

    @property
    def traceparent(self) -> str:
        """For those who work on a part of this; empty where there is no trace."""

    def tell(self, attributes: Attributes, failure: str = "", /) -> None:
        """What is known of it by now; empty texts are left out. With a failure it failed."""

    def stage(self, name: str, start_ns: int, end_ns: int, /) -> "Span":
        """A part of this that is over already; it may have parts too."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None: ...


class Tracer(Protocol):
    """One for a program."""

    on: bool

    def span(self, name: str, parent: str = "", attributes: Attributes | None = None, /) -> Span:
        """Begins now. `parent` is a `traceparent`; without one it begins a trace."""

    def close(self) -> None:
        """Send what is left; waits a moment for it, not longer."""


class _Passing:
    """A span that nobody keeps."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def stage(self, *_over: object) -> "_Passing":
        return self

    def tell(self, *_known: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        pass


class _Off:
    """Traces nothing, and lets those of others pass."""

    on = False

    def span(self, _name: str, parent: str = "", _attributes: Attributes | None = None) -> Span:
        return _Passing(parent)

    def close(self) -> None:
        pass


OFF: Tracer = _Off()


def parent_of(header: str | bytes, invocation: str) -> str:
    """What a call belongs to: the trace that it names, else that of its build, else nothing."""
    if isinstance(header, str) and FORM.fullmatch(header):
        return header
    try:
        build = uuid.UUID(invocation).hex
    except ValueError:
        return ""
    named = f"00-{build}-{build[16:]}-01"
    return named if FORM.fullmatch(named) else ""


def tell_queue(span: Span, response: pb.ExecuteResponse) -> None:
    """How long it had waited for the worker that ran it."""
    metadata = response.result.execution_metadata
    start_ns, end_ns = _ns(metadata, "queued"), _ns(metadata, "worker_start")
    if 0 < start_ns < end_ns:
        span.stage("queue", start_ns, end_ns)


def tell_stages(span: Span, response: pb.ExecuteResponse) -> None:
    """The stages that a worker's answer has stamped, those inside the sandbox included."""
    metadata = response.result.execution_metadata
    for name, start, end in STAGES:
        start_ns, end_ns = _ns(metadata, start), _ns(metadata, end)
        if end_ns > start_ns:
            stage = span.stage(name, start_ns, end_ns)
            if name == "execution":
                for part, began_ns, ended_ns in _inside(metadata, start_ns, end_ns):
                    stage.stage(part, began_ns, ended_ns)


def _inside(
    metadata: pb.ExecutedActionMetadata, start_ns: int, end_ns: int
) -> Iterator[tuple[str, int, int]]:
    """The sandbox's own stages; what it measured has no date, only an order."""
    proof = workers_pb2.ExecutionProof()
    for one in metadata.auxiliary_metadata:
        if one.Unpack(proof):
            begun = min(start_ns + nanoseconds(proof.setup), end_ns)
            over = min(begun + nanoseconds(metadata.virtual_execution_duration), end_ns)
            yield "sandbox set-up", start_ns, begun
            yield "command", begun, over
            return


def _ns(metadata: pb.ExecutedActionMetadata, stamp: str) -> int:
    at: Timestamp = getattr(metadata, f"{stamp}_timestamp")
    return nanoseconds(at)
