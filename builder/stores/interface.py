"""What a blob store and an action cache are. Each way of storing is one module beside this one.

Both speak of things that are there or not there; policy (who may write, which instance) is the
services' business. `BlobStore` is the whole contract. `InlineStore`, `ResumableStore`,
`LocalPackedStore` and `SizedStore` are what a store on this machine can do besides; who uses them
asks by isinstance and does without. `PackedStore` is asked by `frames`, which does it for the
others.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from builder.base.digest import Digest
from builder.reapi.pb.remote_execution_pb2 import ActionResult

Buffer = bytes | bytearray | memoryview
PIECE = 1024 * 1024  # bytes of the largest piece that `read` yields


class Named(Protocol):
    """Hash and size: a Digest, or a REAPI Digest message as it came."""

    @property
    def hash(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


NamedT = TypeVar("NamedT", bound=Named)


class BlobStore(Protocol):
    """Blobs by digest. The empty blob is always present."""

    async def find_missing(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that are not here, each once, in the order of asking. Renews those that are."""
        ...

    def read(
        self, digest: Digest, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The blob's bytes from `offset`, at most `limit`, in pieces of at most 1 MiB.

        Raises NotFoundError before the first piece, OutOfRangeError beyond the end.
        Who may stop before the end wraps it in `contextlib.aclosing`.
        """
        ...

    async def write(self, digest: Digest, chunks: AsyncIterable[bytes]) -> None:
        """Store a blob; it is there, whole and verified, when this returns.

        Raises InvalidArgumentError when the bytes are not those that the digest names,
        ResourceExhaustedError when there is no room. Writing what is present is no error.
        A generator of chunks stays its caller's to close (`contextlib.aclosing`).
        """
        ...

    async def get(self, digest: Digest) -> bytes:
        """A small blob, whole. Raises NotFoundError."""
        ...

    async def put(self, digest: Digest, data: bytes) -> None:
        """`write` for a small blob in memory."""
        ...


@runtime_checkable
class InlineStore(Protocol):
    """What a store can answer at once, inside the receive loop, without a task."""

    def absent_nowait(self, function: str, digests: Sequence[NamedT]) -> list[NamedT] | None:
        """Those that are not here, each once, as they were given; None: ask `find_missing`.

        Renews those that are here. Digests need no check before: a malformed one is absent.
        """
        ...

    def get_nowait(self, digest: Digest) -> bytes | None:
        """The blob, or None when `get` has to be asked. Raises NotFoundError."""
        ...

    def put_nowait(self, digest: Digest, data: bytes) -> bool:
        """Whether it is stored now; False: `put` has to be asked. Raises as `put` does."""
        ...

    def stamp(self) -> int:
        """While this number is the same, whatever was renewed under it is still here."""
        ...


@runtime_checkable
class BulkStore(InlineStore, Protocol):
    """An inline store that can be asked for thousands of blobs at once."""

    def strange(
        self, function: str, keys: bytes, sizes: Callable[[], Sequence[int]], at_most: int
    ) -> list[bool] | None:
        """For each hash, of all that are joined in `keys`: whether no such blob is here.

        No size is above `at_most`; who needs the sizes calls for them. True is certain; what is
        not strange may still be absent. None: ask `absent_nowait`.
        """
        ...

    def renew_nowait(self, function: str, keys: bytes, sizes: Sequence[int]) -> list[bool] | None:
        """For each whether it is here, and then renewed. False, None: ask `absent_nowait`."""
        ...

    def get_many_nowait(
        self, function: str, keys: bytes, sizes: Sequence[int]
    ) -> list[bytes | None]:
        """For each the blob, or None: ask `get_nowait` for that one."""
        ...

    def put_many_nowait(self, function: str, keys: bytes, blobs: Sequence[bytes]) -> list[bool]:
        """For each whether it is stored now, verified; False: ask `put_nowait` for that one."""
        ...


class Upload(Protocol):
    """A write that its caller feeds; `offset` bytes have come so far."""

    @property
    def offset(self) -> int: ...

    async def append(self, *pieces: Buffer) -> None:
        """Raises InvalidArgumentError beyond the digest's size. They may not change later."""
        ...

    def append_nowait(self, pieces: Sequence[Buffer]) -> bool:
        """As `append`, if that takes no waiting; False: nothing was done."""
        ...

    async def commit(self) -> None:
        """The blob is there when this returns. Raises as `BlobStore.write`. Ends the upload."""
        ...

    def abort(self) -> None:
        """Forget what has come. After commit or abort it does nothing."""
        ...


@runtime_checkable
class ResumableStore(Protocol):
    """A store whose writes may pause, for uploads that are resumed by another call."""

    async def begin(self, digest: Digest) -> Upload:
        """Raises ResourceExhaustedError when there is no room for that many bytes."""
        ...


class PackedUpload(Upload, Protocol):
    """An upload that is fed with Zstandard frames of the blob; `offset` counts its plain bytes."""

    async def unpacked(self) -> Upload:
        """This one from `offset` on, of plain bytes, where frames were cut. Ends this one."""
        ...


@runtime_checkable
class PackedStore(Protocol):
    """A store that gives and takes blobs compressed, as Zstandard frames (RFC 8878), most often
    one, because it keeps them so or because a store below it does."""

    async def is_packed(self, digest: Digest) -> bool:
        """Whether `read_packed` would give the blob as it is kept, so that nobody compresses."""
        ...

    def read_packed(self, digest: Digest) -> AsyncGenerator[bytes, None]:
        """The whole blob as frames. As `BlobStore.read`."""
        ...

    async def write_packed(self, digest: Digest, frames: AsyncIterable[bytes]) -> None:
        """As `BlobStore.write`, of frames of the blob, which are kept as they are if that pays."""
        ...


@runtime_checkable
class LocalPackedStore(PackedStore, Protocol):
    """What such a store on this machine can do besides."""

    def get_packed_nowait(self, digest: Digest) -> bytes | None:
        """The blob's frames as they are stored; None: it lies here otherwise, if it does."""
        ...

    def put_packed_nowait(self, digest: Digest, frames: bytes) -> bool:
        """Whether the blob is stored now, verified; False: `write_packed` has to be asked."""
        ...

    async def begin_packed(self, digest: Digest) -> PackedUpload:
        """As `ResumableStore.begin`."""
        ...


@runtime_checkable
class SizedStore(Protocol):
    """A store that can tell a blob's size from its hash, for names that have no size."""

    async def size_of(self, function: str, hash_: str) -> int | None:
        """The size in bytes of a stored blob; None if it is not here, or if nobody can tell."""
        ...


class SizedBlobStore(BlobStore, SizedStore, Protocol):
    """What the services are given."""


class LocalStore(BlobStore, InlineStore, ResumableStore, LocalPackedStore, SizedStore, Protocol):
    """All that a store on this machine can do."""


class LocalBulkStore(LocalStore, BulkStore, Protocol):
    """The same of thousands of blobs at once."""


BlobsOf = Callable[[str], BlobStore]  # what an instance sees, by its name


class ActionCache(Protocol):
    """Results by action digest, per instance."""

    async def lookup(self, instance: str, action: Digest) -> ActionResult | None:
        """The result if it is here *and* every blob that it references is; renews all of them."""
        ...

    async def store(
        self, instance: str, action: Digest, result: ActionResult, metadata: bytes = b""
    ) -> None:
        """Keep a result; `metadata` is a serialized RequestMetadata of who asked for it.

        Raises FailedPreconditionError naming referenced blobs that are absent,
        InvalidArgumentError for a result that is not kept.
        """
        ...


@runtime_checkable
class InlineActionCache(Protocol):
    """An action cache that can often answer at once."""

    def peek(self, instance: str, action: Digest) -> bytes | None:
        """What `lookup` would give, serialized; None: not known without asking `lookup`."""
        ...

    def lacks(self, instance: str, action: Digest) -> bool:
        """Whether `lookup` would surely find nothing."""
        ...

    def store_nowait(
        self, instance: str, action: Digest, result: ActionResult, metadata: bytes = b""
    ) -> bool:
        """Whether it is kept now; False: `store` has to be asked. Raises as `store` does."""
        ...


class Account(Protocol):
    """Who counts what each instance keeps."""

    def take_result(self, instance: str, action: Digest, size_bytes: int) -> None:
        """A result will be kept. Raises ResourceExhaustedError when that is too much."""
        ...

    def renew_result(self, instance: str, action: Digest, references: Sequence[Digest]) -> None:
        """A result is served, and all that it references promised."""
        ...
