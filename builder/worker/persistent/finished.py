"""Actions that a program has served, or was to serve (`sandbox.interface.Finished`)."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

import trio

from builder.host.removal import remove_tree
from builder.sandbox.finished import OpenTree
from builder.sandbox.interface import Exit, Finished, Served

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def nobody() -> None:
    """There is nobody to be told."""


class Taken(OpenTree):
    """Its files were taken out of the program's sight, to `path`; `let_go` tells that nobody
    needs them any more."""

    def __init__(self, done: Exit, path: str, let_go: Callable[[], None] = nobody) -> None:
        super().__init__(done, os.open(path, DIRECTORY))
        self._path, self._let_go = path, let_go

    async def release(self) -> None:
        try:
            await self.remove(self._path)
        finally:
            self._let_go()

    @staticmethod
    async def remove(path: str) -> None:
        """A program may still write to a directory of it: what does not go now goes with the
        program's place."""
        with trio.CancelScope(shield=True), suppress(OSError):
            await trio.to_thread.run_sync(remove_tree, path)


class FellBack:
    """An action that ran by itself, though a program was to serve it."""

    def __init__(self, inner: Finished, served: Served) -> None:
        self._inner, self._served = inner, served

    @property
    def exit(self) -> Exit:
        return replace(self._inner.exit, served=self._served)

    @property
    def root_fd(self) -> int:
        return self._inner.root_fd

    async def __aenter__(self) -> "FellBack":
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._inner.__aexit__(kind, value, traceback)


def write_streams(scratch: str, output: bytes) -> tuple[str, str]:
    """A response has one text, for people: that is stderr, as Bazel shows it."""
    stdout, stderr = (os.path.join(scratch, name) for name in ("stdout", "stderr"))
    for path, data in ((stdout, b""), (stderr, output)):
        with open(path, "xb") as file:
            file.write(data)
    return stdout, stderr
