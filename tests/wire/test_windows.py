"""Windows are small at first and grow for who goes on; all of them share what there is; nobody who
is taken from is ever kept from sending."""

from dataclasses import dataclass, field
from random import Random

import pytest

from builder.wire import frames, heads
from builder.wire.events import MessageReceived
from builder.wire.limits import Limits
from builder.wire.server import ServerConnection, windows_of
from builder.wire.stream import Stream
from builder.wire.windows import Windows
from tests.wire.peers import START, block, frame, message, request, sent

H, D = frames.HEADERS, frames.DATA
INITIAL = 65_535
ROUTES = {"/t.S/Stream": heads.Route(False, 4 << 20, "stream")}
OPEN = block(request("/t.S/Stream"))


@pytest.mark.parametrize(
    ("calls", "size"), [(0, 1000), (1, 1000), (2, 1000), (3, 666), (10, 200), (20, 100), (99, 100)]
)
def test_calls_that_go_on_have_equal_shares(calls: int, size: int) -> None:
    windows = Windows(100, 1000, 2000)
    for _ in range(calls):
        windows.join()
    assert windows.size == size
    for _ in range(calls):
        windows.leave()
    assert windows.size == 1000


@pytest.mark.parametrize("initial", [100, 1000])
def test_a_window_is_never_larger_than_the_most(initial: int) -> None:
    windows = Windows(initial, 100, 5000)
    assert windows.initial == windows.size == 100


@dataclass
class Sender:
    """A client that sends what it may."""

    connection: ServerConnection
    windows: dict[int, int] = field(default_factory=dict)
    waiting: list[tuple[Stream, int]] = field(default_factory=list)  # nobody has taken it yet
    sent_octets: int = 0

    def open(self, stream_id: int) -> None:
        self.windows[stream_id] = INITIAL
        assert len(self.connection.receive(frame(H, 4, stream_id, OPEN), 0.0)) == 1

    def send(self, stream_id: int, octets: int) -> None:
        """One message, in frames."""
        data = message(bytes(octets))
        while data:
            room = min(self.windows[stream_id], self.windows[0], 16_384)
            if room <= 0:
                return  # the rest is lost: what follows is in the message, too
            part, data = data[:room], data[room:]
            self.windows[stream_id] -= len(part)
            self.windows[0] -= len(part)
            self.sent_octets += len(part)
            for event in self.connection.receive(frame(D, 0, stream_id, part), 0.0):
                assert isinstance(event, MessageReceived), event
                self.waiting.append((event.stream, len(event.message)))
            self.hear()

    def take(self, index: int) -> None:
        self.connection.consumed(*self.waiting.pop(index))
        self.hear()

    def send_little(self, stream_id: int) -> None:
        """What is worth a window."""
        for _ in range(3):
            self.send(stream_id, 15_000)

    def take_all(self) -> None:
        while self.waiting:
            self.take(0)

    def hear(self) -> None:
        for name, _, stream_id, payload in sent(self.connection):
            assert name == "WINDOW_UPDATE"
            self.windows[stream_id] += int.from_bytes(payload, "big")

    def unread(self) -> int:
        return sum(stream.unread for stream in self.connection.streams.values())


def sender(windows: Windows, limits: Limits) -> Sender:
    connection = ServerConnection(limits, ROUTES, windows)
    connection.receive(START, 0.0)
    sent(connection)
    return Sender(connection, {0: limits.connection_window})


def alone(**limits: int) -> Sender:
    made = Limits(initial_window=INITIAL, **limits)
    one = sender(windows_of(made), made)
    one.open(1)
    return one


def test_a_call_has_a_larger_window_as_soon_as_something_is_taken() -> None:
    one = alone(stream_window=1 << 20)
    one.send_little(1)
    assert one.windows[1] == INITIAL - 3 * 15_005
    one.take_all()
    assert one.windows[1] == 1 << 20


def test_what_comes_of_a_large_message_is_room_for_the_rest_of_it() -> None:
    """However small the window was, and though nobody can take it before it is whole."""
    one = alone()
    one.send(1, 3 << 20)
    assert [octets for _, octets in one.waiting] == [3 << 20]


def test_a_window_that_is_too_large_by_now_shrinks_as_it_is_used() -> None:
    """Others came: it is not opened again until what it allowed is used and taken."""
    one = alone(stream_window=1 << 20, all_windows=1 << 20)
    one.send_little(1)
    one.take_all()
    for stream_id in range(3, 17, 2):
        one.open(stream_id)
        one.send_little(stream_id)
        one.take_all()
    assert one.windows[3] == (1 << 20) // 2
    assert one.windows[15] == (1 << 20) // 8
    while (left := one.windows[1] - 15_005) > (1 << 20) // 16:
        one.send(1, 15_000)
        one.take_all()
        assert one.windows[1] == left
    one.send(1, 15_000)
    one.take_all()
    assert one.windows[1] == (1 << 20) // 8


def test_who_has_ended_leaves_a_share_to_others() -> None:
    limits = Limits(initial_window=INITIAL, stream_window=1 << 20, all_windows=1 << 20)
    windows = windows_of(limits)
    one, two = sender(windows, limits), sender(windows, limits)
    for client in (one, two):
        for stream_id in (1, 3):
            client.open(stream_id)
            client.send_little(stream_id)
            client.take_all()
    assert windows.size == (1 << 20) // 4
    one.connection.receive(frame(frames.RST_STREAM, 0, 1, bytes(4)), 0.0)
    assert windows.size == (1 << 20) // 3
    one.connection.close()  # its client is gone
    one.connection.close()
    assert windows.size == (1 << 20) // 2
    two.connection.reset(two.connection.streams[1], 0)
    assert windows.size == 1 << 20


@pytest.mark.parametrize("seed", range(20))
def test_nobody_waits_for_ever_and_all_keep_within_what_there_is(seed: int) -> None:
    """Calls of two connections that send, pause and are taken from in any order."""
    random = Random(seed)
    limits = Limits(
        initial_window=INITIAL, stream_window=random.choice((1 << 18, 1 << 20)), all_windows=1 << 20
    )
    windows = windows_of(limits)
    clients = [sender(windows, limits) for _ in range(2)]
    ids = range(1, 2 * random.choice((1, 4, 12)), 2)
    for client in clients:
        for stream_id in ids:
            client.open(stream_id)
    for _ in range(400):
        client = random.choice(clients)
        stream_id = random.choice(ids)
        size = random.choice((0, 10, 5_000, 30_000))
        if client.windows[stream_id] > size + 5:
            client.send(stream_id, size)
        while client.waiting and random.random() < 0.6:
            client.take(random.randrange(len(client.waiting)))
    unread = sum(client.unread() for client in clients)
    assert unread <= 2 * max(1 << 20, INITIAL * 2 * len(ids))  # the half is a call's first window
    for client in clients:
        client.take_all()
        assert client.unread() == 0
        for stream_id in ids:
            assert client.windows[stream_id] * 2 >= min(INITIAL, windows.size)
            assert client.windows[stream_id] == client.connection.streams[stream_id].recv_credit
        client.connection.close()
    assert windows.size == limits.stream_window
