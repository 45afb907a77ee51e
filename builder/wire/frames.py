"""HTTP/2 frames: numbers of RFC 9113 and the few frames that are built outside the hot path.

Every frame starts with nine octets: length (24 bits), type (8), flags (8), stream (31 of 32).
They are read and written as one `>IBI`: `length << 8 | type`, flags, stream.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, 3.4

FRAME_HEADER: Final = Struct(">IBI")
pack_header = FRAME_HEADER.pack
PACK_SETTING: Final = Struct(">HI")
PACK_WORD: Final = Struct(">I")
PACK_TWO_WORDS: Final = Struct(">II")
HEADER_OCTETS: Final = 9

# Frame types, RFC 9113, section 6. Plain integers: the receive loop compares them.
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

# Flags.
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

# Settings, RFC 9113, 6.5.2.
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

DEFAULT_WINDOW: Final = 65_535
DEFAULT_MAX_FRAME: Final = 16_384
LARGEST_FRAME: Final = 16_777_215
LARGEST_WINDOW: Final = 2**31 - 1
LARGEST_STREAM_ID: Final = 2**31 - 1


class ErrorCode(IntEnum):
    """RFC 9113, section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class ConnectionFaultError(Exception):
    """The peer broke a rule in a way that ends the connection (RFC 9113, 5.4.1).

    `limit` is the field of `Limits` that it exceeded, if it was that.
    """

    def __init__(self, code: ErrorCode, text: str, limit: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.limit = limit


class StreamFaultError(Exception):
    """The peer broke a rule in a way that ends one stream only (RFC 9113, 5.4.2)."""

    def __init__(self, stream_id: int, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.stream_id = stream_id
        self.code = code


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame with these values."""
    body = b"".join(PACK_SETTING.pack(key, value) for key, value in values.items())
    return pack_header(len(body) << 8 | SETTINGS, 0, 0) + body


SETTINGS_ACK: Final = pack_header(SETTINGS, ACK, 0)


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return pack_header(4 << 8 | WINDOW_UPDATE, 0, stream_id) + PACK_WORD.pack(increment)


def rst_stream(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return pack_header(4 << 8 | RST_STREAM, 0, stream_id) + PACK_WORD.pack(code)


def ping(opaque: bytes, flags: int = 0) -> bytes:
    """A PING frame around eight octets."""
    return pack_header(8 << 8 | PING, flags, 0) + opaque


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    head = pack_header((8 + len(debug)) << 8 | GOAWAY, 0, 0)
    return head + PACK_TWO_WORDS.pack(last_stream_id, code) + debug


def headers(stream_id: int, block: bytes, end_stream: bool, max_frame: int) -> bytes:
    """A HEADERS frame, and CONTINUATION frames when the block is larger than one frame."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= max_frame:
        return pack_header(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    out = [pack_header(max_frame << 8 | HEADERS, flags, stream_id), block[:max_frame]]
    for start in range(max_frame, len(block), max_frame):
        part = block[start : start + max_frame]
        last = END_HEADERS if start + max_frame >= len(block) else 0
        out += [pack_header(len(part) << 8 | CONTINUATION, last, stream_id), part]
    return b"".join(out)
