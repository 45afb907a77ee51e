"""Octets that are kept as they were received."""

Buffer = bytes | bytearray | memoryview

PREFIX_OCTETS = 5  # before each message
MANY_PIECES = 128
PINNED_TIMES = 8  # the size of what a piece may keep in memory, in sizes of the piece


def unpinned(data: Buffer) -> Buffer:
    """A copy of what would keep a much larger receive buffer in memory."""
    if isinstance(data, memoryview) and len(data) * PINNED_TIMES < len(data.obj):  # type: ignore[arg-type]  # it is a view of bytes
        return bytes(data)
    return data
