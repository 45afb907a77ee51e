"""Beginning a segment: its file is made in a thread, since the file system takes its time for that.

One at a time: who opens or cleans segments holds the room lock of the store.
"""

import os

import trio

from builder.stores.folder import remove
from builder.stores.log import SegmentLog


async def open_segment(log: SegmentLog, may_take_spare: bool = False) -> None:
    """Begin another segment. Raises OSError when the disk has no room for it."""
    if not log.spare_bytes:
        await keep_spare(log)
    path = log.next_path()
    try:
        room = await trio.to_thread.run_sync(_make_file, log, path)
    except OSError:
        if not may_take_spare or not log.spare_bytes:
            raise
        os.rename(log.spare_path, path)
        room, log.spare_bytes = log.spare_bytes, 0
    log.begin(path, room)


async def keep_spare(log: SegmentLog) -> None:
    """Have one file of a segment's size in store. Raises OSError."""
    if not log.spare_bytes:
        log.spare_bytes = await trio.to_thread.run_sync(_make_file, log, log.spare_path)


def _make_file(log: SegmentLog, path: str) -> int:
    """Bytes of a new file that has all its blocks. Raises OSError, and then there is none."""
    size = log.segment_bytes
    os.makedirs(log.root, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        remove(path)
        raise
    finally:
        os.close(descriptor)
    log.folder.sync_name(path)
    return size
