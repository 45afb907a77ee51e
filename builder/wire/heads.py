"""What the headers of a request or a response say, validated once per header block.

Rules: RFC 9113, 8.1-8.3 (malformed messages end the stream), gRPC's PROTOCOL-HTTP2.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from builder.base.errors import Code
from builder.wire import grpc, hpacked, inflating
from builder.wire.hpacked import Headers
from builder.wire.runs import RunForm

NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
BLANK = (b" ", b"\t")
CONNECTION_SPECIFIC = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
HIDDEN = frozenset(("te", "content-type", "content-length"))
SHORT = 64  # octets of a name that is remembered
MAX_TEMPLATES = 64
MAX_TEMPLATE_OCTETS = 4096

Metadata = Mapping[str, str | bytes]
EMPTY_METADATA: Final[Metadata] = MappingProxyType({})

CONTENT_TYPE = (b"content-type", b"application/grpc")
ACCEPT_ENCODING = (b"grpc-accept-encoding", inflating.ACCEPTED.encode())
RESPONSE_BLOCK = hpacked.encode([(b":status", b"200"), CONTENT_TYPE, ACCEPT_ENCODING])
OK_BLOCK = hpacked.encode([(b"grpc-status", b"0")])
MAX_DETAILS_BYTES = 6 * 1024  # base64 of it still fits into the 8 KiB that clients accept


class MalformedError(Exception):
    """A header list that RFC 9113, 8.1.1 calls malformed."""


@dataclass(slots=True, frozen=True)
class Route:
    """Where a path leads: whether its calls come as one event each, and how big messages are.

    `target` belongs to the caller. With `pieces`, large messages of a stream are not joined; those
    of the form `runs` are told together, and before they are whole.
    """

    unary: bool
    max_message: int
    target: Any
    pieces: bool = False
    runs: RunForm | None = None


class RequestHead:
    """A request's headers. `fault`: malformed, why. `refusal`: the block that answers it."""

    __slots__ = (
        "authority",
        "content_length",
        "context",
        "encoding",
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

    def copy(self) -> "RequestHead":
        """Another head that says the same; without the caller's `context`."""
        head = RequestHead.__new__(RequestHead)
        head.path = self.path
        head.authority = self.authority
        head.metadata = self.metadata
        head.timeout_s = self.timeout_s
        head.route = self.route
        head.unary = self.unary
        head.max_message = self.max_message
        head.encoding = self.encoding
        head.content_length = self.content_length
        head.fault = self.fault
        head.trailers = self.trailers
        head.refusal = self.refusal
        head.context = None
        return head

    def __init__(self) -> None:
        self.path = ""
        self.authority = ""
        self.metadata: Metadata = EMPTY_METADATA
        self.timeout_s: float | None = None
        self.route: Route | None = None
        self.unary = False
        self.max_message = 0
        self.encoding = ""  # what its messages may be compressed with
        self.content_length = -1
        self.fault = ""
        self.trailers = False  # no request, but good as the trailers of one
        self.refusal = b""
        self.context: Any = None  # the caller's, kept as long as the memo keeps this head


class OversizedHead(RequestHead):
    """Of a list that is longer than it may be; a `refusal` answers it."""

    __slots__ = ()


NO_GRPC = "no gRPC status"


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


def is_bad(value: bytes) -> bool:
    """Whether it holds what no value may hold (RFC 9113, 8.2.1)."""
    if b"\0" in value or b"\r" in value or b"\n" in value:  # each at the speed of memory
        return True
    return value.startswith(BLANK) or value.endswith(BLANK)


def is_name(name: bytes) -> bool:
    """Whether a field that is no pseudo-header may have it (RFC 9113, 8.2.1 and 8.2.2)."""
    return NAME.fullmatch(name) is not None and name not in CONNECTION_SPECIFIC


is_short_name = lru_cache(256)(is_name)


def split(headers: Headers) -> tuple[dict[bytes, bytes], Headers]:
    """Pseudo-header fields and the others. Raises MalformedError (RFC 9113, 8.2 and 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    rest: Headers = []
    for name, value in headers:
        if is_bad(value):
            raise MalformedError(f"the value of {name[:60]!r} holds a forbidden character")
        if name[:1] == b":":
            if rest or name in pseudo:
                raise MalformedError(f"{name[:60]!r} comes late or twice")
            pseudo[name] = value
            continue
        if not (is_short_name(name) if len(name) <= SHORT else is_name(name)):
            raise MalformedError(f"{name[:60]!r} is not a header field of HTTP/2")
        if name == b"te" and value != b"trailers":
            raise MalformedError("te is not trailers")
        rest.append((name, value))
    return pseudo, rest


def collect(rest: Headers) -> Metadata:
    """Custom metadata: text joined by commas, `-bin` values decoded. Raises ValueError."""
    found: dict[str, str | bytes] = {}
    for name, value in rest:
        key = name.decode("ascii")
        if key in HIDDEN or key.startswith("grpc-"):
            continue
        if key.endswith("-bin"):
            found.setdefault(key, grpc.decode_binary(value))
            continue
        text = value.decode("latin-1")
        before = found.get(key)
        found[key] = f"{before},{text}" if isinstance(before, str) else text
    return MappingProxyType(found)


class RequestReader:
    """Makes RequestHeads of decoded lists, for these routes.

    What varies between calls of one client are a few loose fields: deadlines and `-bin` values.
    The rest is the key of a template, so that it is looked at once.
    """

    __slots__ = ("_limit", "_routes", "_templates")

    def __init__(self, routes: Mapping[str, Route], max_header_list: int) -> None:
        self._routes = routes
        self._limit = max_header_list
        self._templates: dict[tuple[tuple[bytes, bytes], ...], RequestHead] = {}

    def __call__(self, headers: Headers, size: int) -> RequestHead:
        """The head of a list that counts as `size` octets; of a too large one it has only some."""
        if size > self._limit:
            return _oversized(self._limit)
        loose: Headers = []
        fixed: Headers = []
        for field in headers:
            name = field[0]
            if name[-4:] == b"-bin" or name == b"grpc-timeout":
                loose.append(field)
            elif loose and name[:1] == b":":
                return _faulty(f"{name[:60]!r} comes late")
            else:
                fixed.append(field)
        key = tuple(fixed)
        head = self._templates.get(key) or self._template(key)
        if loose and not head.refusal:
            head = _with_loose(head, loose)
        return head

    def _template(self, key: tuple[tuple[bytes, bytes], ...]) -> RequestHead:
        try:
            head = RequestHead()
            _read_request(head, list(key), self._routes)
        except MalformedError as error:
            trailers = head.trailers
            head = _faulty(str(error))
            head.trailers = trailers
        route = head.route
        head.unary = not head.refusal and head.content_length < 0 and bool(route and route.unary)
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        if sum(len(name) + len(value) for name, value in key) <= MAX_TEMPLATE_OCTETS:
            self._templates[key] = head
        return head


def _faulty(text: str) -> RequestHead:
    head = RequestHead()
    head.fault = text
    return head


def _oversized(limit: int) -> RequestHead:
    head = OversizedHead()
    head.refusal = trailers_only(
        Code.RESOURCE_EXHAUSTED,
        f"the request's metadata is larger than {limit} bytes: send less of it",
    )
    return head


def _with_loose(template: RequestHead, loose: Headers) -> RequestHead:
    """A copy of the template with these fields as well."""
    try:
        split(loose)
        head = template.copy()
        timeout = b""
        rest = []
        for field in loose:
            if field[0] == b"grpc-timeout":
                timeout = field[1]
            else:
                rest.append(field)
        if rest:
            head.metadata = MappingProxyType({**template.metadata, **collect(rest)})
        if timeout:
            head.timeout_s = grpc.parse_timeout(timeout.decode("latin-1"))
            if not head.timeout_s:
                return _refused(template, Code.DEADLINE_EXCEEDED, "the call's deadline has passed")
    except MalformedError as error:
        return _faulty(str(error))
    except ValueError as error:
        return _refused(template, Code.INTERNAL, str(error))
    return head


def _refused(template: RequestHead, code: Code, why: str) -> RequestHead:
    head = template.copy()
    head.unary = False
    head.refusal = trailers_only(code, why)
    return head


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
    encoding = fields.get(b"grpc-encoding", b"identity").decode("latin-1")
    if encoding in inflating.WINDOW_BITS:
        head.encoding = encoding
    elif encoding != "identity":
        head.refusal = trailers_only(
            Code.UNIMPLEMENTED,
            f"grpc-encoding {encoding[:40]} is not served: use one of {inflating.ACCEPTED}",
        )
        return
    head.metadata = collect(rest)


def read_response(headers: Headers, size: int) -> ResponseHead:  # noqa: ARG001 - no limit of ours
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
        head.message = NO_GRPC


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
        if is_bad(text):
            raise ValueError(f"the value of metadata {key!r} holds a forbidden character")
        fields.append((name, text))
    return fields
