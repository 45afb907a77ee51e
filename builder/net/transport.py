"""Hot: a byte stream over a socket, made for a connection that answers inside its receive loop.

Receiving waits; writing never does: `write` hands to the kernel what it takes and keeps the rest
for `flush`, so that all answers of one receive leave in one system call and blobs leave by
`sendmsg` without a copy. A call that is alone in flight costs one epoll round and two system
calls, about 45 us of CPU (`python -m tests.bench wire`, figures.one_in_flight_cpu_us).

trio's own socket class is not used below: its checkpoints around each call cost more than the
calls. Fairness is kept: every receive passes through the scheduler once.
"""

import socket
import ssl
from typing import Final, Protocol

import trio

from builder.net.rpc import Buffer
from builder.net.tls import Context, name_of

SMALL_READ: Final = 64 * 1024
LARGE_READ: Final = 1024 * 1024  # half as much costs an upload a tenth more CPU
MAX_VECTORS: Final = 1024  # IOV_MAX of Linux and of macOS
JOIN_BELOW: Final = 32 * 1024  # joining costs less than a vector for each piece


class Transport(Protocol):
    """What a link needs of its socket. `why` says what TLS said when it ended the connection."""

    why: str

    async def receive(self, bulky: bool = True) -> bytes:
        """What has arrived, or b"" when the peer is gone; much at once only if `bulky`: if what
        came last was bodies for the most part. A MiB of small calls takes half a second of what
        all connections share."""
        ...

    def write(self, buffers: list[Buffer]) -> bool:
        """Send what the kernel takes now; True when that was all. Raises OSError."""
        ...

    def flush(self) -> bool:
        """Send more of what is left; True when nothing is left. Raises OSError."""
        ...

    async def wait_writable(self) -> None: ...

    def doze(self, octets: int) -> bool:
        """Be woken for so many octets, or for the end; whether that is possible."""
        ...

    def read_now(self) -> bytes:
        """What has arrived, if anything."""
        ...

    def close(self) -> None: ...


class SocketTransport:
    """A plain socket, which must not block."""

    __slots__ = ("_read_size", "_rest", "sock", "why")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.why = ""
        self._rest: list[Buffer] = []
        self._read_size = SMALL_READ

    async def receive(self, bulky: bool = True) -> bytes:
        while True:
            if self._read_size == SMALL_READ:
                await trio.lowlevel.wait_readable(self.sock)
            else:
                await trio.lowlevel.checkpoint()
            size = self._read_size if bulky else SMALL_READ
            try:
                data = self.sock.recv(size)
            except BlockingIOError:
                self._read_size = SMALL_READ
                continue
            except OSError:
                return b""
            came = len(data)  # a block that stays nearly empty leaves a hole in the heap
            self._read_size = min(LARGE_READ, 2 * came) if came >= SMALL_READ else SMALL_READ
            return data

    def write(self, buffers: list[Buffer]) -> bool:
        if self._rest:
            self._rest += buffers
            return False
        if len(buffers) == 1:
            data = buffers[0]
        elif sum(map(len, buffers)) <= JOIN_BELOW:
            data = b"".join(buffers)
        else:
            self._rest = buffers
            return self.flush()
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._rest = [memoryview(data)[sent:]]
            return False
        return True

    def flush(self) -> bool:
        try:
            while self._rest:
                self._send_some()
        except BlockingIOError:
            return False
        return True

    def _send_some(self) -> None:
        rest = self._rest
        if len(rest) > 1 and sum(map(len, rest)) <= JOIN_BELOW:
            rest[:] = [b"".join(rest)]
        single = len(rest) == 1
        sent = self.sock.send(rest[0]) if single else self.sock.sendmsg(rest[:MAX_VECTORS])
        done = 0
        for buffer in rest:
            if sent < len(buffer):
                break
            sent -= len(buffer)
            done += 1
        del rest[:done]
        if sent:
            rest[0] = memoryview(rest[0])[sent:]

    async def wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self.sock)

    def doze(self, octets: int) -> bool:
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, octets)
        except OSError:
            return False
        return True

    def read_now(self) -> bytes:
        try:
            return self.sock.recv(SMALL_READ)
        except OSError:  # BlockingIOError is one; what is wrong with the socket wakes its reader
            return b""

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()


class TlsTransport:
    """TLS over a plain transport, by memory buffers: encryption needs no waiting of its own."""

    __slots__ = ("_in", "_out", "_raw", "tls", "why")

    def __init__(self, raw: SocketTransport, context: Context, server_hostname: str | None) -> None:
        self._raw = raw
        self.why = ""
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._in,
            self._out,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )

    async def handshake(self) -> None:
        """Raises ssl.SSLError, and OSError when the peer leaves."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._push()
                if not await self._pull():
                    raise ConnectionResetError("the peer left during the TLS handshake") from None
            except ssl.SSLError:
                await self._push()  # the alert that tells the peer why
                raise
            else:
                await self._push()
                return

    def identity(self) -> str:
        """Who the peer's certificate says it is."""
        return name_of(self.tls)

    async def _push(self) -> None:
        done = self._raw.write([self._out.read()]) if self._out.pending else self._raw.flush()
        while not done:
            await self._raw.wait_writable()
            done = self._raw.flush()

    async def _pull(self, bulky: bool = False) -> bool:
        data = await self._raw.receive(bulky)
        if not data:
            self._in.write_eof()
            return False
        self._in.write(data)
        return True

    async def receive(self, bulky: bool = True) -> bytes:
        try:
            while True:
                data, ended = self._decrypt()
                if self._out.pending:
                    self._raw.write([self._out.read()])
                if data or ended or not await self._pull(bulky):
                    return data
        except OSError as error:  # ssl.SSLError is one
            self.why = f"TLS: {getattr(error, 'reason', '') or error}".lower().replace("_", " ")
            return b""

    def _decrypt(self) -> tuple[bytes, bool]:
        """What is there to read, and whether the peer has ended the stream."""
        parts: list[bytes] = []
        try:
            while part := self.tls.read(SMALL_READ):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts), False
        return b"".join(parts), True

    def write(self, buffers: list[Buffer]) -> bool:
        try:
            for buffer in buffers if len(buffers) == 1 else _merged(buffers):
                self.tls.write(buffer)
        except ssl.SSLError as error:
            raise ConnectionResetError(f"TLS: {error}") from None
        return self._raw.write([self._out.read()]) if self._out.pending else self._raw.flush()

    def flush(self) -> bool:
        return self._raw.flush()

    async def wait_writable(self) -> None:
        await self._raw.wait_writable()

    def doze(self, octets: int) -> bool:  # noqa: ARG002 -- how long a record is, the peer decides
        return False

    def read_now(self) -> bytes:
        return b""

    def close(self) -> None:
        self._raw.close()


def _merged(buffers: list[Buffer]) -> list[Buffer]:
    """One buffer, so that small frames share TLS records; empty ones would be an error."""
    whole = b"".join(buffers)
    return [whole] if whole else []
