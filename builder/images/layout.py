"""Images in a directory: the OCI image layout, as `skopeo`, `podman save` and builders write it.

    oci-layout   index.json   blobs/ALGORITHM/HEX

Source: OCI image specification, "Image Layout".
"""

import os
import stat
from pathlib import Path

import trio

from builder.images.documents import MOST_BYTES, Descriptor, Index, read_manifest
from builder.images.errors import ImageError
from builder.images.reference import Local, is_digest
from builder.images.verify import check_file, checked


class LayoutSource:
    """See `source.Source`. `path` is below a directory that the configuration allows."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def manifest(self, reference: str) -> bytes:
        """By digest, or by the tag that the index notes for it."""
        if is_digest(reference):
            return await self._blob(reference)
        data = await trio.to_thread.run_sync(self._read, "index.json")
        index = read_manifest(data, self._path)
        if not isinstance(index, Index):
            raise ImageError(f"{self._path}/index.json is no index")
        found = [one for one in index.manifests if not reference or one.ref_name == reference]
        if reference and not found:
            there = ", ".join(sorted(filter(None, (one.ref_name for one in index.manifests))))
            raise ImageError(f"{self._path} has no tag {reference!r}; it has {there or 'none'}")
        if len({one.digest for one in found}) != 1:
            raise ImageError(f"{self._path} holds {len(found)} images of that name; give a digest")
        return await self._blob(found[0].digest)

    async def document(self, wanted: Descriptor) -> bytes:
        return await self._blob(wanted.digest)

    async def layer(self, wanted: Descriptor, target: str) -> str:
        """The layout's own file."""
        del target
        path = os.path.join(self._path, _place(wanted.digest))
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ImageError(f"{path} is no file")
            await trio.to_thread.run_sync(check_file, path, wanted, self._path)
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror}") from None
        return path

    async def _blob(self, digest: str) -> bytes:
        data = await trio.to_thread.run_sync(self._read, _place(digest))
        return checked(data, digest, self._path)

    def _read(self, name: str) -> bytes:
        path = os.path.join(self._path, name)
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ImageError(f"{path} is no file")
            with open(path, "rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise ImageError(f"{path}: {error.strerror}; is it an OCI layout?") from None
        if len(data) > MOST_BYTES:
            raise ImageError(f"{path} is over {MOST_BYTES} bytes")
        return data


def _place(digest: str) -> str:
    return os.path.join("blobs", *digest.split(":"))


def allowed_layout(reference: Local, directories: tuple[str, ...]) -> LayoutSource:
    """Raises ImageError for a layout that is not in one of these directories, links resolved."""
    path = os.path.realpath(reference.path)
    for directory in directories:
        if Path(path).is_relative_to(os.path.realpath(directory)):
            return LayoutSource(path)
    raise ImageError(
        f"{reference} is not in a directory of sandbox.images.layouts, which are "
        f"{', '.join(directories) or 'none'}"
    )
