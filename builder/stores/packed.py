"""A large blob that lies compressed: its Zstandard frames as they came, then a trailer.

The file has the name that it would have as it is, `{hash}-{size}`, and fewer bytes than the name
says: so the one form replaces the other by a rename, and whoever counts, renews, evicts or puts
aside files need not know of forms. The trailer tells such a file from one that a loss of power has
cut. It is a skippable frame (RFC 8878, 3.1.2), so that `zstd -d` reads the whole file.

Frames that came from a client are sent as they are, so they are kept as they came, most often one
for all of the blob; what is read from the middle is another form's business (`forms`).
"""

import os
import struct
from zlib import crc32

import zstandard

from builder.stores.packing import GAIN

TRAILER = struct.Struct("<II8sQQI")
SKIPPABLE = 0x184D2A5B
OWN = b"builder\0"
WINDOW_BYTES = 8 * 1024 * 1024  # that a frame may want, as on the wire
READ = 128 * 1024  # bytes of a file at once
LEAST_GAIN = 4096  # bytes: below, not one block of the disk is saved


def pays(size: int, packed: int) -> bool:
    """Whether a large blob is better kept in `packed` bytes of frames."""
    return packed + TRAILER.size + max(size // GAIN, LEAST_GAIN) <= size


def trailer(packed: int, size: int) -> bytes:
    """What stands behind `packed` bytes of frames of a blob of `size` bytes."""
    start = TRAILER.pack(SKIPPABLE, TRAILER.size - 8, OWN, packed, size, 0)[:-4]
    return start + crc32(start).to_bytes(4, "little")


def packed_bytes(descriptor: int, stored: int, size: int) -> int | None:
    """How many bytes of frames a file of `stored` bytes has that belongs to a blob of `size`.

    None if it is no compressed blob. Raises OSError.
    """
    if not TRAILER.size < stored < size:
        return None
    found = os.pread(descriptor, TRAILER.size, stored - TRAILER.size)
    packed = stored - TRAILER.size
    return packed if found == trailer(packed, size) else None


def stored_bytes(path: str, size: int) -> int:
    """Bytes of the file of a blob of `size` bytes; -1 if there is none, or a part only."""
    try:
        stored = os.stat(path, follow_symlinks=False).st_size
        if stored == size:
            return stored
        if not TRAILER.size < stored < size:
            return -1
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        return -1 if packed_bytes(descriptor, stored, size) is None else stored
    except OSError:
        return -1
    finally:
        os.close(descriptor)


class PlainReader:
    """What `packed` bytes of frames at the start of a file give. The file stays its caller's."""

    def __init__(self, descriptor: int, packed: int) -> None:
        factory = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
        self._frames = factory.stream_reader(
            _Part(descriptor, packed),  # type: ignore[arg-type]  # nothing of a file is used but `read`
            read_size=READ,
            read_across_frames=True,
            closefd=False,
        )

    def read(self, want: int) -> bytes:
        """So many bytes, or as many as are left. Raises OSError, and ValueError for no frames."""
        try:
            return self._frames.read(want)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None

    def skip(self, count: int) -> None:
        """Pass over so many bytes. Raises as `read` does."""
        while count > 0 and (data := self.read(min(count, READ))):
            count -= len(data)


class _Part:
    """The start of a file, as `zstandard` reads one."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._at = 0

    def read(self, want: int) -> bytes:
        data = os.pread(self._descriptor, min(want, self._size - self._at), self._at)
        self._at += len(data)
        return data


def plain_reader(descriptor: int, size: int) -> PlainReader | None:
    """For the file of a blob of `size` bytes, if it lies there compressed. Raises OSError."""
    stored = os.fstat(descriptor).st_size
    packed = None if stored == size else packed_bytes(descriptor, stored, size)
    return None if packed is None else PlainReader(descriptor, packed)


def plain_of(data: bytes, size: int) -> bytes:
    """The blob of `size` bytes whose file has these; they themselves if it is no compressed one."""
    packed = len(data) - TRAILER.size
    if not 0 < packed < size or data[packed:] != trailer(packed, size):
        return data
    factory = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
    frames = factory.stream_reader(data[:packed], read_across_frames=True)
    try:
        return frames.read(size + 1)
    except zstandard.ZstdError:
        return b""
