"""Outputs into the project: fetched whole beside it, then moved into place.

Nothing of an output is seen at its path before all outputs of the target are here and verified.
Moving is renaming, without a point at which it could be interrupted between two of them. What is
in place already, with the same bytes, is left alone.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

import trio

from builder.action.result import Outputs
from builder.action.tree import Entry, File, Folder, Link
from builder.base.digest import Digest, hasher, is_empty
from builder.base.errors import BuilderError, DataLossError
from builder.client.filestate import FileStates
from builder.client.state import StateDirectory
from builder.net.together import each
from builder.stores.interface import BlobStore

SMALL_BYTES = 256 * 1024


class Lander:
    """`lock` guards `files`, which a scan may be using in another thread."""

    def __init__(
        self, root: Path, state: StateDirectory, files: FileStates, lock: trio.Lock
    ) -> None:
        self._lock = lock
        self._root = root
        self._state = state
        self._made = state.made()
        self._files = files

    async def land(
        self,
        outputs: Outputs,
        blobs: BlobStore,
        inline: Mapping[Digest, bytes] | None = None,
        listed: Iterable[str] = (),
    ) -> int:
        """The number of bytes that were fetched. `listed` are files that only a glob names, and
        that are remembered as ours.

        Raises NotFoundError when the storage has lost a blob, DataLossError for wrong bytes,
        BuilderError when the project cannot take them.
        """
        async with self._lock:
            wanted = await trio.to_thread.run_sync(self._wanted, outputs)
        for path in wanted:
            self._check_ours(path)
        self._remember(outputs, listed)
        if not wanted:
            return 0
        try:
            with self._state.staging() as staging:
                new, old = staging / "new", staging / "old"
                fetched = await self._fetch(new, wanted, outputs.entries, blobs, inline or {})
                async with self._lock:
                    for path in wanted:  # no checkpoint here, so no cancellation either
                        self._move(new, old, path)
                    self._record(wanted, outputs.entries)
        except OSError as error:
            raise BuilderError(
                f"cannot write output {error.filename or ''}: {error.strerror}"
            ) from error
        return fetched

    def _wanted(self, outputs: Outputs) -> list[str]:
        return [path for path in outputs.roots if not self._in_place(path, outputs.entries)]

    def _in_place(self, root: str, entries: Mapping[str, Entry]) -> bool:
        """Whether exactly this stands there already."""
        within = _within(root, entries)
        if isinstance(entries[root], Folder) and self._listing(root) != within.keys():
            return False
        return all(self._is(path, entry) for path, entry in within.items())

    def _is(self, path: str, entry: Entry) -> bool:
        full = self._root / path
        try:
            match entry:
                case File():
                    return not full.is_symlink() and self._files.file(path) == entry
                case Link(target):
                    return full.is_symlink() and os.readlink(full) == target
                case Folder():
                    return full.is_dir() and not full.is_symlink()
        except OSError:
            return False

    def _listing(self, root: str) -> set[str]:
        found = {root}
        for directory, folders, files in os.walk(self._root / root):
            prefix = os.path.relpath(directory, self._root)
            found.update(f"{prefix}/{name}" for name in (*folders, *files))
        return found

    async def _fetch(
        self,
        staging: Path,
        wanted: list[str],
        entries: Mapping[str, Entry],
        blobs: BlobStore,
        inline: Mapping[Digest, bytes],
    ) -> int:
        files: list[tuple[Path, File]] = []
        for root in wanted:
            for path, entry in sorted(_within(root, entries).items()):
                place = staging / path
                place.parent.mkdir(parents=True, exist_ok=True)
                match entry:
                    case File():
                        files.append((place, entry))
                    case Link(target):
                        place.symlink_to(target)
                    case Folder():
                        place.mkdir(exist_ok=True)

        async def fetch(item: tuple[Path, File]) -> None:
            place, file = item
            await _write(place, file, blobs, inline.get(file.digest))

        await each(fetch, files)
        return sum(file.digest.size_bytes for _, file in files)

    def _check_ours(self, path: str) -> None:
        """Raises BuilderError for a directory that may hold somebody's sources."""
        place = self._root / path
        if place.is_symlink() or not place.is_dir() or path in self._made:
            return
        if any(place.iterdir()):
            raise BuilderError(
                f"output {path!r} would replace a directory that no build has made; "
                "move it away or remove it, then build again"
            )

    def _remember(self, outputs: Outputs, listed: Iterable[str]) -> None:
        made = {p for p, entry in outputs.roots.items() if isinstance(entry, Folder)} | {*listed}
        if not made <= self._made:
            self._made |= made
            self._state.save_made(self._made)

    def _move(self, staged: Path, old: Path, path: str) -> None:
        """Replace what is there, whatever it is; the old one goes with the staging directory."""
        place, new, aside = self._root / path, staged / path, old / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            aside.parent.mkdir(parents=True, exist_ok=True)
            _rename(place, aside)
        elif os.path.lexists(place) and new.is_dir() and not new.is_symlink():
            place.unlink()
        _rename(new, place)

    def _record(self, wanted: list[str], entries: Mapping[str, Entry]) -> None:
        for root in wanted:
            for path, entry in _within(root, entries).items():
                if isinstance(entry, File):
                    self._files.record(path, entry.digest)


def _within(root: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    if not isinstance(entries[root], Folder):
        return {root: entries[root]}
    prefix = root + "/"
    return {path: e for path, e in entries.items() if path == root or path.startswith(prefix)}


async def _write(place: Path, file: File, blobs: BlobStore, inline: bytes | None) -> None:
    digest = file.digest
    state = hasher(digest.function, digest.size_bytes)
    mode = 0o777 if file.executable else 0o666  # as the umask leaves it
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        if inline is not None or digest.size_bytes <= SMALL_BYTES:
            data = await _whole(digest, blobs) if inline is None else inline
            state.update(data)
            _write_all(descriptor, data)
        else:
            async with aclosing(blobs.read(digest)) as pieces:
                async for piece in pieces:
                    state.update(piece)
                    await trio.to_thread.run_sync(_write_all, descriptor, piece)
    finally:
        os.close(descriptor)
    if state.hexdigest() != digest.hash:
        raise DataLossError(f"the storage gave other bytes than {digest} names")


async def _whole(digest: Digest, blobs: BlobStore) -> bytes:
    return b"" if is_empty(digest) else await blobs.get(digest)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _rename(source: Path, target: Path) -> None:
    """A rename, or across two disks a copy beside the target and then a rename."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = target.with_name(f".{target.name}.{os.getpid()}.builder")
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, beside, symlinks=True)
            os.rename(beside, target)
            shutil.rmtree(source)
        else:
            shutil.copy2(source, beside, follow_symlinks=False)
            os.rename(beside, target)
            os.unlink(source)
