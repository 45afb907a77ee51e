"""Calls to a server over a blocking socket, for a program that has nothing else to do meanwhile.

`channel.Channel` is the client for everything else: this one does without trio, whose import alone
takes longer than what `client.warm` does with it. Any irregularity is an error.
"""

import contextlib
import socket
import time
from collections.abc import Sequence
from types import TracebackType

from builder.base.errors import Code, UnavailableError, from_status
from builder.base.version import VERSION
from builder.wire.client import ClientConnection
from builder.wire.events import (
    ConnectionEnded,
    GoawayReceived,
    MessageReceived,
    ResponseEnded,
    StreamReset,
)
from builder.wire.limits import Limits
from builder.wire.stream import whole

BUDGET = 1024 * 1024
AT_ONCE = 100  # calls; servers should take so many (RFC 9113, 6.5.2), and need not have said so yet
LIMITS = Limits(
    max_message=64 * 1024 * 1024,
    stream_window=4 * 1024 * 1024,
    connection_window=32 * 1024 * 1024,
    max_control=1_000_000,
    max_tiny_data=1_000_000_000,
)


class BlockingChannel:
    """One connection to `host:port` or `unix:/path`, without TLS. `timeout_s` is for each wait.

    Raises OSError when it cannot connect.
    """

    def __init__(self, address: str, token: str = "", timeout_s: float = 5.0) -> None:
        self._socket = _connected(address, timeout_s)
        authority = "localhost" if address.startswith("unix:") else address
        self._wire = ClientConnection(LIMITS, authority, "http", f"builder/{VERSION}")
        self._metadata = {"authorization": f"Bearer {token}"} if token else None

    def unary(self, path: str, requests: Sequence[bytes]) -> list[bytes]:
        """The answers to several requests that travel together, in order.

        Raises StatusError for the first that fails, OSError when the connection does.
        """
        answers: list[bytes] = []
        while len(answers) < len(requests):
            at = len(answers)
            answers += self._together(path, requests[at : at + AT_ONCE])
        return answers

    def _together(self, path: str, requests: Sequence[bytes]) -> list[bytes]:
        wire = self._wire
        streams = {}
        for number, request in enumerate(requests):
            stream = wire.open(path, self._metadata)
            wire.send_message(stream, request)
            wire.finish(stream)
            streams[stream.id] = number
        answers = [b""] * len(requests)
        while streams:
            self._flush()
            data = self._socket.recv(BUDGET)
            if not data:
                raise UnavailableError("the server closed the connection")
            for event in wire.receive(data, time.monotonic()):
                match event:
                    case MessageReceived(stream, message):
                        answers[streams[stream.id]] = message = whole(message)
                        wire.consumed(stream, len(message))
                    case ResponseEnded(stream, code, text, details):
                        if code != Code.OK:
                            raise from_status(code, text, details)
                        del streams[stream.id]
                    case StreamReset() | GoawayReceived() | ConnectionEnded():
                        raise UnavailableError("the server refuses the call")
        return answers

    def _flush(self) -> None:
        while True:
            for buffer in self._wire.take(BUDGET):
                self._socket.sendall(buffer)
            if not self._wire.sender.has_more():
                return

    def __enter__(self) -> "BlockingChannel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._flush()
        self._socket.close()


def _connected(address: str, timeout_s: float) -> socket.socket:
    if address.startswith("unix:"):
        made = socket.socket(socket.AF_UNIX)
        try:
            made.settimeout(timeout_s)
            made.connect(address.removeprefix("unix:"))
        except OSError:
            made.close()
            raise
        return made
    host, _, port = address.rpartition(":")
    found = socket.create_connection((host.strip("[]"), int(port)), timeout_s)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found
