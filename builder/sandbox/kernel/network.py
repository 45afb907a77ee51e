"""The network namespace of a sandbox: a new one, or one in which nothing has ever happened.

Making one and ending one are the dearest things in the life of a sandbox. Most actions send no
packet, and theirs is afterwards what it was: an action has no capabilities over it, so what could
stay are sockets, counters, and what the kernel remembers of peers, which all follow packets. The
next sandbox takes it only when no socket is left in it and every counter of IP, ICMP, TCP and UDP
says byte for byte what it said when the namespace was made; else it makes a new one.
"""

import _socket
import fcntl
import os

from builder.sandbox.kernel import identity

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
PROC = "/proc/"
COUNTERS = ("self/net/snmp", "self/net/snmp6")  # below that
SOCKETS, NO_SOCKET = "self/net/sockstat", b"sockets: used 0\n"
READ, READ_BYTES = os.O_RDONLY | os.O_CLOEXEC, 65536


def raise_loopback() -> None:
    """`ip link set lo up`."""
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        request = b"lo".ljust(16, b"\0") + bytes(24)
        answer = fcntl.ioctl(probe.fileno(), SIOCGIFFLAGS, request)
        flags = int.from_bytes(answer[16:18], "little") | IFF_UP
        request = b"lo".ljust(16, b"\0") + flags.to_bytes(2, "little") + bytes(22)
        fcntl.ioctl(probe.fileno(), SIOCSIFFLAGS, request)
    finally:
        probe.close()


def content(path: str, proc: "int | None" = None) -> bytes:
    """Of a file of /proc, in one piece; nothing where the kernel lacks it, as without IPv6. `proc`
    is the directory to look in where /proc is that of others."""
    try:
        fd = os.open(path if proc is not None else PROC + path, READ, dir_fd=proc)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, READ_BYTES)
    finally:
        os.close(fd)


def traces(proc: "int | None" = None) -> bytes:
    """What has happened in this process's network; empty when a socket is open in it."""
    if not content(SOCKETS, proc).startswith(NO_SOCKET):
        return b""
    return b"".join(content(path, proc) for path in COUNTERS)


def make() -> bytes:
    """Enter a new one, its loopback up; the traces that it has then."""
    identity.unshare(identity.CLONE_NEWNET)
    raise_loopback()
    return traces()


def fresh(as_made: bytes) -> bytes:
    """Stay in a used one if it has no traces but those that it was made with, else make a new
    one; the traces in either case. Nothing is as it was made when `as_made` is empty."""
    return as_made if as_made and traces() == as_made else make()
