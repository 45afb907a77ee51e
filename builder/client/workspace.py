"""The project's directory as a build uses it: files in, outputs back."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import trio

from builder.action.result import Outputs
from builder.action.tree import Entry, File
from builder.base.digest import Digest
from builder.client.filestate import FileStates
from builder.client.history import History
from builder.client.land import Lander
from builder.client.receipt import Away, Receipt, Said, started_ns, write
from builder.client.scan import Made, Scanner
from builder.client.state import StateDirectory
from builder.client.tools import Tools
from builder.client.walk import Walker
from builder.project.graph import Graph
from builder.project.model import Target
from builder.stores.interface import BlobStore


class Workspace:
    """One per build. Looking at files happens in a thread, one target at a time. `walker`: what
    has found the files of a foreach."""

    def __init__(
        self, root: Path, graph: Graph, function: str = "sha256", walker: Walker | None = None
    ) -> None:
        self.root = root
        self.state = StateDirectory(root)
        self.history = History(self.state.history)
        cancelled = trio.from_thread.check_cancelled  # Ctrl-C need not wait for a large file
        self._files = FileStates(root, self.state.files, function, cancelled)
        self._lock = trio.Lock()
        self._tools = Tools(self.state.path / "tools.json")
        self._scanner = Scanner(graph, walker or Walker(root), self._files)
        self._lander = Lander(root, self.state, self._files, self._lock)

    def check(self, targets: Iterable[Target]) -> None:
        """Raises UsageError for inputs that are not there, before anything is built."""
        for target in targets:
            self._scanner.check(target)

    async def inputs(self, target: Target, made: Made) -> dict[str, Entry]:
        """Raises UsageError with its place in the Builderfile."""
        async with self._lock:
            return await trio.to_thread.run_sync(self._scanner.inputs, target, made)

    async def tools(self, target: Target) -> dict[str, str]:
        """As `Tools.identities`."""
        if not target.tools:
            return {}
        async with self._lock:
            return await trio.to_thread.run_sync(self._tools.identities, target)

    def has(self, path: str) -> bool:
        """Whether this path of the project is there."""
        return os.path.lexists(self.root / path)

    def has_file(self, path: str) -> bool:
        return os.path.isfile(self.root / path)

    def paths(self, entries: Mapping[str, Entry]) -> dict[Digest, Path]:
        """Where each file's bytes can be read."""
        return {
            entry.digest: self.root / path
            for path, entry in entries.items()
            if isinstance(entry, File)
        }

    async def land(
        self,
        outputs: Outputs,
        blobs: BlobStore,
        inline: Mapping[Digest, bytes],
        listed: Iterable[str] = (),
    ) -> int:
        """Bytes fetched. Raises as `Lander.land` does."""
        return await self._lander.land(outputs, blobs, inline, listed)

    def save(self) -> None:
        self._files.save()
        self.history.save()
        self._tools.save()

    def receipt(
        self,
        command: tuple[list[str], str],
        started: float,
        elsewhere: Iterable[str],
        made: Iterable[Mapping[str, Entry]],
        said: list[Said],
        away: Away = None,
    ) -> bool:
        """Keep a receipt of this build, for `noop`; whether all of it was certain.

        `command`: its arguments and the Builderfile's name; `started`: time.monotonic() of its
        start; `elsewhere`: other files that were read, by absolute path.
        """
        if self._tools.asked:
            return False
        receipt = Receipt(str(self.root), self._files, started_ns(started))
        seen = self._scanner.looked()
        looked = replace(
            seen,
            absent=(*seen.absent, *self._tools.absent),
            elsewhere=(*elsewhere, *self._tools.read),
        )
        return write(self.state.path, command, receipt, looked, made, said, away)
