"""What is kept with a result: when it was written and by whom, and how often it was a hit.

A record is a head, the client's RequestMetadata, and the ActionResult as it was. The head begins
with a byte that no protobuf message can begin with (wire type 7 does not exist), so results that an
earlier version wrote are told from it, and read as being of unknown age.
"""

import struct
from dataclasses import dataclass

HEAD = struct.Struct("<4sddQI")  # mark, stored, used, hits, bytes of metadata
MARK = b"\x07AC1"


@dataclass(frozen=True, slots=True)
class Entry:
    """`result` is a serialized ActionResult, `metadata` a serialized RequestMetadata. Times are
    seconds since 1970, 0 where nobody knows; `used_at` is when hits were last written down."""

    result: bytes
    stored_at: float = 0.0
    used_at: float = 0.0
    hits: int = 0
    metadata: bytes = b""


def packed(entry: Entry) -> bytes:
    head = HEAD.pack(MARK, entry.stored_at, entry.used_at, entry.hits, len(entry.metadata))
    return b"".join((head, entry.metadata, entry.result))


def unpacked(record: bytes) -> Entry:
    """Of `packed`, or of a result alone."""
    if not record.startswith(MARK) or len(record) < HEAD.size:
        return Entry(record)
    _, stored_at, used_at, hits, size = HEAD.unpack_from(record)
    metadata = record[HEAD.size : HEAD.size + size]
    return Entry(record[HEAD.size + size :], stored_at, used_at, hits, metadata)
