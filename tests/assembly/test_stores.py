"""Storage from the settings."""

from pathlib import Path

import trio
from trio.testing import MockClock

from builder.assembly.stores import AGAIN_S, open_stores
from builder.base.digest import digest_of
from builder.config.settings import Store


async def test_a_disk_that_fails_at_the_start_is_asked_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Nobody's service ends for it; when it is well, all that it holds is there."""
    store, digest = Store(path=str(tmp_path)), digest_of(b"kept")
    async with open_stores(store) as stores:
        await stores.load()
        await stores.blobs.put(digest, b"kept")
    stray = tmp_path / "blobs" / "segments" / "journal-99"
    stray.mkdir()
    async with open_stores(store) as stores:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stores.load)
            await trio.sleep(3 * AGAIN_S)
            stray.rmdir()
        assert await stores.blobs.get(digest) == b"kept"
