"""gRPC over HTTP/2: timeouts, metadata values, status messages, mappings of foreign errors.

Source: gRPC's PROTOCOL-HTTP2.md and its http-grpc-status-mapping.md.
"""

import base64
import binascii
import math
import re

from builder.base.errors import Code
from builder.wire.frames import ErrorCode

TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
TIMEOUT_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
FORMATS = (
    ("n", 1),
    ("u", 10**3),
    ("m", 10**6),
    ("S", 10**9),
    ("M", 60 * 10**9),
    ("H", 3600 * 10**9),
)
MAX_COUNT = 99_999_999  # eight digits
ESCAPED = re.compile(rb"%([0-9a-fA-F]{2})")
UNSAFE = re.compile(rb"[^\x20-\x24\x26-\x7e]")
MAX_MESSAGE_BYTES = 4096  # clients refuse trailers of more than about 8 KiB

STATUS_OF_HTTP = {
    400: Code.INTERNAL,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    429: Code.UNAVAILABLE,
    431: Code.INTERNAL,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}

STATUS_OF_RESET = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}


def status_of_http(status: int) -> Code:
    """The gRPC code for an HTTP status that came without a `grpc-status`."""
    return STATUS_OF_HTTP.get(status, Code.UNKNOWN)


def status_of_reset(code: int) -> Code:
    """The gRPC code for a stream that the peer reset with this HTTP/2 error code."""
    return STATUS_OF_RESET.get(code, Code.INTERNAL)  # type: ignore[call-overload, no-any-return]  # an int finds its IntEnum


def parse_timeout(value: str) -> float:
    """Seconds of a `grpc-timeout`. Raises ValueError."""
    match = TIMEOUT.fullmatch(value)
    if match is None:
        raise ValueError(f"grpc-timeout {value[:40]!r} is not 1 to 8 digits and one of H M S m u n")
    return int(match[1]) * TIMEOUT_UNITS[match[2]]


def format_timeout(seconds: float) -> str:
    """A `grpc-timeout` of at least this long, in the finest unit that fits in eight digits."""
    nanos = max(math.ceil(seconds * 1e9), 0)
    for unit, size in FORMATS:
        count = -(-nanos // size)
        if count <= MAX_COUNT:
            return f"{count}{unit}"
    return f"{MAX_COUNT}H"


def percent_encode(message: str) -> bytes:
    """A `grpc-message`: UTF-8, every octet outside 0x20-0x24 and 0x26-0x7E as %XX."""
    raw = message.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES]
    return UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], raw)


def percent_decode(value: bytes) -> str:
    """The text of a `grpc-message`; what is malformed is kept as it came."""
    raw = ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), value)
    return raw.decode("utf-8", "replace")


def encode_binary(value: bytes) -> bytes:
    """The value of a `-bin` key: base64 without padding."""
    return base64.b64encode(value).rstrip(b"=")


def decode_binary(value: bytes) -> bytes:
    """The octets of a `-bin` value, padded or not. Raises ValueError.

    Of several values joined by commas the first counts.
    """
    first = value.split(b",", 1)[0].strip() if b"," in value else value
    try:
        return binascii.a2b_base64(first + b"=" * (-len(first) % 4), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"a -bin header is not base64: {error}") from None
