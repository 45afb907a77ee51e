"""What a crowd of idle connections costs: their PINGs are answered together.

A PING every ten seconds is 17 octets, and what it costs is to wake a process that sleeps: 100 us
for the shortest program of this language, 300 for us, and a thousand connections take 3 % of a
core so. Hence the kernel is told (SO_RCVLOWAT, socket(7)) to wake us for no less than 18 octets on
connections that are silent and have no stream. No call is that short; the end of a connection
wakes us too. What came and was shorter is taken by a round over all of them, and a PING answered
within `EVERY_S`: keepalive gives it 20 s (gRPC, A8). Where there is no crowd, nobody dozes.
"""

from collections.abc import Collection

import trio

from builder.net.serving import ServerLink

EVERY_S = 2.0
CROWD = 100  # connections, below which each is answered at once
SILENT_S = 2.5


def go_round(links: Collection[ServerLink], now: float) -> None:
    """Look after those that doze, and put those to sleep that may."""
    crowded = len(links) > CROWD
    for link in links:
        if link.dozes:
            link.look(now)
            if not crowded:
                link.rouse()
        elif crowded and now - link.heard_at > SILENT_S:
            link.doze()


async def rounds(links: dict[ServerLink, None]) -> None:
    """Go round for ever."""
    while True:
        await trio.sleep(EVERY_S)
        go_round(list(links), trio.current_time())
