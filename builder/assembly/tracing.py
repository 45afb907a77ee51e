"""The tracer of a program, from the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from builder.config.settings import Tracing
from builder.telemetry.tracing import OFF, Tracer


@asynccontextmanager
async def open_tracer(settings: Tracing, role: str, name: str) -> AsyncIterator[Tracer]:
    """Off unless a collector is named; what it has not sent by the end is sent then."""
    if settings.endpoint is None:
        yield OFF
        return
    from builder.telemetry.otlp import OtlpTracer  # late: 300 ms

    tracer = OtlpTracer(settings.endpoint, role, name, settings.share)
    try:
        yield tracer
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(tracer.close)
