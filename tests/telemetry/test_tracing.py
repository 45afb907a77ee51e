"""Spans: what they belong to, the stages that they tell of, and what reaches a collector."""

import json

import pytest

from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.telemetry import log
from builder.telemetry.otlp import OtlpTracer
from builder.telemetry.tracing import OFF, parent_of, tell_queue, tell_stages
from tests.telemetry.collector import Collector, collecting

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
BUILD = "0af76519-16cd-43dd-8448-eb211c80319c"


def test_the_callers_own_trace_comes_first() -> None:
    """W3C Trace Context, `traceparent`."""
    assert parent_of(PARENT, "ffffffff-ffff-ffff-ffff-ffffffffffff") == PARENT


@pytest.mark.parametrize(
    "header", ["", b"", "00-x", PARENT.upper(), PARENT + "-more", f"00-{'0' * 32}-{'1' * 16}-01"]
)
def test_a_broken_header_is_as_none_and_the_build_is_the_trace(header: str | bytes) -> None:
    """Its UUID is the trace's id, so that all actions of a build are together."""
    assert parent_of(header, BUILD) == f"00-{TRACE}-8448eb211c80319c-01"
    assert parent_of(header, "not a UUID") == ""
    assert parent_of(header, "00000000-0000-0000-0000-000000000000") == ""


def test_off_passes_on_what_it_was_given() -> None:
    """A coordinator without a collector does not cut the client's trace."""
    with OFF.span("Execute", PARENT) as span:
        assert span.traceparent == PARENT
        assert span.stage("queue", 1, 2).traceparent == PARENT
        span.tell({"a": 1})
    OFF.close()


def executed() -> pb.ExecuteResponse:
    """Queued at 10, on a worker from 20, executed from 30 to 100."""
    response = pb.ExecuteResponse()
    metadata = response.result.execution_metadata
    stamps = {"queued": 10, "worker_start": 20, "input_fetch_start": 20}
    stamps |= {"input_fetch_completed": 30, "execution_start": 30, "execution_completed": 100}
    stamps |= {"output_upload_start": 100, "output_upload_completed": 100}
    for stamp, at in stamps.items():
        getattr(metadata, f"{stamp}_timestamp").FromNanoseconds(at)
    metadata.virtual_execution_duration.FromNanoseconds(50)
    proof = workers_pb2.ExecutionProof()
    proof.setup.FromNanoseconds(5)
    metadata.auxiliary_metadata.add().Pack(proof)
    return response


@pytest.fixture
def traced() -> Collector:
    """What a collector has got of one failed span with all stages."""
    with collecting() as collector:
        tracer = OtlpTracer(collector.endpoint, "worker", "w1")
        with tracer.span("lease", PARENT, {"builder.action": "abc", "builder.lease": ""}) as span:
            tell_queue(span, executed())
            tell_stages(span, executed())
            span.tell({"builder.exit_code": 1}, "it was killed")
        tracer.close()
        return collector


def test_stages_are_children_with_their_times(traced: Collector) -> None:
    """A stage that took no time is left out; those of the sandbox are below the execution."""
    names = {span.name: span for _service, span in traced.spans}
    times = {n: (s.start_time_unix_nano, s.end_time_unix_nano) for n, s in names.items()}
    lease = times.pop("lease")
    assert lease[0] <= lease[1]
    assert times == {
        "queue": (10, 20),
        "inputs": (20, 30),
        "execution": (30, 100),
        "sandbox set-up": (30, 35),
        "command": (35, 85),
    }
    assert {span.trace_id.hex() for span in names.values()} == {TRACE}
    assert names["lease"].parent_span_id.hex() == "b7ad6b7169203331"
    assert names["inputs"].parent_span_id == names["lease"].span_id
    assert names["command"].parent_span_id == names["execution"].span_id


def test_a_span_says_what_is_known(traced: Collector) -> None:
    """Empty texts are left out; a failure is the span's status."""
    service, span = next(one for one in traced.spans if one[1].name == "lease")
    assert service == "builder-worker"
    known = {a.key: a.value.string_value or a.value.int_value for a in span.attributes}
    assert known == {"builder.action": "abc", "builder.exit_code": 1}
    assert (span.status.code, span.status.message) == (2, "it was killed")


def test_an_exception_is_the_spans_failure() -> None:
    """It goes on its way; the span says what it was."""
    with collecting() as collector:
        tracer = OtlpTracer(collector.endpoint, "client", "c")
        with pytest.raises(ValueError, match="broken"), tracer.span("action"):
            raise ValueError("broken")
        tracer.close()
        ((_, span),) = collector.spans
    assert (span.status.code, span.status.message) == (2, "broken")


def test_a_share_of_nothing_sends_nothing_but_what_others_began() -> None:
    """Who joins a trace does as its beginner."""
    with collecting() as collector:
        tracer = OtlpTracer(collector.endpoint, "client", "c", share=0.0)
        with tracer.span("own") as own:
            assert not int(own.traceparent[-2:], 16) & 1  # not sampled
        with tracer.span("joined", PARENT) as joined:
            assert joined.traceparent.startswith(f"00-{TRACE}-")
        tracer.close()
    assert [span.name for _service, span in collector.spans] == ["joined"]


def test_no_collector_costs_a_line_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    """Work goes on; the log says that the spans are lost."""
    log.configure("info", "json")
    try:
        tracer = OtlpTracer("http://127.0.0.1:1", "client", "c")
        with tracer.span("lost"):
            pass
        tracer.close()
    finally:
        log.SET_UP.reset()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert any("127.0.0.1" in line["message"] for line in lines), lines
