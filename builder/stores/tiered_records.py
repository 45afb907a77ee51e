"""Records in a near store, filled from a far one, as `stores.tiered` does with blobs.

Nothing is promised of records, so a tier that fails is a miss, and no more than that.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from builder.base.errors import StatusError
from builder.stores.failure import FAILED, NOT_TAKEN
from builder.stores.records import Records

OnwardRecord = Callable[[str, str, bytes], Awaitable[None]]


class TieredRecords:
    """Records of `near`, then of `far`."""

    def __init__(
        self, near: Records, far: Records, onward: OnwardRecord, *, far_required: bool = False
    ) -> None:
        self._near = near
        self._far = far
        self._onward = onward
        self._far_required = far_required

    async def get(self, space: str, hash_: str) -> bytes | None:
        with suppress(*FAILED):
            data = await self._near.get(space, hash_)
            if data is not None:
                return data
        try:
            data = await self._far.get(space, hash_)
        except FAILED:
            if self._far_required:
                raise
            return None
        if data is not None:
            with suppress(StatusError):
                await self._near.put(space, hash_, data)
        return data

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        try:
            await self._near.put(space, hash_, data)
        except NOT_TAKEN:
            await self._far.put(space, hash_, data)
            return
        await self._onward(space, hash_, data)


class ThroughRecords:
    """As `stores.tiered.Through`."""

    def __init__(self, far: Records, *, required: bool = False) -> None:
        self._far = far
        self._required = required

    async def __call__(self, space: str, hash_: str, data: bytes) -> None:
        try:
            await self._far.put(space, hash_, data)
        except NOT_TAKEN:
            if self._required:
                raise
