"""Streaming calls of a channel whose server refuses them, or goes away. The server is h2."""

import pytest
import trio

from builder.base.errors import UnavailableError
from builder.net.channel import Channel
from builder.net.retrying import MAX_TRIES, REPLAY_OCTETS
from tests.net.test_channel_faults import HEAD, Peer, scripted, start

LARGE = REPLAY_OCTETS // 2


def message(body: bytes) -> bytes:
    return b"\0" + len(body).to_bytes(4, "big") + body


class Refusing:
    """Turns the first `times` calls away, each when it has come so far; answers with their size."""

    def __init__(self, how: str, times: int) -> None:
        self.how = how
        self.left = times
        self.calls = 0

    async def __call__(self, peer: Peer, _number: int) -> None:
        await start(peer)
        while True:
            stream_id, size = await peer.body()
            self.calls += 1
            if not self.left:
                peer.answer(stream_id, b"%d" % size)
            elif self.how == "refused":
                peer.h2.reset_stream(stream_id, 7)
            else:
                peer.h2.close_connection(0, last_stream_id=0)
            self.left -= bool(self.left)
            await peer.flush()


@pytest.mark.parametrize("how", ["refused", "goaway"])
@pytest.mark.parametrize("times", [1, 4])
async def test_a_stream_that_is_not_processed_begins_again(how: str, times: int) -> None:
    """All that was said is said again, in order, and the caller does not notice."""
    script = Refusing(how, times)
    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            async with channel.stream("/x/Y") as call:
                await call.send(b"one")
                await call.send([b"t", b"wo"])
                await call.done_sending()
                assert await call.receive() == b"%d" % len(message(b"one") + message(b"two"))
                assert await call.receive() is None
    assert script.calls == times + 1


async def test_it_gives_up_in_the_end() -> None:
    """A server that never takes the call is unavailable."""
    script = Refusing("refused", 1000)
    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            with pytest.raises(UnavailableError, match="reset"):
                async with channel.stream("/x/Y") as call:
                    await call.send(b"one")
                    await call.done_sending()
                    await call.receive()
    assert script.calls == MAX_TRIES


async def test_who_has_said_much_is_told() -> None:
    """What is not remembered cannot be said again."""
    script = Refusing("refused", 1)
    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            with pytest.raises(UnavailableError, match="reset"):
                async with channel.stream("/x/Y") as call:
                    for _ in range(3):
                        await call.send(bytes(LARGE))
                    await call.done_sending()
                    await call.receive()
    assert script.calls == 1


async def test_a_call_that_was_answered_is_not_made_again() -> None:
    """Whatever the reset says: the server did something."""
    answered = trio.Event()

    async def script(peer: Peer, number: int) -> None:
        await start(peer)
        stream_id, _ = await peer.body()
        peer.h2.send_headers(stream_id, HEAD)
        peer.h2.send_data(stream_id, message(b"first"))
        await peer.flush()
        await answered.wait()
        peer.h2.reset_stream(stream_id, 7)
        await peer.flush()
        await peer.body()
        raise AssertionError("it came again")

    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            async with channel.stream("/x/Y") as call:
                await call.send(b"one")
                await call.done_sending()
                assert await call.receive() == b"first"
                answered.set()
                with pytest.raises(UnavailableError, match="reset"):
                    await call.receive()


async def test_sender_and_receiver_may_both_find_it_dead() -> None:
    """Each message is said once to the call that is answered, whoever began it."""
    refused = trio.Event()

    async def script(peer: Peer, number: int) -> None:
        await start(peer)
        stream_id = await peer.opened()
        peer.h2.reset_stream(stream_id, 7)
        await peer.flush()
        refused.set()
        while True:
            stream_id, size = await peer.body()
            peer.answer(stream_id, b"%d" % size)
            await peer.flush()

    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            async with channel.stream("/x/Y") as call, trio.open_nursery() as nursery:

                async def say() -> None:
                    await call.send(b"0")
                    await refused.wait()
                    for number in range(1, 10):
                        await call.send(b"%d" % number)
                    await call.done_sending()

                nursery.start_soon(say)
                assert await call.receive() == b"60"
                assert await call.receive() is None


async def test_what_was_answered_ok_is_never_said_again() -> None:
    script = Refusing("refused", 0)
    with trio.fail_after(60):
        async with scripted(script) as address, Channel(address) as channel:
            async with channel.stream("/x/Y") as call:
                await call.done_sending()
                assert await call.receive() == b"0"
                assert await call.receive() is None
    assert script.calls == 1
