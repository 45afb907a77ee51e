"""Reading every blob of a disk store to see whether it is whole, without renewing anything."""

import os
from collections.abc import AsyncGenerator
from typing import NamedTuple

import trio

from builder.base.digest import Digest, hasher
from builder.stores.disk import DiskBlobStore
from builder.stores.interface import PIECE
from builder.stores.log import verified
from builder.stores.packed import plain_reader


class Finding(NamedTuple):
    """One blob, and whether its bytes are what its digest names."""

    digest: Digest
    whole: bool


async def audit(store: DiskBlobStore, put_aside: bool) -> AsyncGenerator[Finding, None]:
    """Every blob of a loaded store; the damaged ones may be put aside, and are missing then."""
    for digest in list(store.small.digests()):
        await trio.lowlevel.checkpoint()
        entry = store.small.log.table(digest.function).find(bytes.fromhex(digest.hash))
        if entry is None:  # evicted meanwhile
            continue
        segment, offset, size = store.small.log.where(entry, digest)
        with store.folder.errors():
            stored = os.pread(segment.descriptor, size, offset)
        whole = verified(entry, digest, stored) is not None
        if put_aside and not whole:
            store.small.put_aside(digest, stored)
        yield Finding(digest, whole)
    for digest in list(store.files.digests()):
        with store.folder.errors():
            found = await trio.to_thread.run_sync(_digest_of, store.files.place(digest), digest)
        if put_aside and found is not None and found != digest:
            store.files.put_aside(digest)
        if found is not None:
            yield Finding(digest, found == digest)


def _digest_of(path: str, digest: Digest) -> Digest | None:
    """What the file really holds; None if it is gone."""
    state = hasher(digest.function, digest.size_bytes)
    size = 0
    try:
        with open(path, "rb", buffering=0) as file:
            frames = plain_reader(file.fileno(), digest.size_bytes)
            while piece := (frames or file).read(PIECE):
                state.update(piece)
                size += len(piece)
    except FileNotFoundError:
        return None
    except ValueError:  # no frames any more
        return Digest("", 0, digest.function)
    return Digest(state.hexdigest(), size, digest.function)
