"""Where targets are built, out of settings.

here      this process: a store in the project's `.builder`, the worker's parts, the sandbox
away      a coordinator, or a whole service inside this process, reached as any other
"""

import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.client.executor import Place
from builder.client.retry import Pauses, pauses
from builder.config.settings import Settings

if TYPE_CHECKING:
    from builder.assembly.dial import Access

MAX_BATCH = 4 * 1024 * 1024 - 64 * 1024  # what one gRPC message takes everywhere


@asynccontextmanager
async def open_here(
    root: Path, settings: Settings, say: Callable[[str], None]
) -> AsyncIterator[Place]:
    """The sandbox of this machine, for the project whose state lies in `root`."""
    from builder.assembly.here import here  # late: a remote build does without

    async with here(root / "local", settings, say) as place:
        yield place


@asynccontextmanager
async def open_inside(settings: Settings) -> AsyncIterator[Place]:
    """A whole service in this process."""
    from builder.assembly.dial import Access
    from builder.assembly.local import local_service  # late: it is the whole service
    from builder.telemetry.log import configure

    form = settings.logging.format
    configure("warning", "human" if form == "auto" else form, sys.stderr)
    async with (
        local_service(settings) as address,
        _remote(address, "in this process", settings, Access(), pauses) as place,
    ):
        yield place


@asynccontextmanager
async def open_away(settings: Settings, patience: Pauses = pauses) -> AsyncIterator[Place]:
    """The configured coordinator. Raises BuilderError when none answers there."""
    from builder.assembly.dial import client_access

    access = client_access(settings.client)
    address = str(settings.client.coordinator)
    async with _remote(address, "", settings, access, patience) as place:
        yield place


@asynccontextmanager
async def _remote(
    address: str, remark: str, settings: Settings, access: "Access", patience: Pauses
) -> AsyncIterator[Place]:
    from builder.assembly.dial import open_channel
    from builder.assembly.tracing import open_tracer
    from builder.client.remote import RemoteExecutor, first_contact, served_function
    from builder.stores.remote import RemoteActionCache, RemoteBlobStore

    instance, invocation = settings.client.instance, str(uuid.uuid4())
    async with (
        open_tracer(settings.tracing, "client", invocation) as tracer,
        open_channel(address, access) as channel,
    ):
        capabilities = await first_contact(channel, address, instance)
        batch = capabilities.cache_capabilities.max_batch_total_size_bytes
        blobs = (
            RemoteBlobStore(channel, instance, min(batch, MAX_BATCH))
            if batch
            else RemoteBlobStore(channel, instance)
        )
        shown = f"{address}, {remark}" if remark else address
        with tracer.span("bldr build") as span:
            executor = RemoteExecutor(
                channel, capabilities, instance, invocation, tracer, span.traceparent, patience
            )
            yield Place(
                f"Using remote execution (coordinator: {shown})",
                True,
                blobs,
                RemoteActionCache(channel),
                executor,
                instance,
                served_function(capabilities),
            )
