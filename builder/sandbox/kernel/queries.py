"""Names of hosts that a program asks for, in the datagrams that it sends (RFC 1035, section 4).

A sandbox without a network has a resolver that nobody answers at, so that programs do ask.
"""

from builder.sandbox.kernel.notify import Note, memory_of

HEAD_BYTES, MESSAGE_BYTES = 12, 512
MOST_MESSAGES, SLOT_BYTES = 4, 64  # of a sendmmsg(2), and its struct mmsghdr
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


def _datagrams(note: Note, call: str) -> "list[bytes]":
    pid, (_, address, count) = note.pid, note.arguments[:3]
    if call == "sendto":
        return [memory_of(pid, address, min(count, MESSAGE_BYTES))]
    found = []
    for number in range(min(count, MOST_MESSAGES)):
        slot = memory_of(pid, address + number * SLOT_BYTES, SLOT_BYTES)
        vector = memory_of(pid, int.from_bytes(slot[16:24], "little"), 16)
        base, size = (int.from_bytes(vector[i : i + 8], "little") for i in (0, 8))
        found.append(memory_of(pid, base, min(size, MESSAGE_BYTES)))
    return found
