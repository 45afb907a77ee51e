"""A log of segments over its life: loaded, written down now and then, cleaned, closed.

Until `load` is done nothing is known, so calls wait for it: about a second for a million blobs.
"""

from collections.abc import Callable

import trio

from builder.stores.checkpoint import Checkpoint, checkpoint, restore
from builder.stores.cleaning import Candidate, candidate, clean
from builder.stores.log import SegmentLog
from builder.stores.segment import Segment

CHANGES = 100_000  # between checkpoints, or a quarter of all


class LogKeeper:
    """`now` is seconds since 1970. What waits for the disk is done in threads."""

    def __init__(self, log: SegmentLog, now: Callable[[], float]) -> None:
        self.log = log
        self.loaded = False
        self._now = now
        self._loading = trio.Lock()
        self._checking = trio.Lock()
        self._enough = 0  # changes after which a checkpoint that failed is tried again

    def close(self) -> None:
        """Let go of the directory, with the tables written down for a quick start."""
        if self.loaded and self.log.changes:
            try:
                checkpoint(self.log)
            except OSError:  # the next start walks the segments instead
                self.log.journal.flush()
        self.log.close()

    async def load(self) -> None:
        """Learn what an earlier process left. Idempotent."""
        if self.loaded:
            return
        async with self._loading:
            if not self.loaded:
                latest = self.log.leases.tick(self._now())
                with self.log.folder.errors():
                    await trio.to_thread.run_sync(restore, self.log, latest)
                self.loaded = True

    def is_checkpoint_due(self) -> bool:
        changes = self.log.changes
        return changes > max(CHANGES, self._enough) and changes > self.log.blobs // 4

    async def checkpoint_if_due(self) -> None:
        """Write the tables down after many changes, other calls going on meanwhile.

        When the disk does not take them that is tried again after some more: nothing depends on
        it but the time of the next start.
        """
        if not self.is_checkpoint_due() or self._checking.locked():
            return
        async with self._checking:
            try:
                one = Checkpoint(self.log)
                for _ in one.slices():
                    await trio.lowlevel.checkpoint()
                await trio.to_thread.run_sync(one.write)
            except OSError:
                self._enough = self.log.changes + CHANGES // 4
            else:
                one.done()
                self._enough = 0

    async def candidate(self, before: int) -> Candidate | None:
        return await candidate(self.log, self._now(), before)

    async def clean(self, segment: Segment) -> None:
        with self.log.folder.errors():
            await clean(self.log, segment, self._now())
