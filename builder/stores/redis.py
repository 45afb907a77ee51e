"""Small blobs and records in Redis or Valkey, shared by several coordinators.

Redis keeps no leases: what it evicts (`maxmemory-policy`), it evicts. So it is a near tier that is
not asked what is present, or a far one whose blobs are brought near first; see `stores.tiered`.
Calls of the same moment are joined: a look-up is one round trip however many ask.

Its bytes are believed as they come; `stores.verifying` stands around this.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from coredis import Redis
from coredis.exceptions import RedisError
from coredis.retry import NoRetryPolicy

from builder.base.digest import Digest, is_empty
from builder.base.errors import (
    ResourceExhaustedError,
    StatusError,
    UnavailableError,
    UsageError,
)
from builder.base.units import format_size
from builder.stores.coalesce import Coalescer
from builder.stores.copying import cut, joined
from builder.stores.failure import TooLargeError
from builder.stores.interface import PIECE
from builder.stores.memory import absent, check_bytes, check_range
from builder.stores.redis_pool import Pool
from builder.stores.sealing import sealed, unsealed

KEYS_PER_CALL = 1000
BYTES_PER_CALL = 4 * 1024 * 1024
SCHEMES = ("redis://", "rediss://", "unix://")

Client = Redis[bytes]


@asynccontextmanager
async def connected(url: str, timeout_s: float) -> AsyncIterator[Client]:
    """A client of `redis://host:port/db`, `rediss://...` or `unix:///socket`. Nothing is dialled
    before the first call. Raises UsageError for another URL."""
    if not url.startswith(SCHEMES):
        raise UsageError(f"Redis is reached by {' or '.join(SCHEMES)}..., not by {url[:20]!r}")
    try:
        pool = Pool.from_url(url, connect_timeout=timeout_s, stream_timeout=timeout_s)
        client: Client = Redis(
            connection_pool=pool, verify_version=False, retry_policy=NoRetryPolicy()
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"{url.partition('@')[2] or url}: {error}") from None
    async with client:
        yield client


@asynccontextmanager
async def _converted() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        if "OOM" in str(error):
            raise ResourceExhaustedError(f"Redis is full: {error}") from error
        raise UnavailableError(f"Redis: {error}") from error


class RedisBlobs:
    """Blobs of at most `largest` bytes under `prefix`; unused for `expire_s` seconds they go."""

    def __init__(self, client: Client, prefix: str, largest: int, expire_s: int = 0) -> None:
        self._client = client
        self._prefix = f"{prefix}cas:"
        self._largest = largest
        self._expire_s = expire_s or None
        self._gets: Coalescer[Digest, bytes] = Coalescer(
            self._get, lambda digest: digest.size_bytes + 100, BYTES_PER_CALL
        )

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        asked = [digest for digest in dict.fromkeys(digests) if not is_empty(digest)]
        missing: list[Digest] = []
        for start in range(0, len(asked), KEYS_PER_CALL):
            some = asked[start : start + KEYS_PER_CALL]
            sizes = await self._sizes([self._key(digest) for digest in some])
            missing += [d for d, n in zip(some, sizes, strict=True) if not 0 < n == d.size_bytes]
        return missing

    async def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        data = await self.get(digest)
        check_range(digest, offset)
        data = cut(data, offset, limit)
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        self._check_size(digest)
        await self.put(digest, await joined(chunks, digest))

    async def get(self, digest: Digest) -> bytes:
        return b"" if is_empty(digest) else await self._gets.ask(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        self._check_size(digest)
        check_bytes(digest, data)
        if not is_empty(digest):
            async with _converted():
                await self._client.set(self._key(digest), data, ex=self._expire_s)

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here."""
        [size] = await self._sizes([f"{self._prefix}{function}:{hash_}"])
        return size or None

    def _key(self, digest: Digest) -> str:
        return f"{self._prefix}{digest.function}:{digest.hash}"

    def _check_size(self, digest: Digest) -> None:
        if digest.size_bytes > self._largest:
            raise TooLargeError(
                f"a blob of {format_size(digest.size_bytes)} is larger than the whole store takes "
                f"of one: {format_size(self._largest)}"
            )

    async def _sizes(self, keys: Sequence[str]) -> list[int]:
        """Sizes in bytes, 0 for what is not there; what is there begins to expire anew."""
        async with _converted():
            async with self._client.pipeline(transaction=False) as pipe:
                sizes = [pipe.strlen(key) for key in keys]
                if self._expire_s is not None:
                    for key in keys:
                        pipe.expire(key, self._expire_s)
            return [await size for size in sizes]

    async def _get(self, digests: Sequence[Digest]) -> list[bytes | StatusError]:
        async with _converted():
            found = await self._client.mget([self._key(digest) for digest in digests])
        return [
            data if data is not None and len(data) == digest.size_bytes else absent(digest)
            for digest, data in zip(digests, found, strict=True)
        ]


class RedisRecords:
    """Records under `prefix`, kept for `expire_s` seconds after the last use, or for ever."""

    def __init__(self, client: Client, prefix: str, expire_s: int = 0) -> None:
        self._client = client
        self._prefix = prefix
        self._expire_s = expire_s or None

    async def get(self, space: str, hash_: str) -> bytes | None:
        key = self._key(space, hash_)
        async with _converted():
            if self._expire_s is None:
                stored = await self._client.get(key)
            else:
                stored = await self._client.getex(key, ex=self._expire_s)
        return None if stored is None else unsealed(stored, key)

    async def put(self, space: str, hash_: str, data: bytes) -> None:
        key = self._key(space, hash_)
        async with _converted():
            await self._client.set(key, sealed(data, key), ex=self._expire_s)

    def _key(self, space: str, hash_: str) -> str:
        return f"{self._prefix}{space}:{hash_}"
