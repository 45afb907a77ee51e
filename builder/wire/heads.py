"""What the headers of a request or a response say, validated once per header block.

Rules: RFC 9113, 8.1-8.3 (malformed messages end the stream), gRPC's PROTOCOL-HTTP2.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from builder.base.errors import Code
from builder.wire import grpc, hpacked
from builder.wire.hpacked import Headers

NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
BAD_VALUE = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]$")
CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
HIDDEN = frozenset(("te", "content-type", "content-length"))
ENCODINGS = frozenset((b"identity",))
FIELD_OVERHEAD = 32  # RFC 9113, 6.5.2

Metadata = Mapping[str, str | bytes]
EMPTY_METADATA: Final[Metadata] = MappingProxyType({})

CONTENT_TYPE = (b"content-type", b"application/grpc")
RESPONSE_BLOCK = hpacked.encode([(b":status", b"200"), CONTENT_TYPE])
OK_BLOCK = hpacked.encode([(b"grpc-status", b"0")])
MAX_DETAILS_BYTES = 6 * 1024  # base64 of it still fits into the 8 KiB that clients accept


class MalformedError(Exception):
    """A header list that RFC 9113, 8.1.1 calls malformed."""


@dataclass(slots=True, frozen=True)
class Route:
    """Where a path leads: whether its calls come as one event each, and how big messages are.

    `target` belongs to the caller.
    """

    unary: bool
    max_message: int
    target: Any


class RequestHead:
    """A request's headers. `fault`: malformed, why. `refusal`: the block that answers it."""

    __slots__ = (
        "authority",
        "content_length",
        "context",
        "fault",
        "max_message",
        "metadata",
        "path",
        "refusal",
        "route",
        "timeout_s",
        "trailers",
        "unary",
    )

    def __init__(self) -> None:
        self.path = ""
        self.authority = ""
        self.metadata: Metadata = EMPTY_METADATA
        self.timeout_s: float | None = None
        self.route: Route | None = None
        self.unary = False
        self.max_message = 0
        self.content_length = -1
        self.fault = ""
        self.trailers = False  # no request, but good as the trailers of one
        self.refusal = b""
        self.context: Any = None  # the caller's, kept as long as the memo keeps this head


class ResponseHead:
    """A response's headers or trailers: `status` is None for headers that do not end a call."""

    __slots__ = ("details", "fault", "http_status", "message", "metadata", "status")

    def __init__(self) -> None:
        self.fault = ""
        self.http_status = 0  # 0 in trailers
        self.status: int | None = None
        self.message = ""
        self.details = b""
        self.metadata: Metadata = EMPTY_METADATA


