"""Requests as they come: parsed, or refused."""

from functools import lru_cache
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from builder.base.errors import InvalidArgumentError
from builder.net.rpc import Call
from builder.reapi.varints import varint

M = TypeVar("M", bound=Message)


def parse(kind: type[M], data: bytes) -> M:
    """Raises InvalidArgumentError for bytes that are no such message."""
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise InvalidArgumentError(
            f"the request's {len(data)} bytes are no {kind.DESCRIPTOR.full_name} message"
        ) from None
    return message


async def only(kind: type[M], call: Call) -> M:
    """The one request of a server-streaming call. Raises InvalidArgumentError when none came."""
    data = await call.receive()
    if data is None:
        raise InvalidArgumentError(f"{call.path} wants one {kind.DESCRIPTOR.full_name} message")
    return parse(kind, data)


@lru_cache(4096)
def bytes_field(number: int, size: int) -> bytes:
    """What comes before a bytes field's data on the wire: tag and length, as varints."""
    return varint(number << 3 | 2) + varint(size)
