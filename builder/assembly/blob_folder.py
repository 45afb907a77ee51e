"""Blobs in a plain directory, for `builder cas export` and `import`: `blobs/FUNCTION/HASH`.

That is how an OCI image layout keeps its blobs, so such a directory can be imported too. A file
appears whole, by rename; so what is there is not fetched again, and an export or an import that
was cut short goes on where it was.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import trio

from builder.base.digest import HEX, HEX_LENGTHS, Digest, hasher
from builder.base.errors import BuilderError, InvalidArgumentError
from builder.base.units import format_size
from builder.net.together import each
from builder.stores.folder import remove, write_all
from builder.stores.interface import BlobStore

AT_ONCE = 16  # blobs under way
ASKED_AT_ONCE = 1000  # blobs that one question is about
PIECE = 256 * 1024
SAY_EVERY_S = 1.0


@dataclass(slots=True)
class Progress:
    """Of `blobs` in all; `say` gets a line now and then."""

    say: Callable[[str], object]
    blobs: int = 0
    done: int = 0
    moved: int = 0
    moved_bytes: int = 0
    wrong: int = 0
    said_at: float = 0.0

    def step(self, digest: Digest, moved: bool) -> None:
        """This one is where it belongs; whether it had to be moved for that."""
        self.done += 1
        if moved:
            self.moved += 1
            self.moved_bytes += digest.size_bytes
        if trio.current_time() >= self.said_at + SAY_EVERY_S:
            self.said_at = trio.current_time()
            self.say(f"{self.done} of {self.blobs} blobs, {format_size(self.moved_bytes)} moved")

    def summary(self, verb: str) -> str:
        here = self.done - self.moved
        blobs = "blob" if self.moved == 1 else "blobs"
        return f"{self.moved} {blobs} {verb} ({format_size(self.moved_bytes)}), {here} were there"


class BlobFolder:
    """The directory `root`. Raises BuilderError for what the file system refuses."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.function / digest.hash

    def has(self, digest: Digest) -> bool:
        try:
            return self.path(digest).stat().st_size == digest.size_bytes
        except OSError:
            return False

    def names(self) -> Iterator[tuple[Path, Digest | None]]:
        """Every file in it, by name; None where that is no hash."""
        found = sorted(self.root.glob("blobs/*/*"))
        if not found:
            raise BuilderError(f"{self.root} has no blobs/FUNCTION/HASH; give what was exported")
        for path in found:
            function, hash_ = path.parent.name, path.name
            if HEX_LENGTHS.get(function) == len(hash_) and HEX.issuperset(hash_):
                yield path, Digest(hash_, path.stat().st_size, function)
            elif path.suffix != ".part":  # of an export that was cut short
                yield path, None

    async def read(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
            try:
                while piece := await trio.to_thread.run_sync(os.read, descriptor, PIECE):
                    yield piece
            finally:
                os.close(descriptor)
        except OSError as error:
            raise BuilderError(f"{self.path(digest)}: {error.strerror}") from error

    async def write(self, digest: Digest, pieces: AsyncIterable[bytes]) -> None:
        """Verified; it appears whole or not at all."""
        path = self.path(digest)
        aside = path.with_name(f"{path.name}.part")
        state = hasher(digest.function, digest.size_bytes)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            try:
                async for piece in pieces:
                    state.update(piece)
                    await trio.to_thread.run_sync(write_all, descriptor, piece)
            finally:
                os.close(descriptor)
            if state.hexdigest() != digest.hash:
                raise BuilderError(f"what came for {digest} is not it; try again")
            os.rename(aside, path)
        except OSError as error:
            raise BuilderError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            remove(str(aside))


async def export(
    blobs: BlobStore, digests: Iterable[Digest], folder: BlobFolder, progress: Progress
) -> None:
    """Copy these from a store into a directory. Raises NotFoundError for one that is absent."""
    every = list(dict.fromkeys(digests))
    progress.blobs = len(every)

    async def one(digest: Digest) -> None:
        is_here = folder.has(digest)
        if not is_here:
            async with aclosing(blobs.read(digest)) as pieces:
                await folder.write(digest, pieces)
        progress.step(digest, not is_here)

    await each(one, every, AT_ONCE)


async def import_(
    folder: BlobFolder, blobs: BlobStore, progress: Progress, complain: Callable[[str], object]
) -> None:
    """Copy what a directory has, and the store has not, into the store."""
    every: list[Digest] = []
    for path, digest in folder.names():
        if digest is None:
            progress.wrong += 1
            complain(f"{path} is not named by a hash: left out")
        else:
            every.append(digest)
    progress.blobs = len(every)
    for start in range(0, len(every), ASKED_AT_ONCE):
        group = every[start : start + ASKED_AT_ONCE]
        missing = set(await blobs.find_missing(group))

        async def one(digest: Digest, missing: set[Digest] = missing) -> None:
            if digest in missing:
                try:
                    async with aclosing(folder.read(digest)) as pieces:
                        await blobs.write(digest, pieces)
                except InvalidArgumentError:
                    progress.wrong += 1
                    complain(f"{folder.path(digest)} does not have the hash in its name: left out")
                    return
            progress.step(digest, digest in missing)

        await each(one, group, AT_ONCE)