def split(headers: Headers) -> tuple[dict[bytes, bytes], Headers]:
    """Pseudo-header fields and the others. Raises MalformedError (RFC 9113, 8.2 and 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    rest: Headers = []
    for name, value in headers:
        if BAD_VALUE.search(value):
            raise MalformedError(f"the value of {name[:60]!r} holds a forbidden character")
        if name[:1] == b":":
            if rest or name in pseudo:
                raise MalformedError(f"{name[:60]!r} comes late or twice")
            pseudo[name] = value
            continue
        if NAME.fullmatch(name) is None or name in CONNECTION_SPECIFIC:
            raise MalformedError(f"{name[:60]!r} is not a header field of HTTP/2")
        if name == b"te" and value != b"trailers":
            raise MalformedError("te is not trailers")
        rest.append((name, value))
    return pseudo, rest


def collect(rest: Headers) -> Metadata:
    """Custom metadata: text joined by commas, `-bin` values decoded. Raises MalformedError."""
    found: dict[str, str | bytes] = {}
    for name, value in rest:
        key = name.decode("ascii")
        if key in HIDDEN or key.startswith("grpc-"):
            continue
        if key.endswith("-bin"):
            try:
                found.setdefault(key, grpc.decode_binary(value))
            except ValueError as error:
                raise MalformedError(str(error)) from None
            continue
        text = value.decode("latin-1")
        before = found.get(key)
        found[key] = f"{before},{text}" if isinstance(before, str) else text
    return MappingProxyType(found)


def list_size(headers: Headers) -> int:
    return sum(len(name) + len(value) + FIELD_OVERHEAD for name, value in headers)


def request_reader(
    routes: Mapping[str, Route], max_header_list: int
) -> Callable[[Headers], RequestHead]:
    """The function that makes a RequestHead of a decoded list, for these routes."""

    def read(headers: Headers) -> RequestHead:
        head = RequestHead()
        try:
            _read_request(head, headers, routes)
        except MalformedError as error:
            head.fault = str(error)
            return head
        if list_size(headers) > max_header_list:
            head.refusal = trailers_only(
                Code.RESOURCE_EXHAUSTED,
                f"the request's metadata is larger than {max_header_list} bytes: send less of it",
            )
        head.unary = (
            not head.refusal and head.content_length < 0 and bool(head.route and head.route.unary)
        )
        return head

    return read


def _read_request(head: RequestHead, headers: Headers, routes: Mapping[str, Route]) -> None:
    pseudo, rest = split(headers)
    head.trailers = not pseudo
    if not pseudo.keys() <= REQUEST_PSEUDO or not pseudo.get(b":path"):
        raise MalformedError("pseudo-header fields are not those of a request")
    if b":method" not in pseudo or b":scheme" not in pseudo:
        raise MalformedError(":method or :scheme is missing")
    fields = dict(rest)
    head.path = pseudo[b":path"].decode("latin-1")
    head.authority = pseudo.get(b":authority", fields.get(b"host", b"")).decode("latin-1")
    if b"content-length" in fields:
        if not fields[b"content-length"].isdigit():
            raise MalformedError("content-length is not a number")
        head.content_length = int(fields[b"content-length"][:19])
    if pseudo[b":method"] != b"POST":
        head.refusal = hpacked.encode([(b":status", b"405"), (b"allow", b"POST")])
        return
    content_type = fields.get(b"content-type", b"")
    if content_type[:16] != b"application/grpc" or content_type[16:17] not in (b"", b"+", b";"):
        head.refusal = hpacked.encode([(b":status", b"415")])
        return
    _read_grpc(head, fields, rest, routes)


def _read_grpc(
    head: RequestHead, fields: dict[bytes, bytes], rest: Headers, routes: Mapping[str, Route]
) -> None:
    head.route = routes.get(head.path)
    if head.route is None:
        head.refusal = trailers_only(
            Code.UNIMPLEMENTED, f"{head.path[:200]} is not a method that is served here"
        )
        return
    head.max_message = head.route.max_message
    if fields.get(b"grpc-encoding", b"identity") not in ENCODINGS:
        head.refusal = trailers_only(
            Code.UNIMPLEMENTED,
            "grpc-encoding is not served: send messages uncompressed",
            [(b"grpc-accept-encoding", b"identity")],
        )
        return
    try:
        head.metadata = collect(rest)
        if b"grpc-timeout" in fields:
            head.timeout_s = grpc.parse_timeout(fields[b"grpc-timeout"].decode("latin-1"))
    except (MalformedError, ValueError) as error:
        head.refusal = trailers_only(Code.INTERNAL, str(error))


def read_response(headers: Headers) -> ResponseHead:
    """A ResponseHead of a decoded list: of headers, of trailers, or of trailers-only."""
    head = ResponseHead()
    try:
        pseudo, rest = split(headers)
        if pseudo and (len(pseudo) > 1 or not pseudo.get(b":status", b"").isdigit()):
            raise MalformedError("pseudo-header fields are not those of a response")
        head.http_status = int(pseudo.get(b":status", b"0")[:3])
        fields = dict(rest)
        head.metadata = collect(rest)
        _read_status(head, fields)
    except (MalformedError, ValueError) as error:
        head.fault = str(error)
    return head


def _read_status(head: ResponseHead, fields: dict[bytes, bytes]) -> None:
    if b"grpc-status" in fields:
        status = fields[b"grpc-status"]
        head.status = int(status) if status.isdigit() and len(status) < 10 else Code.UNKNOWN
        head.message = grpc.percent_decode(fields.get(b"grpc-message", b""))
        head.details = grpc.decode_binary(fields.get(b"grpc-status-details-bin", b""))
    elif head.http_status not in (0, 200) and head.http_status >= 200:
        head.status = grpc.status_of_http(head.http_status)
        head.message = f"the server answered HTTP status {head.http_status}"


def status_fields(code: int, message: str, details: bytes = b"") -> Headers:
    """The trailing fields of a status."""
    fields = [(b"grpc-status", b"%d" % code)]
    if message:
        fields.append((b"grpc-message", grpc.percent_encode(message)))
    if details and len(details) <= MAX_DETAILS_BYTES:
        fields.append((b"grpc-status-details-bin", grpc.encode_binary(details)))
    return fields


def trailers(code: int, message: str, details: bytes = b"") -> bytes:
    """The block that ends a call whose response headers were sent."""
    return hpacked.encode(status_fields(code, message, details))


def trailers_only(
    code: int, message: str, extra: Headers | None = None, details: bytes = b""
) -> bytes:
    """The block that is a whole response (gRPC's Trailers-Only)."""
    return RESPONSE_BLOCK + hpacked.encode(status_fields(code, message, details) + (extra or []))


def metadata_fields(metadata: Mapping[str, str | bytes]) -> Headers:
    """Header fields of custom metadata. Raises ValueError for what cannot be sent."""
    fields: Headers = []
    for key, value in metadata.items():
        name = key.lower().encode("latin-1")
        if NAME.fullmatch(name) is None or key.startswith("grpc-") or key in HIDDEN:
            raise ValueError(f"{key!r} cannot be a metadata key")
        if key.endswith("-bin"):
            raw = value.encode() if isinstance(value, str) else value
            fields.append((name, grpc.encode_binary(raw)))
            continue
        text = value.encode("latin-1") if isinstance(value, str) else bytes(value)
        if BAD_VALUE.search(text):
            raise ValueError(f"the value of metadata {key!r} holds a forbidden character")
        fields.append((name, text))
    return fields
