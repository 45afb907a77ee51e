"""A program that kills writers of a disk store: `python -m tests.stores.killing load|steps ...`.

It forks, which is why it is a process of its own: a child opens the store and writes, telling
each blob that was acknowledged; it is killed by SIGKILL, by the parent at any moment (`load`) or by
itself before its n-th system call (`steps`). Another child then opens what was left, holds it to
every promise, and is not closed either. The last line of output is JSON: kills, acknowledged
blobs, and a list of problems.
"""

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import trio

from builder.base.digest import Digest, digest_of
from builder.stores import log_keeper
from builder.stores.disk import DiskBlobStore
from builder.stores.folder import Fsync

LEASE = 160.0
CAPACITY = 24 << 20
SIZES = (100, 5000, 60_000, 200_000, 900_000)
STEP_S = 3.0  # of the clock, for each blob: so there is something to evict
CALLS = "pwritev write writev rename unlink open posix_fallocate fdatasync fsync utime close"


class Said(NamedTuple):
    """A blob that was acknowledged, by the clock of the writers."""

    digest: Digest
    at: float


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def forked(work: Callable[[], Awaitable[None]]) -> tuple[int, int]:
    """(process, the end of a pipe that has its standard output)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.dup2(writing, 1)
    try:
        trio.run(work)
    except BaseException:
        os.write(1, f"! {traceback.format_exc()[-1500:]!r}\n".encode())
    os._exit(0)  # nothing is closed: that is what a kill is like


def tell(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]


async def writer(store: DiskBlobStore, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(400):
        data = chance.randbytes(chance.choice(SIZES))
        digest = digest_of(data)
        clock.now += STEP_S
        await store.write(digest, pieces(data))
        tell(f"{digest.hash} {digest.size_bytes} {clock.now - STEP_S}")


async def load(root: Path, now: float, seed: int, fsync: Fsync) -> None:
    """Three writers at once, with checkpoints and evictions."""
    clock = Clock(now)
    store = DiskBlobStore(root, CAPACITY, LEASE, fsync, clock)
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(writer, store, clock, seed * 3 + number)


async def counted(root: Path, step: int, fsync: Fsync) -> None:
    """One writer, killed before its `step`-th system call."""
    left = step

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    tell_really = os.write
    clock = Clock(1e9)
    store = DiskBlobStore(root, CAPACITY, LEASE, fsync, clock)
    for name in CALLS.split():
        setattr(os, name, dying(getattr(os, name)))
    globals()["tell"] = lambda line: tell_really(1, f"{line}\n".encode())
    await writer(store, clock, 1)
    store.close()


async def held(root: Path, said: list[Said], now: float) -> None:
    """Open what a kill has left; tell what is not as it should be."""
    store = DiskBlobStore(root, CAPACITY, LEASE, "none", Clock(now))
    promised = [digest for digest, at in said if at + LEASE > now]
    for digest in await store.find_missing(promised):
        tell(f"! lost {digest}")
    for digest in promised:
        if digest_of(await store.get(digest)) != digest:
            tell(f"! torn {digest}")
    await store.load()
    store.check()
    if store.snapshot().lost_blobs:
        tell("! damaged blobs were found")


def until_end(child: int, pipe: int, lines: int) -> tuple[list[str], bool]:
    """What it said; it is killed after so many lines. Whether it was killed at all."""
    text = b""
    while more := os.read(pipe, 65536):
        text += more
        if text.count(b"\n") >= lines > 0:
            os.kill(child, signal.SIGKILL)
            lines = 0
    os.close(pipe)
    _, status = os.waitpid(child, 0)
    whole = text.decode()
    return whole[: whole.rfind("\n") + 1].splitlines(), os.WIFSIGNALED(status)


class Killing:
    """Counts over all rounds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kills = 0
        self.acknowledged = 0
        self.problems: list[str] = []

    def round(self, work: Callable[[], Awaitable[None]], lines: int) -> list[Said]:
        """Kill a writer; what it had acknowledged."""
        found, killed = until_end(*forked(work), lines)
        self.kills += killed
        self.problems += [line for line in found if line.startswith("!")]
        words = [line.split() for line in found if not line.startswith("!")]
        self.acknowledged += len(words)
        return [Said(Digest(hash_, int(size)), float(at)) for hash_, size, at in words]

    def verify(self, root: Path, said: list[Said], now: float) -> None:
        found, _ = until_end(*forked(lambda: held(root, said, now)), 0)
        self.problems += found

    def load(self, rounds: int, seed: int) -> None:
        """One store for all rounds."""
        chance, said = random.Random(seed), list[Said]()
        now = 1e9
        for number in range(rounds):
            fsync: Fsync = ("none", "data", "full")[number % 3]
            work = lambda n=number, t=now, f=fsync: load(self.folder, t, seed + n, f)  # noqa: E731
            said += self.round(work, chance.randrange(1, 50))
            now = max([now, *(one.at + 4 * STEP_S for one in said)])
            self.verify(self.folder, said, now)

    def steps(self, steps: list[int]) -> None:
        """A new store for each."""
        for step in steps:
            root = self.folder / str(step)
            fsync: Fsync = ("none", "data", "full")[step % 3]
            work = lambda r=root, s=step, f=fsync: counted(r, s, f)  # noqa: E731
            said = self.round(work, 0)
            self.verify(root, said, max([1e9, *(one.at + STEP_S for one in said)]))


def main() -> NoReturn:
    mode, folder, *numbers = sys.argv[1:]
    log_keeper.CHANGES = 40  # so that there are checkpoints
    killing = Killing(Path(folder))
    if mode == "load":
        killing.load(*map(int, numbers))
    else:
        killing.steps(list(map(int, numbers)))
    found = {"kills": killing.kills, "acknowledged": killing.acknowledged}
    print(json.dumps({**found, "problems": killing.problems}))
    sys.exit(0)


if __name__ == "__main__":
    main()
