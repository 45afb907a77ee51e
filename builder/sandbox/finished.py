"""A finished action whose work tree is open: what all of them have in common."""

import os
from types import TracebackType
from typing import Self

from builder.sandbox.interface import Exit


class OpenTree:
    """See `interface.Finished`. `root_fd` is closed with it, and then `release` is called."""

    def __init__(self, done: Exit, root_fd: int) -> None:
        self._exit, self._root_fd = done, root_fd

    @property
    def exit(self) -> Exit:
        return self._exit

    @property
    def root_fd(self) -> int:
        return self._root_fd

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1
        await self.release()

    async def release(self) -> None:
        """What else goes with it; nothing where the worker removes it all."""
