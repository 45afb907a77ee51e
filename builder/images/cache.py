"""Unpacked layers on disk, by chain id: shared by processes, bounded, kept while they are used.

    records/CHAIN      who uses it, and where it is (see `records`)
    layers/NAME        its files; a new name for each unpacking, so that a root that still shows
                       a layer which has gone never shows half of its successor
    documents/DIGEST   manifests and configurations
    incoming/NAME      what one process is working at; what has no process is swept away

A chain id is a layer's digest together with those of all below it, because what a layer unpacks to
depends on them. When there is too much, layers that nobody uses go, the longest unused first; what
is in use stays, so the bound may be passed while it is.

Source: OCI image specification, "Layer ChainID".
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from builder.images.errors import ImageError
from builder.images.records import Record, Records, Tree
from builder.images.verify import checked

LOOK_AGAIN_S = 0.02
MOST_DOCUMENTS = 2000
PARTS = ("records", "layers", "documents", "incoming")


def chain_ids(diff_ids: tuple[str, ...]) -> list[str]:
    """The chain id of each layer, the lowest first; hex digits alone."""
    chain, found = "", list[str]()
    for diff_id in diff_ids:
        told = f"{chain} {diff_id}" if chain else diff_id
        chain = f"sha256:{hashlib.sha256(told.encode()).hexdigest()}" if chain else diff_id
        found.append(chain.replace(":", "-"))
    return found


class Layer:
    """An unpacked one, there until it is let go of."""

    def __init__(self, path: str, record: Record) -> None:
        self.path, self._record = path, record

    def let_go(self) -> None:
        self._record.close()


class LayerCache:
    """`directory` may be shared; `max_bytes` is what all of its layers may take."""

    def __init__(self, directory: str, max_bytes: int) -> None:
        self.directory, self._max_bytes = os.path.abspath(directory), max_bytes
        for part in PARTS:
            os.makedirs(os.path.join(self.directory, part), 0o700, exist_ok=True)
        os.chmod(self.directory, 0o700)
        self._records = Records(self._at("records"))
        self._sweep_incoming()
        self._own, self._life = self._own_place()
        self._sweep_layers()

    def _own_place(self) -> tuple[str, int]:
        """A directory that is locked while this process lives."""
        while True:
            path = tempfile.mkdtemp(dir=self._at("incoming"))
            with suppress(OSError):  # it may be swept before it has its lock
                life = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.path.samestat(os.stat(path), os.fstat(life)):
                        return path, life
                except OSError:
                    os.close(life)
                    raise

    def close(self) -> None:
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._life)

    def new_place(self) -> str:
        """An empty directory to work in, on the same disk; it may be left for `close`."""
        return tempfile.mkdtemp(dir=self._own)

    @property
    def size_bytes(self) -> int:
        """What all layers take, about."""
        trees = [record.tree for _, record in self._records.all()]
        return sum(tree.size_bytes for tree in trees if tree is not None)

    @property
    def is_over(self) -> bool:
        return self.size_bytes > self._max_bytes

    async def hold(self, chain: str) -> Layer | None:
        """An unpacked layer, kept until it is let go of; None where there is none."""
        record = self._records.open(chain)
        try:
            await _locked(record, alone=False)
            tree = record.tree
            if tree is not None:
                record.touch()
                return Layer(self._tree(tree), record)
        except BaseException:
            record.close()
            raise
        record.close()
        return None

    def has(self, chain: str) -> bool:
        """Whether it is unpacked; it may be gone a moment later."""
        record = self._records.open(chain)
        try:
            return record.tree is not None
        finally:
            record.close()

    @asynccontextmanager
    async def making(self, chain: str) -> AsyncIterator["Making"]:
        """For one at a time, of all processes."""
        record = self._records.open(chain)
        try:
            await _locked(record, alone=True)
            yield Making(self, chain, record)
        finally:
            record.close()

    async def trim(self) -> None:
        """Remove what is too much, of what nobody uses."""
        await trio.to_thread.run_sync(self._trim)

    def document(self, digest: str) -> bytes | None:
        """A manifest or configuration that was kept."""
        with suppress(FileNotFoundError, ImageError), open(self._document(digest), "rb") as file:
            return checked(file.read(), digest, digest)
        return None

    def keep_document(self, digest: str, data: bytes) -> None:
        place = self.new_place()
        with open(os.path.join(place, "new"), "wb") as file:
            file.write(data)
        os.rename(file.name, self._document(digest))
        os.rmdir(place)
        names = os.listdir(self._at("documents"))
        if len(names) > MOST_DOCUMENTS:
            oldest = sorted(names, key=self._document_time)[: MOST_DOCUMENTS // 4]
            for name in oldest:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._at("documents"), name))

    def publish(self, made: str, chain: str, size_bytes: int) -> Tree:
        """Give a directory its lasting place."""
        name = f"{chain.partition('-')[2][:12]}-{os.urandom(5).hex()}"
        tree = Tree(name, size_bytes)
        os.rename(made, self._tree(tree))
        return tree

    def _trim(self) -> None:
        kept = self.size_bytes
        if kept <= self._max_bytes:
            return
        for chain in self._by_use():
            record = self._records.open(chain)
            try:
                tree = record.tree if record.lock(alone=True) else None
                if tree is not None:
                    record.write(None)
                    self._remove(tree)
                    kept -= tree.size_bytes
            finally:
                record.close()
            if kept <= self._max_bytes:
                return

    def _by_use(self) -> list[str]:
        """The longest unused first."""
        used = [(record.used, chain) for chain, record in self._records.all() if record.tree]
        return [chain for _, chain in sorted(used)]

    def _remove(self, tree: Tree) -> None:
        gone = os.path.join(self.new_place(), "gone")
        os.rename(self._tree(tree), gone)
        shutil.rmtree(gone)

    def _sweep_incoming(self) -> None:
        """What processes that have ended were working at."""
        for name in os.listdir(self._at("incoming")):
            path = os.path.join(self._at("incoming"), name)
            with suppress(OSError):
                life = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
                finally:
                    os.close(life)

    def _sweep_layers(self) -> None:
        """Those of other boots, and those that nobody came to write down."""
        named = {tree.name for _, record in self._records.all() if (tree := record.tree)}
        for name in set(os.listdir(self._at("layers"))) - named:
            self._remove_unnamed(name)

    def _remove_unnamed(self, name: str) -> None:
        for chain, record in self._records.all():
            if chain.partition("-")[2].startswith(name.partition("-")[0]):
                if not record.lock(alone=True):
                    return  # somebody may be about to write it down
                if record.tree is not None and record.tree.name == name:
                    return
        with suppress(FileNotFoundError):
            self._remove(Tree(name, 0))

    def _document_time(self, name: str) -> float:
        try:
            return os.stat(os.path.join(self._at("documents"), name)).st_mtime
        except FileNotFoundError:
            return 0.0

    def _document(self, digest: str) -> str:
        return os.path.join(self._at("documents"), digest.replace(":", "-"))

    def _tree(self, tree: Tree) -> str:
        return os.path.join(self._at("layers"), tree.name)

    def _at(self, part: str) -> str:
        return os.path.join(self.directory, part)


class Making:
    """A layer that this process alone works at."""

    def __init__(self, cache: LayerCache, chain: str, record: Record) -> None:
        self._cache, self._chain, self._record = cache, chain, record

    @property
    def is_done(self) -> bool:
        """Somebody else was first."""
        return self._record.tree is not None

    def done(self, made: str, size_bytes: int) -> None:
        """`made` is the directory with its files."""
        self._record.write(self._cache.publish(made, self._chain, size_bytes))


class Holding:
    """The layers of one image that are held so far, the lowest first."""

    def __init__(self, cache: LayerCache) -> None:
        self._cache = cache
        self._layers: list[Layer] = []

    @property
    def paths(self) -> list[str]:
        return [layer.path for layer in self._layers]

    async def take(self, chain: str) -> bool:
        """Whether it is there, and held from now on."""
        layer = await self._cache.hold(chain)
        if layer is not None:
            self._layers.append(layer)
        return layer is not None

    def let_go(self) -> None:
        while self._layers:
            self._layers.pop().let_go()


async def _locked(record: Record, *, alone: bool) -> None:
    while not record.lock(alone=alone):  # noqa: ASYNC110 - a lock gives no sign of being free
        await trio.sleep(LOOK_AGAIN_S)
