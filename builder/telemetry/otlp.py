"""Traces by OpenTelemetry's SDK, sent as OTLP over HTTP. Imported only where they are asked for.

Spans are collected and sent by a thread of the SDK; a collector that does not answer costs
warnings and the spans, nothing else. Headers (a token), certificates and compression are taken
from OpenTelemetry's own variables, as OTEL_EXPORTER_OTLP_HEADERS.
"""

import os
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from builder.base.version import VERSION
from builder.telemetry.tracing import HEADER, Attributes

PATH = "/v1/traces"
PATIENCE_S = 3.0  # for one sending, and for the last one
CONTEXT = TraceContextTextMapPropagator()


class OtlpTracer:
    """`endpoint` is the collector's base address, `share` how much of the new traces is kept."""

    on = True

    def __init__(self, endpoint: str, role: str, name: str, share: float = 1.0) -> None:
        resource = Resource.create(
            {
                "service.name": f"builder-{role}",
                "service.instance.id": name,
                "service.version": VERSION,
                "process.pid": os.getpid(),
            }
        )
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=resource,
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + PATH, timeout=PATIENCE_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("builder", VERSION)

    def span(self, name: str, parent: str = "", attributes: Attributes | None = None) -> "OtlpSpan":
        context = CONTEXT.extract({HEADER: parent}) if parent else Context()
        kind = trace.SpanKind.SERVER if parent else trace.SpanKind.INTERNAL
        span = self._tracer.start_span(
            name, context, kind=kind, attributes=_known(attributes or {})
        )
        return OtlpSpan(self._tracer, span)

    def close(self) -> None:
        self._provider.force_flush(int(PATIENCE_S * 1000))
        self._provider.shutdown()


class OtlpSpan:
    """`telemetry.tracing.Span` of the SDK."""

    __slots__ = ("_context", "_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span, Context())

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        CONTEXT.inject(carrier, self._context)
        return carrier.get(HEADER, "")

    def tell(self, attributes: Attributes, failure: str = "") -> None:
        self._span.set_attributes(_known(attributes))
        if failure:
            self._span.set_status(trace.StatusCode.ERROR, failure)

    def stage(self, name: str, start_ns: int, end_ns: int) -> "OtlpSpan":
        child = self._tracer.start_span(name, self._context, start_time=start_ns)
        child.end(end_ns)
        return OtlpSpan(self._tracer, child)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.tell({"error.type": kind.__name__}, str(error) or kind.__name__)
        self._span.end()


def _known(attributes: Attributes) -> dict[str, str | int | bool]:
    return {name: value for name, value in attributes.items() if value != ""}
