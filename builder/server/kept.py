"""What people are told of an entry in the action cache."""

from collections.abc import Awaitable, Callable

import trio
from google.protobuf.message import DecodeError

from builder.base.digest import Digest
from builder.base.units import format_duration
from builder.reapi.pb.remote_execution_pb2 import RequestMetadata
from builder.stores.kept_result import Entry

About = Callable[[str, Digest], Awaitable[Entry | None]]


async def unknown(_instance: str, _action: Digest) -> Entry | None:
    """Of a service whose cache tells nothing."""
    await trio.lowlevel.checkpoint()
    return None


def kept_sentence(entry: Entry, now: float) -> str:
    """For example `for 2h 0m, 12 hits; written by bazel 7.1.0, invocation 8f3c`."""
    age = format_duration(max(0.0, now - entry.stored_at)) if entry.stored_at else "an unknown time"
    hits = f"{entry.hits} hit{'s' if entry.hits != 1 else ''}"
    by = _writer(entry.metadata)
    return f"for {age}, {hits}{f'; written by {by}' if by else ''}"


def _writer(raw: bytes) -> str:
    try:
        metadata = RequestMetadata.FromString(raw)
    except DecodeError:
        return ""
    tool = metadata.tool_details
    named = " ".join(filter(None, (tool.tool_name, tool.tool_version)))
    invocation = metadata.tool_invocation_id
    return ", ".join(filter(None, (named, f"invocation {invocation}" if invocation else "")))
