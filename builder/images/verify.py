"""Whether bytes are what their digest says."""

import hashlib
from typing import IO

from builder.images.documents import Descriptor
from builder.images.errors import HostileLayerError, ImageError

PIECE = 1 << 20


def digest_of(data: bytes) -> str:
    """As registries name what they are given."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def checked(data: bytes, digest: str, what: str) -> bytes:
    """The same bytes. Raises ImageError when they are others."""
    algorithm = digest.partition(":")[0]
    found = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    if found != digest:
        raise ImageError(f"{what}: a document is not what its digest {digest} says, but {found}")
    return data


class Incoming:
    """Bytes on their way into a file, counted and hashed."""

    def __init__(self, file: IO[bytes], wanted: Descriptor, what: str) -> None:
        self._file, self._wanted, self._what = file, wanted, what
        self.restart()

    def restart(self) -> None:
        """From the first byte again."""
        self._file.seek(0)
        self._file.truncate()
        self.have = 0
        self._hash = hashlib.new(self._wanted.digest.partition(":")[0])

    def take(self, piece: bytes) -> bool:
        """Whether it still fits the size; what is too much is not written."""
        self.have += len(piece)
        if self.have > self._wanted.size:
            return False
        self._hash.update(piece)
        self._file.write(piece)
        return True

    @property
    def complete(self) -> bool:
        return self.have == self._wanted.size

    def check(self) -> None:
        """Raises HostileLayerError for another size or digest."""
        digest, size = self._wanted.digest, self._wanted.size
        if self.have != size:
            raise HostileLayerError(
                f"{self._what}: layer {digest} has {self.have} bytes or more, not {size}"
            )
        found = f"{digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if found != digest:
            raise HostileLayerError(f"{self._what}: layer {digest} has digest {found}")


def check_file(path: str, wanted: Descriptor, what: str) -> None:
    """Of a file that is there already. Raises HostileLayerError, OSError."""
    seen = hashlib.new(wanted.digest.partition(":")[0])
    size = 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            seen.update(piece)
            size += len(piece)
    found = f"{seen.name}:{seen.hexdigest()}"
    if (found, size) != (wanted.digest, wanted.size):
        raise HostileLayerError(
            f"{what}: layer {wanted.digest} of {wanted.size} bytes has {size} and digest {found}"
        )
