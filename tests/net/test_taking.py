"""Messages that a handler takes in place, as they come."""

from collections.abc import Sequence

import pytest
import trio

from builder.base.errors import InvalidArgumentError
from builder.net.channel import Channel
from builder.net.rpc import Buffer, Call, Method, Service
from tests.net.echo import serving

LARGE = b"l" * 200_000  # comes in pieces, or as one


def service(heard: list[bytes], left: list[bytes]) -> Service:
    """Takes messages until one begins with `n`; receives that one, and takes the next ones."""

    async def stream(call: Call) -> None:
        def taken(pieces: Sequence[Buffer]) -> bool:
            message = b"".join(pieces)
            if message == b"bad":
                raise InvalidArgumentError("bad")
            if message.startswith(b"n"):
                return False
            heard.append(message)
            return True

        while True:
            await call.take(taken)
            pieces = await call.receive_pieces()
            if pieces is None:
                await call.send(b"%d" % len(heard))
                return
            left.append(b"".join(pieces))

    return Service("t", (Method("/t/S", stream=stream, pieces=True),))


async def send(channel: Channel, messages: list[bytes]) -> bytes | None:
    """The answer."""
    async with channel.stream("/t/S") as call:
        for message in messages:
            await call.send(message)
        await call.done_sending()
        return await call.receive()


async def ask(messages: list[bytes]) -> tuple[bytes | None, list[bytes], list[bytes]]:
    """The answer, what was taken, and what was received."""
    heard: list[bytes] = []
    left: list[bytes] = []
    with trio.fail_after(60):
        async with (
            serving(service(heard, left)) as server,
            Channel(server.addresses[0]) as channel,
        ):
            return await send(channel, messages), heard, left


async def test_what_is_not_taken_is_received() -> None:
    """In order, and what comes after it is taken again."""
    assert await ask([]) == (b"0", [], [])
    assert await ask([b"a", LARGE, b"b"]) == (b"3", [b"a", LARGE, b"b"], [])
    messages = [b"a", b"n1", b"n2" + LARGE, LARGE, b"b"]
    assert await ask(messages) == (b"3", [b"a", LARGE, b"b"], messages[1:3])


async def test_many_more_bytes_than_a_window_are_taken() -> None:
    """What is taken is given back to the client."""
    messages = [b"%d" % number + LARGE * 5 for number in range(20)]
    assert await ask(messages) == (b"20", messages, [])


async def test_an_error_ends_the_call() -> None:
    """That of the first message that has one."""
    with trio.fail_after(60):
        async with serving(service([], [])) as server, Channel(server.addresses[0]) as channel:
            with pytest.raises(InvalidArgumentError, match="bad"):
                await send(channel, [b"a", b"bad", b"bad", b"b"])
