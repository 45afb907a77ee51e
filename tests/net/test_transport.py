"""How much of what has arrived a transport reads at once."""

import socket

import pytest

from builder.net.transport import SMALL_READ, SocketTransport


@pytest.mark.parametrize(("bulky", "most"), [(False, SMALL_READ), (True, 10 * SMALL_READ)])
async def test_much_is_read_at_once_of_bodies_only(bulky: bool, most: int) -> None:
    """So that the small calls of one client leave their turns to others."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for one in (ours, theirs):
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sent = theirs.send(bytes(3 * SMALL_READ))
        assert sent > 2 * SMALL_READ
        transport = SocketTransport(ours)
        first = await transport.receive(bulky)
        assert len(first) == SMALL_READ
        second = await transport.receive(bulky)
        assert len(second) == min(most, sent - SMALL_READ)
