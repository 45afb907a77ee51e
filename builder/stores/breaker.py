"""A tier that fails is left alone until it is well again, so that nobody waits for it.

    WELL --a call fails--> DOWN --a probe succeeds--> WELL

While it is down every call fails at once with UNAVAILABLE, and whoever composed it goes on
without it. `keep` probes it: at the start, now and then, and after a failure with growing pauses.
"""

import random
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager

import trio

from builder.base.backoff import Backoff
from builder.base.digest import Digest
from builder.base.errors import NotFoundError, StatusError, UnavailableError
from builder.stores.copying import Chunks
from builder.stores.failure import FAILED, size_in
from builder.stores.frames import Writing, is_packed, read_packed, write_packed, write_plain
from builder.stores.interface import BlobStore
from builder.stores.records import Records

LONGEST_PAUSE_S = 15.0
LOOK_S = 15.0  # between probes of a tier that is well
PROBE_S = 10.0  # a probe that takes longer has failed


class Breaker:
    """The state of the tier `name`. Small calls may take `timeout_s` seconds each."""

    def __init__(self, name: str, timeout_s: float = 30.0, first_pause_s: float = 1.0) -> None:
        self.name = name
        self.why = ""  # it is down; empty while it is well
        self.failures = 0
        self._timeout_s = timeout_s
        self._backoff = Backoff(first_pause_s, LONGEST_PAUSE_S)
        self._failed = trio.Event()

    @contextmanager
    def call(self, innocent: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Around a call; `innocent` says that what it raised was not the tier's fault.

        Raises UnavailableError at once while the tier is down.
        """
        if self.why:
            raise UnavailableError(f"storage tier {self.name} is down: {self.why}")
        try:
            yield
        except FAILED as error:
            if not innocent():
                self._down(error.message)
            raise

    @contextmanager
    def timed(self) -> Iterator[None]:
        """As `call`, for what has to be done within the timeout."""
        with self.call():
            try:
                with trio.fail_after(self._timeout_s):
                    yield
            except trio.TooSlowError:
                raise UnavailableError(f"no answer within {self._timeout_s:g} s") from None

    async def keep(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Probe now and after failures, for ever."""
        while True:
            failed = 0
            while not await self._probed(probe):
                failed += 1
                await trio.sleep(self._backoff.delay(failed, random.random))
            self.why = ""
            self._failed = trio.Event()
            with trio.move_on_after(LOOK_S):  # it may be down without anybody having asked it
                await self._failed.wait()

    async def _probed(self, probe: Callable[[], Awaitable[object]]) -> bool:
        """Whether it is well, and no call has failed since we began to ask."""
        before = self.failures
        try:
            with trio.fail_after(PROBE_S):
                await probe()
        except NotFoundError:  # an answer
            pass
        except (StatusError, trio.TooSlowError) as error:
            self._down(str(error) or f"no answer within {PROBE_S:g} s")
        return self.failures == before

    def _down(self, why: str) -> None:
        self.failures += 1
        self.why = why or "it failed"
        self._failed.set()


class GuardedBlobs:
    """`store` behind a breaker."""

    def __init__(self, store: BlobStore, breaker: Breaker) -> None:
        self._store = store
        self._breaker = breaker

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        with self._breaker.timed():
            return await self._store.find_missing(digests)

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        return self._read(self._store.read(digest, offset, limit))

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        await self._write(digest, chunks, write_plain)

    async def is_packed(self, digest: Digest) -> bool:
        with self._breaker.timed():
            return await is_packed(self._store, digest)

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        return self._read(read_packed(self._store, digest))

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        await self._write(digest, frames, write_packed)

    async def get(self, digest: Digest) -> bytes:
        with self._breaker.timed():
            return await self._store.get(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        with self._breaker.timed():
            await self._store.put(digest, data)

    async def size_of(self, function: str, hash_: str) -> int | None:
        with self._breaker.timed():
            return await size_in(self._store, function, hash_)

    async def _read(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            with self._breaker.call():  # no timeout: a scope may not be open where a piece is given
                async for piece in pieces:
                    yield piece

    async def _write(self, digest: Digest, chunks: AsyncIterable[bytes], write: Writing) -> None:
        source = Chunks(chunks)
        with self._breaker.call(lambda: source.failed):
            await write(self._store, digest, source)


class GuardedRecords:
    """`records` behind a breaker."""

    def __init__(self, records: Records, breaker: Breaker) -> None:
        self._records = records
        self._breaker = breaker

    async def get(self, space: str, hash_: str) -> bytes | None:
        with self._breaker.timed():
            return await self._records.get(space, hash_)

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        with self._breaker.timed():
            await self._records.put(space, hash_, data)
