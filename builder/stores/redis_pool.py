"""Connections to Redis that outlive every outage.

coredis hands a slot of its pool to whoever dials, and it is lost when that is cancelled (a call
whose deadline ends while Redis is unreachable), or when a connection dies in somebody's hands:
after as many outages as there are slots nobody would ever be served again. And what a connection
is made of stays open when it cannot be dialled. So who may have a connection is counted here, and
a slot that is missing is put back.
"""

from typing import Any

import trio
from anyio.abc import ByteStream
from coredis import ConnectionPool
from coredis.connection import BaseConnection, TCPConnection, UnixDomainSocketConnection

MOST = 64  # connections at once


class _Tidy(BaseConnection):
    """A connection that leaves nothing open when it cannot be dialled."""

    async def _connect(self) -> ByteStream:
        try:
            return await super()._connect()  # type: ignore[safe-super]  # of the class beside it
        except BaseException:
            self._write_buffer_in.close()
            self._write_buffer_out.close()
            self._push_message_buffer_in.close()
            self._push_message_buffer_out.close()
            self._streamed_message_buffer_in.close()
            self._streamed_message_buffer_out.close()
            raise


class Tcp(_Tidy, TCPConnection):
    pass


class Unix(_Tidy, UnixDomainSocketConnection):
    pass


class Pool(ConnectionPool[BaseConnection]):
    """At most MOST connections are dialled or used at once."""

    def __init__(self, **options: Any) -> None:
        is_unix = options.pop("connection_class") is UnixDomainSocketConnection
        super().__init__(connection_class=Unix if is_unix else Tcp, max_connections=MOST, **options)
        self._free = trio.Semaphore(MOST)

    async def get_connection(self, **options: Any) -> BaseConnection:
        await self._free.acquire()
        try:
            if self._available_connections.empty():  # though fewer than MOST are out
                self._available_connections.append_nowait(None)
            return await super().get_connection(**options)
        except BaseException:
            self._free.release()
            raise

    def release(self, connection: BaseConnection) -> None:
        self._free.release()
        super().release(connection)
