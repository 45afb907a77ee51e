"""What a client of an HTTP port cannot do to it.

hypercorn waits for as long as a client takes nothing of an answer, and does not let itself be
cancelled meanwhile: one such client would hold up the end of the whole service. So its streams are
ours. It speaks HTTP/2, too, where a client begins with that; these ports do not, as the wire with
all its limits is another one.
"""

from typing import Any

import trio
from starlette.responses import PlainTextResponse

App = Any  # of ASGI

REST_OCTETS = 64 * 1024
REST_S = 5.0
STALLED = 408


class Bounded(trio.abc.HalfCloseableStream):
    """A connection on which each piece of an answer has to be taken within `stall_s` seconds."""

    def __init__(self, stream: trio.SocketStream, stall_s: float) -> None:
        self.socket = stream.socket
        self.left = trio.Event()  # for the owner
        self._stream = stream
        self._stall_s = stall_s

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with trio.move_on_after(self._stall_s) as patience:
            try:
                await self._stream.send_all(data)
            except trio.BusyResourceError:  # hypercorn closes while something is being sent
                raise trio.BrokenResourceError("it is being closed") from None
        if patience.cancelled_caught:
            self.cut()
            raise trio.BrokenResourceError(f"the client took nothing for {self._stall_s:g} s")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def cut(self) -> None:
        """Whoever waits for this client waits no longer."""
        self.socket.close()


def strictly(app: App) -> App:
    """`app`, for requests of HTTP/1 whose end is beyond doubt (RFC 9112, 6.1): one that a proxy
    in front may have understood otherwise is refused, and nothing that follows is read."""

    async def pass_or_refuse(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        fields = {name.lower(): value for name, value in scope["headers"]}
        names = fields.keys()
        handler = app
        if not scope["http_version"].startswith("1"):
            handler = PlainTextResponse("this port speaks HTTP/1.1\n", 505)
        elif {b"content-length", b"transfer-encoding"} <= names:
            text = "Content-Length and Transfer-Encoding exclude each other: send one\n"
            handler = PlainTextResponse(text, 400, {"connection": "close"})
        elif b"expect" not in names and 0 < int(fields.get(b"content-length", 0)) <= REST_OCTETS:
            body = Body(receive, send)
            receive, send = body.receive, body.send
        await handler(scope, receive, send)

    return pass_or_refuse


class Body:
    """Of a request: the rest of a short one is taken before an answer that did not wait for it, as
    a refusal. hypercorn closes the connection otherwise, and the client may not read why."""

    def __init__(self, receive: Any, send: Any) -> None:
        self._receive, self._send = receive, send
        self._more = True

    async def receive(self) -> Any:
        message = await self._receive()
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] != STALLED:
            with trio.move_on_after(REST_S):
                while self._more:
                    await self.receive()
        await self._send(message)
