"""Where damaged blobs are put aside for whoever wants to look at them.

At most so many are kept: a disk that fails should not be filled with its failures.
"""

import contextlib
import os

from builder.base.digest import Digest
from builder.base.errors import NotFoundError
from builder.stores.folder import remove

KEPT = 64  # files


class Quarantine:
    """The directory `{root}/quarantine`; a file's name is the digest that it does not have."""

    def __init__(self, root: str) -> None:
        self.path = f"{root}/quarantine"

    def take_file(self, digest: Digest, path: str) -> None:
        """Put the blob's file aside. Raises OSError."""
        os.makedirs(self.path, exist_ok=True)
        self._trim()
        os.replace(path, self._place(digest))

    def take_bytes(self, digest: Digest, data: bytes) -> None:
        """Keep what was read in place of the blob, if the disk lets us."""
        with contextlib.suppress(OSError):
            os.makedirs(self.path, exist_ok=True)
            self._trim()
            with open(self._place(digest), "wb") as file:
                file.write(data)

    def error(self, digest: Digest) -> NotFoundError:
        return NotFoundError(
            f"blob {digest} was damaged on the disk and is put aside in {self.path}; upload it "
            "again"
        )

    def _place(self, digest: Digest) -> str:
        return f"{self.path}/{digest.hash}-{digest.size_bytes}"

    def _trim(self) -> None:
        files = sorted(os.scandir(self.path), key=lambda entry: entry.stat().st_mtime)
        for entry in files[: max(0, len(files) + 1 - KEPT)]:
            remove(entry.path)
