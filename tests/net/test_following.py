"""Calls without a task: answers told by whoever has the news, and messages taken in place."""

import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from builder.base.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError
from builder.net.channel import Channel
from builder.net.rpc import Call, ClientCall, Context, Following, Method, Service, Told
from tests.net.echo import serving


@dataclass
class News:
    """A service whose calls the test answers by hand; `over` counts those that have ended."""

    calls: list[Told] = field(default_factory=list)
    begun: trio.Event = field(default_factory=trio.Event)
    over: int = 0
    left: trio.Event = field(default_factory=trio.Event)

    def follow(self, request: bytes, context: Context) -> Following:
        def begin(told: Told) -> Callable[[], None]:
            if request == b"bad":
                raise InvalidArgumentError("bad")
            if request == b"at once":
                told.tell(b"1")
                told.end(b"2")
                told.flush()
            self.calls.append(told)
            self.begun.set()
            return self.end

        return Following(begin)

    def end(self) -> None:
        self.over += 1
        self.left.set()

    async def all_over(self) -> None:
        while self.over < len(self.calls):
            await self.left.wait()
            self.left = trio.Event()

    def service(self) -> Service:
        return Service("t", (Method("/t/F", single=self.follow),))


@asynccontextmanager
async def asking(
    news: News, request: bytes = b"", timeout_s: float | None = None
) -> AsyncIterator[ClientCall]:
    with trio.fail_after(60):
        async with serving(news.service()) as server, Channel(server.addresses[0]) as channel:
            async with channel.stream("/t/F", timeout_s=timeout_s) as call:
                await call.send(request)
                await call.done_sending()
                yield call


async def test_answers_are_told_by_and_by() -> None:
    """Each leaves with a flush; the last one ends the call, and what comes after is nothing."""
    news = News()
    async with asking(news) as call:
        await news.begun.wait()
        told = news.calls[0]
        for message in (b"1", b"x" * 100_000):
            told.tell(message)
            told.flush()
            assert await call.receive() == message
        told.end(b"3")
        told.flush()
        assert news.over == 1
        told.tell(b"4")
        told.end(b"5")
        told.fail(NotFoundError("late"))
        told.flush()
        assert await call.receive() == b"3"
        assert await call.receive() is None
    assert news.over == 1


async def test_a_call_may_end_while_it_begins() -> None:
    """What begin returns is called then, too."""
    news = News()
    async with asking(news, b"at once") as call:
        assert [await call.receive() for _ in range(3)] == [b"1", b"2", None]
    assert news.over == 1


@pytest.mark.parametrize("begun", [True, False])
async def test_a_call_may_fail(begun: bool) -> None:
    """With the status of the error, in the beginning or later."""
    news = News()
    async with asking(news, b"" if begun else b"bad") as call:
        if begun:
            await news.begun.wait()
            news.calls[0].fail(InvalidArgumentError("bad"))
            news.calls[0].flush()
        with pytest.raises(InvalidArgumentError, match="bad"):
            await call.receive()
    assert news.over == begun


@pytest.mark.parametrize("how", ["reset", "disconnect", "deadline"])
async def test_who_answers_hears_that_the_client_has_left(how: str) -> None:
    """Once, and answers are for nobody then."""
    news = News()
    with trio.fail_after(60):
        async with serving(news.service()) as server:
            async with Channel(server.addresses[0]) as channel:
                if how == "deadline":
                    await _run_out_of_time(channel, news.begun)
                else:
                    async with channel.stream("/t/F") as call:
                        await call.send(b"")
                        await call.done_sending()
                        await news.begun.wait()
                if how == "reset":
                    await news.all_over()
            await news.all_over()
            news.calls[0].end(b"nobody")
            news.calls[0].flush()
    assert news.over == len(news.calls)


async def _run_out_of_time(channel: Channel, begun: trio.Event) -> None:
    """In a time that is long enough for the call to begin."""
    timeout_s = 0.05
    while not begun.is_set():
        timeout_s *= 2
        with pytest.raises(DeadlineExceededError):
            async with channel.stream("/t/F", timeout_s=timeout_s) as call:
                await call.send(b"")
                await call.done_sending()
                await call.receive()


async def test_a_slow_client_hears_the_latest_and_the_end() -> None:
    """What it does not take in time is left out; the end never is."""
    news = News()
    async with asking(news) as call:
        await news.begun.wait()
        told, pieces = news.calls[0], 200
        for number in range(pieces):
            told.tell(bytes([number]) * 1_000_000)
        told.end(b"end")
        told.flush()
        heard = []
        while (message := await call.receive()) is not None:
            heard.append(message)
        assert heard[-1] == b"end"
        assert len(heard) < pieces


async def test_messages_are_taken_in_place() -> None:
    """Those that came before, those that come, and answers are posted meanwhile."""

    async def each(call: Call) -> None:
        await call.receive()

        def heard(message: bytes) -> None:
            if message == b"bad":
                raise InvalidArgumentError("bad")
            if message == b"stop":
                call.stop(NotFoundError("stopped"))
            call.post(message + b"!")
            call.flush()

        await call.each(heard)

    async def ask(channel: Channel, *messages: bytes) -> list[bytes]:
        async with channel.stream("/t/E") as call:
            for message in (b"first", *messages):
                await call.send(message)
            await call.done_sending()
            heard = []
            while (answer := await call.receive()) is not None:
                heard.append(answer)
            return heard

    service = Service("t", (Method("/t/E", stream=each),))
    with trio.fail_after(60):
        async with serving(service) as server, Channel(server.addresses[0]) as channel:
            assert await ask(channel) == []
            assert await ask(channel, b"a", b"b" * 9000) == [b"a!", b"b" * 9000 + b"!"]
            with pytest.raises(InvalidArgumentError, match="bad"):
                await ask(channel, b"a", b"bad", b"b")
            with pytest.raises(NotFoundError, match="stopped"):
                await ask(channel, b"stop", b"b")


class Ear:
    """What a call calls at its end; it knows the call."""

    def __init__(self, told: Told) -> None:
        self.told = told

    def __call__(self) -> None:
        """Nothing is left to be done."""


async def test_a_call_that_is_over_is_no_work_for_the_garbage_collector() -> None:
    """A thousand a second would be: call and ear know each other, and part at the end."""
    ears: list[weakref.ref[Ear]] = []
    open_calls: list[Told] = []

    def begin(told: Told) -> Callable[[], None]:
        open_calls.append(told)
        ear = Ear(told)
        ears.append(weakref.ref(ear))
        return ear

    service = Service("t", (Method("/t/F", single=lambda _request, _context: Following(begin)),))
    with trio.fail_after(60):
        async with serving(service) as server, Channel(server.addresses[0]) as channel:
            async with channel.stream("/t/F") as call:
                await call.send(b"")
                await call.done_sending()
                while not open_calls:
                    await trio.lowlevel.checkpoint()
                assert ears[0]() is not None
                open_calls[0].end(b"1")
                open_calls.pop().flush()
                assert ears[0]() is None
                assert await call.receive() == b"1"
