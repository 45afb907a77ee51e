"""Entries for a journal, and what one holds; for programs that do without a test's imports."""

from dataclasses import replace
from pathlib import Path

from builder.reapi.pb import workers_pb2
from builder.schedule.platform import Properties
from builder.schedule.spec import Entry
from builder.server.journal import FileJournal
from builder.server.specs import spec_of


def entry(
    operation: str, task: str = "", size: int = 10, properties: Properties | None = None
) -> Entry:
    granted = workers_pb2.LeaseGranted(instance_name="main", digest_function=1)
    granted.action_digest.hash = "ab" * 32
    granted.action_digest.size_bytes = 7
    granted.action.salt = b"x" * size
    granted.action.do_not_cache = True
    granted.request_metadata.target_id = "//a:b"
    spec = spec_of(granted, (("Pool", "a"), ("Pool", "b")), -3, True)
    if properties is not None:
        spec = replace(spec, properties=properties)
    return Entry(operation, task or operation, spec)


def reopened(path: Path) -> list[Entry]:
    journal = FileJournal(path)
    found = list(journal.load())
    journal.close()
    return found
