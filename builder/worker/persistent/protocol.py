"""Requests to bytes and bytes to responses, in both of the worker protocol's forms. No I/O.

proto: the length as a varint, then the message. json: one line, names in lowerCamelCase, bytes
in base64 (the proto3 JSON mapping). Source: Bazel's `worker_protocol.proto` and its pages on
creating persistent workers.
"""

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from builder.reapi.pb.worker_protocol_pb2 import WorkRequest, WorkResponse
from builder.reapi.persistent import JSON
from builder.reapi.varints import varint

MOST_BYTES = 64 * 1024 * 1024  # of one response
MOST_LENGTH_BYTES = 5  # a varint of 32 bits
# What a response may begin with. A stray print would else be waited for as if it were a length.
TAGS = (b"", b"\x08", b"\x12", b"\x18", b"\x20")


class ProtocolError(Exception):
    """The program wrote something else than responses to its stdout."""


def encode(request: WorkRequest, protocol: str) -> bytes:
    """One request as it goes to the program's stdin."""
    if protocol == JSON:
        text = json_format.MessageToJson(
            request, indent=None, always_print_fields_with_no_presence=True
        )
        return text.encode() + b"\n"
    body = request.SerializeToString()
    return varint(len(body)) + body


class Decoder:
    """`feed` it what comes from the program's stdout, in any pieces."""

    def __init__(self, protocol: str) -> None:
        self._next = self._line if protocol == JSON else self._delimited
        self._data = bytearray()

    def feed(self, data: bytes) -> list[WorkResponse]:
        """The responses that are complete with this. Raises ProtocolError."""
        self._data += data
        found = []
        while (response := self._next()) is not None:
            found.append(response)
        if len(self._data) > MOST_BYTES + MOST_LENGTH_BYTES:
            raise ProtocolError(f"it wrote a response of more than {MOST_BYTES} bytes")
        return found

    def _line(self) -> WorkResponse | None:
        """Blank lines are none."""
        while True:
            line, newline, rest = self._data.partition(b"\n")
            if not newline:
                return None
            self._data = rest
            if line.strip():
                return parse_line(bytes(line))

    def _delimited(self) -> WorkResponse | None:
        length = 0
        for index, byte in enumerate(self._data[:MOST_LENGTH_BYTES]):
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return self._message(index + 1, length)
        if len(self._data) >= MOST_LENGTH_BYTES:
            raise ProtocolError(f"it wrote {told(self._data)} where a response's length belongs")
        return None

    def _message(self, start: int, length: int) -> WorkResponse | None:
        begins_well = self._data[start : start + 1] in TAGS
        if length > MOST_BYTES or (length and not begins_well):
            raise ProtocolError(f"it wrote {told(self._data)}, which is no response")
        if len(self._data) < start + length:
            return None
        body = bytes(self._data[start : start + length])
        try:
            response = WorkResponse.FromString(body)
        except DecodeError:
            raise ProtocolError(f"it wrote {told(self._data)}, which is no response") from None
        del self._data[: start + length]
        return response


def parse_line(line: bytes) -> WorkResponse:
    """Raises ProtocolError."""
    try:
        if not line.lstrip().startswith(b"{"):  # a list would pass for an empty one
            raise ProtocolError(f"it wrote {told(line)}, which is no response")
        return json_format.Parse(line, WorkResponse(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError):
        raise ProtocolError(f"it wrote {told(line)}, which is no response") from None


def told(data: bytes | bytearray) -> str:
    """The beginning, for people: most often a stray print."""
    return repr(bytes(data[:60]))
