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

from builder.host.descriptors import aside
from builder.sandbox.kernel import identity

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SOCKETS, NO_SOCKET = "/proc/self/net/sockstat", b"sockets: used 0\n"
COUNTERS = ("/proc/self/net/snmp", "/proc/self/net/snmp6")
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


class Network:
    """Of this process, once it has been refreshed. Its files of /proc stay open with it."""

    def __init__(self) -> None:
        self._files: list[int] = []
        self._as_made = b""

    def refresh(self) -> None:
        """Stay in a used one that is as it was made, else enter a new one, its loopback up."""
        if self.is_as_made():
            return
        identity.unshare(identity.CLONE_NEWNET)
        raise_loopback()
        for fd in self._files:
            os.close(fd)
        self._files = []
        for path in (SOCKETS, *COUNTERS):
            try:
                self._files.append(aside(os.open(path, READ)))
            except FileNotFoundError:
                continue  # this kernel lacks it, as without IPv6
        self._as_made = self.traces()

    def is_as_made(self) -> bool:
        return self._as_made != b"" and self.traces() == self._as_made

    def traces(self) -> bytes:
        """What has happened in it; empty when a socket is open in it."""
        sockets, *counters = self._files or (-1,)
        if sockets < 0 or not os.pread(sockets, READ_BYTES, 0).startswith(NO_SOCKET):
            return b""
        return b"".join([os.pread(fd, READ_BYTES, 0) for fd in counters])
