"""Write-back: what was written near goes far a little later, whoever has to wait for it not.

Theory of operation. A name waits in the backlog until its copy is far. While the far tier is
down the near copies are asked for again and again, which renews their leases; so what waits is
not evicted, and a near tier that fills up refuses writes rather than losing them. When the
backlog is full, a write either goes through at once (nothing is ever lost), or, with `drop`,
stays near alone. `dropped` counts those, and what is too large for the far tier; `lost` counts
what was gone near before it could be copied, or what no far tier takes. A backlog in memory is
lost with the process; the near copies are not.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Literal

import trio

from builder.base.digest import Digest
from builder.base.errors import NotFoundError, StatusError
from builder.stores.backlog import Backlog
from builder.stores.copying import copy
from builder.stores.failure import NOT_TAKEN, TooLargeError
from builder.stores.interface import BlobStore
from builder.stores.records import Records

AT_ONCE = 64  # names
RETRY_S = 5.0
FINISH_S = 5.0  # to bring what waits in memory before the end

WhenFull = Literal["through", "drop"]


class WriteBack:
    """`carry(name)` brings one; what a failed or full store refused is tried again.

    `renew(names)` keeps the near copies alive.
    """

    def __init__(
        self,
        backlog: Backlog,
        most: int,
        when_full: WhenFull,
        carry: Callable[[str], Awaitable[None]],
        renew: Callable[[Sequence[str]], Awaitable[object]],
        retry_s: float = RETRY_S,
    ) -> None:
        self._backlog = backlog
        self._most = most
        self._when_full = when_full
        self._carry = carry
        self._renew = renew
        self._retry_s = retry_s
        self._added = trio.Event()
        self._empty = trio.Event()
        self.lost = 0
        self.dropped = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._backlog)

    async def add(self, name: str) -> None:
        """Bring it soon; at once when too many wait. Raises as `carry` does then."""
        if len(self._backlog) < self._most:
            self._backlog.add(name)
            self._added.set()
        elif self._when_full == "through":
            await self._carry(name)
        else:
            self.dropped += 1
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Bring what waits, for ever."""
        while True:
            if not len(self._backlog):
                self._empty.set()
                self._empty = trio.Event()
                self._added = trio.Event()
                await self._added.wait()
            if not await self.bring(self._backlog.first(AT_ONCE)):
                with suppress(StatusError):
                    await self._renew(list(self._backlog))
                await trio.sleep(self._retry_s)

    async def bring(self, names: Sequence[str]) -> bool:
        """Whether some of these are done with; the others are tried again after all that wait."""
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._bring, name)
        return any(name not in self._backlog for name in names)

    async def empty(self) -> None:
        """Wait until nothing waits."""
        while len(self._backlog):
            await self._empty.wait()

    async def finish(self) -> None:
        """Before the end: what waits in a file can wait there, what does not gets a moment."""
        with trio.move_on_after(FINISH_S, shield=True):
            while names := self._backlog.first(AT_ONCE):
                if not await self.bring(names):
                    return

    async def _bring(self, name: str) -> None:
        try:
            await self._carry(name)
        except TooLargeError:
            self.dropped += 1
        except NOT_TAKEN:
            self._backlog.postpone(name)
            return
        except StatusError:  # gone near, or such that no far tier will ever take it
            self.lost += 1
        self._backlog.done(name)


class BackBlobs:
    """Blobs, by `str(digest)`, for a WriteBack from `near` to `far`."""

    def __init__(self, near: BlobStore, far: BlobStore) -> None:
        self._near = near
        self._far = far

    async def carry(self, name: str) -> None:
        await copy(self._near, self._far, _digest(name))

    async def renew(self, names: Sequence[str]) -> None:
        await self._near.find_missing(map(_digest, names))


class BackRecords:
    """Names of records for a WriteBack from `near` to `far`. Records have no leases."""

    def __init__(self, near: Records, far: Records) -> None:
        self._near = near
        self._far = far

    async def carry(self, name: str) -> None:
        space, hash_ = json.loads(name)
        data = await self._near.get(space, hash_)
        if data is None:
            raise NotFoundError(f"record {hash_} was evicted before it was copied")
        await self._far.put(space, hash_, data)

    async def renew(self, _names: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()


def record_name(space: str, hash_: str) -> str:
    return json.dumps([space, hash_])


def _digest(name: str) -> Digest:
    function, _, rest = name.partition(":")
    hash_, _, size = rest.partition("/")
    return Digest(hash_, int(size), function)
