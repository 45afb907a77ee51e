"""Messages between the sandbox's processes: marshalled values and descriptors on SEQPACKET.

A packet is a tag byte and a body. `D` carries the body itself; `M` says that the first
descriptor is a memory file which holds it, for bodies larger than a packet may be (a command
line alone may take 2 MiB). Values are what `marshal` takes: both ends are our own code of the
same version. What comes out of a sandbox is never unmarshalled (see `inside`).

Imports only the core: it is used on both sides.
"""

import _socket
import marshal
import os

DIRECT, IN_MEMORY = b"D", b"M"
PACKET_BYTES = 96 * 1024
CONTROL_BYTES = _socket.CMSG_SPACE(4 * 16)  # for so many descriptors
CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:  # the helpers do not import typing
    from typing import Any


def pair() -> "tuple[_socket.socket, _socket.socket]":
    """Two ends of a new link; neither is inherited."""
    one, two = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return one, two


def end(fd: int) -> "_socket.socket":
    """Of a link, by its descriptor."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)


def send_packet(sock: "_socket.socket", packet: bytes, fds: "tuple[int, ...]" = ()) -> None:
    """One packet with descriptors. Raises OSError when the other end is gone."""
    rights = b"".join(fd.to_bytes(4, "little") for fd in fds)
    control = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
    sock.sendmsg([packet], control)


def receive_packet(sock: "_socket.socket") -> "tuple[bytes, list[int]]":
    """The next packet and its descriptors; empty bytes when the other end is gone."""
    try:
        packet, control, _, _ = sock.recvmsg(PACKET_BYTES, CONTROL_BYTES, CLOEXEC)
    except ConnectionResetError:
        return b"", []
    fds: list[int] = []
    for level, kind, data in control:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += memoryview(data).cast("i")
    return packet, fds


def packed(value: "Any") -> bytes:
    """The packet that carries this value directly."""
    return DIRECT + marshal.dumps(value)


def value_of(packet: bytes, fds: list[int]) -> "Any":
    """What a packet carries; a memory file is taken from the descriptors and closed."""
    if packet[:1] == DIRECT:
        return marshal.loads(memoryview(packet)[1:])  # noqa: S302 - from our own process
    memory = fds.pop(0)
    try:
        size = os.fstat(memory).st_size
        return marshal.loads(os.pread(memory, size, 0))  # noqa: S302 - from our own process
    finally:
        os.close(memory)


def send(sock: "_socket.socket", value: "Any", fds: "tuple[int, ...]" = ()) -> None:
    """One value with descriptors."""
    packet = packed(value)
    if len(packet) <= PACKET_BYTES:
        send_packet(sock, packet, fds)
        return
    memory = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        view = memoryview(packet)[1:]
        while view:
            view = view[os.write(memory, view) :]
        send_packet(sock, IN_MEMORY, (memory, *fds))
    finally:
        os.close(memory)


def receive(sock: "_socket.socket") -> "tuple[Any, list[int]]":
    """The next value and its descriptors; None when the other end is gone."""
    packet, fds = receive_packet(sock)
    return (value_of(packet, fds) if packet else None), fds
