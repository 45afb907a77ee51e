"""Numbers as protobuf writes them (its "Encoding", base 128 varints), for messages put together by
hand and for what goes before one."""


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first. Of a number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
