"""What an action writes, as it writes it: its log streams, read to their ends.

A connection that breaks is taken up again where it was; what has been told is not told twice.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import trio

from builder.assembly.dial import client_access, open_channel
from builder.base.errors import UnavailableError
from builder.client.retry import pauses
from builder.config.settings import Client
from builder.net.rpc import Channel
from builder.net.together import each
from builder.reapi.pb import bytestream_pb2 as bs

READ = "/google.bytestream.ByteStream/Read"
Stream = Literal["stdout", "stderr"]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
Tell = Callable[[Stream, bytes], None]


async def follow(client: Client, operation: str, tell: Tell) -> None:
    """Until the action has ended. Raises StatusError, NotFoundError for an operation of no name."""
    async with open_channel(str(client.coordinator), client_access(client)) as channel:
        await each(partial(_follow, channel, operation, tell), STREAMS)


async def _follow(channel: Channel, operation: str, tell: Tell, stream: Stream) -> None:
    at, waits = 0, pauses()
    while True:
        before = at
        request = bs.ReadRequest(resource_name=f"{operation}/logstreams/{stream}", read_offset=at)
        try:
            async with channel.stream(READ) as call:
                await call.send(request.SerializeToString())
                await call.done_sending()
                while (message := await call.receive()) is not None:
                    data = bs.ReadResponse.FromString(message).data
                    at += len(data)
                    tell(stream, data)
            return
        except UnavailableError:
            if at > before:
                waits = pauses()  # it had worked: this is another breakage
            if (pause := next(waits, None)) is None:
                raise
            await trio.sleep(pause)
