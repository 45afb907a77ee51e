"""What a tiered store can do at once because its near tier is on this machine.

A blob that is near is found and read inside the receive loop; anything else is asked patiently.
Writes are never done at once, since they also go far.
"""

from collections.abc import Sequence

from builder.base.digest import Digest
from builder.base.errors import NotFoundError
from builder.stores.interface import LocalStore, NamedT, PackedUpload, Upload
from builder.stores.tiered import TieredBlobs


class NearbyTieredBlobs:
    """`tiered`, whose near tier is `near` and keeps leases."""

    def __init__(self, tiered: TieredBlobs, near: LocalStore) -> None:
        self._tiered = tiered
        self._near = near
        self.find_missing = tiered.find_missing
        self.read = tiered.read
        self.write = tiered.write
        self.get = tiered.get
        self.put = tiered.put
        self.size_of = tiered.size_of
        self.is_packed = tiered.is_packed
        self.read_packed = tiered.read_packed
        self.write_packed = tiered.write_packed

    def absent_nowait(self, function: str, digests: Sequence[NamedT]) -> list[NamedT] | None:
        return [] if self._near.absent_nowait(function, digests) == [] else None

    def get_nowait(self, digest: Digest) -> bytes | None:
        try:
            return self._near.get_nowait(digest)
        except NotFoundError:
            return None

    def put_nowait(self, digest: Digest, data: bytes) -> bool:  # noqa: ARG002 -- the protocol's
        return False

    def stamp(self) -> int:
        """Changes when the far tier begins to fail, too: what was found there may be gone."""
        return self._near.stamp() << 32 | self._tiered.far_failures & 0xFFFFFFFF

    async def begin(self, digest: Digest) -> Upload:
        return OnwardUpload(self._tiered, digest, await self._near.begin(digest))

    def get_packed_nowait(self, digest: Digest) -> bytes | None:
        return self._near.get_packed_nowait(digest)

    def put_packed_nowait(self, digest: Digest, frames: bytes) -> bool:  # noqa: ARG002
        return False

    async def begin_packed(self, digest: Digest) -> PackedUpload:
        return OnwardPackedUpload(self._tiered, digest, await self._near.begin_packed(digest))


class OnwardUpload:
    """An upload into the near tier; its end sends it onward."""

    def __init__(self, tiered: TieredBlobs, digest: Digest, upload: Upload) -> None:
        self._tiered = tiered
        self._digest = digest
        self._upload = upload
        self.append = upload.append
        self.append_nowait = upload.append_nowait
        self.abort = upload.abort

    @property
    def offset(self) -> int:
        return self._upload.offset

    async def commit(self) -> None:
        await self._upload.commit()
        await self._tiered.onward(self._digest)


class OnwardPackedUpload(OnwardUpload):
    """The same of frames."""

    def __init__(self, tiered: TieredBlobs, digest: Digest, upload: PackedUpload) -> None:
        super().__init__(tiered, digest, upload)
        self._packed = upload

    async def unpacked(self) -> Upload:
        return OnwardUpload(self._tiered, self._digest, await self._packed.unpacked())
