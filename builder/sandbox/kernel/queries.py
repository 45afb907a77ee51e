"""Where a program sends datagrams to, and the names of hosts that it asks for in them (RFC 1035,
section 4).

A sandbox without a network has a resolver that nobody answers at, so that programs do ask.
"""

from builder.sandbox.kernel.notify import Note, memory_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from collections.abc import Iterator

HEAD_BYTES, MESSAGE_BYTES = 12, 512
MOST_MESSAGES, SLOT_BYTES = 4, 64  # of a sendmmsg(2), and its struct mmsghdr
MOST_ADDRESS = 128  # struct sockaddr_storage
RESPONSE_OR_NO_QUERY = 0xF800  # of the flags
INTERNET = b"\0\1"
REVERSE = b".arpa"  # the other way round: the name of an address


def asked(note: Note, call: str) -> "list[bytes]":
    """Raises OSError when its process is gone."""
    names = (question(data) for data in _datagrams(note, call))
    return [name for name in names if name and not name.endswith(REVERSE)]


def question(packet: bytes) -> bytes:
    """The one name that a query asks for; nothing for anything that is no query."""
    counts = packet[4:10]
    if int.from_bytes(packet[2:4], "big") & RESPONSE_OR_NO_QUERY or counts != b"\0\1\0\0\0\0":
        return b""
    labels, at = [], HEAD_BYTES
    while at < len(packet) and (size := packet[at]):
        label = packet[at + 1 : at + 1 + size]
        if size > 63 or not label.isascii() or not label.decode("ascii").isprintable():
            return b""
        labels.append(label.lower())
        at += 1 + size
    return b".".join(labels) if packet[at + 3 : at + 5] == INTERNET else b""


def sent_to(note: Note, call: str) -> "list[bytes]":
    """The socket addresses that a call names itself. Raises OSError."""
    if call == "sendto":
        places = [(note.arguments[4], note.arguments[5])]
    else:
        places = [(_number(slot, 0, 8), _number(slot, 8, 4)) for slot in _slots(note)]
    return [memory_of(note.pid, at, min(size, MOST_ADDRESS)) for at, size in places if at and size]


def _datagrams(note: Note, call: str) -> "list[bytes]":
    pid, (_, address, count) = note.pid, note.arguments[:3]
    if call == "sendto":
        return [memory_of(pid, address, min(count, MESSAGE_BYTES))]
    found = []
    for slot in _slots(note):
        vector = memory_of(pid, _number(slot, 16, 8), 16)
        found.append(
            memory_of(pid, _number(vector, 0, 8), min(_number(vector, 8, 8), MESSAGE_BYTES))
        )
    return found


def _slots(note: Note) -> "Iterator[bytes]":
    """The first ones, each a struct mmsghdr."""
    for number in range(min(note.arguments[2], MOST_MESSAGES)):
        yield memory_of(note.pid, note.arguments[1] + number * SLOT_BYTES, SLOT_BYTES)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
