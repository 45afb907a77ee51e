"""The coordinator's journal from the settings: beside the blobs, where they outlive a restart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.base.errors import UsageError
from builder.config.settings import Store
from builder.schedule.spec import Entry
from builder.server.journal import FileJournal


@contextmanager
def open_journal(store: Store) -> Iterator[tuple[FileJournal | None, tuple[Entry, ...]]]:
    """The journal and what an earlier coordinator left in it; none where blobs are in memory.

    Raises UsageError when the file cannot be read or written.
    """
    if store.kind == "memory":
        yield None, ()
        return
    journal = FileJournal(Path(store.path) / "journal")
    try:
        left = journal.load()
    except OSError as error:
        raise UsageError(f"the journal in store.path cannot be used: {error}") from None
    try:
        yield journal, left
    finally:
        journal.close()
