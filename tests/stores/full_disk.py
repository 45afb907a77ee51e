"""A program that fills a small file system: `unshare -Urm python -m tests.stores.full_disk DIR`.

It mounts a tmpfs of 48 MiB on DIR, which nobody else sees, and a store there that believes to have
much more. Prints `ok`, or ends with a traceback.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import trio

from builder.base.digest import Digest, digest_of
from builder.base.errors import ResourceExhaustedError
from builder.stores.disk import DiskBlobStore

MIB = 1024 * 1024
LEASE = 1600.0
SIZES = (3000, 60_000, 300_000, 2 * MIB)


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


async def fill(store: DiskBlobStore, chance: random.Random, most: int) -> list[Digest]:
    """Write until so many writes were refused; what was taken."""
    taken, reasons = list[Digest](), list[str]()
    while len(reasons) < most:
        data = chance.randbytes(chance.choice(SIZES))
        digest = digest_of(data)
        try:
            await store.put(digest, data)
        except ResourceExhaustedError as error:
            reasons.append(error.message)
        else:
            taken.append(digest)
    assert all("is full" in reason for reason in reasons), reasons
    return taken


async def holds(store: DiskBlobStore, digests: list[Digest]) -> None:
    assert await store.find_missing(digests) == []
    for digest in digests:
        assert digest_of(await store.get(digest)) == digest
    store.check()


async def main(root: Path) -> None:
    clock, chance = Clock(), random.Random(1)
    store = DiskBlobStore(root / "store", 1 << 40, LEASE, "none", clock)
    await store.load()
    taken = await fill(store, chance, 20)
    assert sum(digest.size_bytes for digest in taken) > 24 * MIB
    await holds(store, taken)  # all is promised, so all is there
    store.close()
    store = DiskBlobStore(root / "store", 1 << 40, LEASE, "none", clock)
    await holds(store, taken)  # and after a restart on the full disk
    await store.load()
    clock.now += 2 * LEASE  # nothing is promised: what is old makes room
    for _ in range(100):
        data = chance.randbytes(300_000)
        await store.put(digest_of(data), data)
        clock.now += LEASE / 16
    assert store.snapshot().evicted_blobs > 0
    clock.now += 2 * LEASE
    (filler := root / "filler").write_bytes(bytes(os.statvfs(root).f_bavail * 4096))
    more = [chance.randbytes(300_000) for _ in range(10)]
    for data in more:  # others took the rest of the disk; the store lives on what it has
        await store.put(digest_of(data), data)
    filler.unlink()
    await holds(store, [digest_of(data) for data in more])
    assert os.listdir(f"{store.folder.root}/unfinished") == []
    store.close()


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", directory], check=True)
    trio.run(main, directory)
    print("ok")
