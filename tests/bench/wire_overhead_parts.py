"""What watching costs: pairs of equal turns at two ports of one process, one of them watched.

A machine that others use may change its pace between two seconds, but seldom between two turns of
some milliseconds; so each turn is compared with its neighbour only, and the figure is the median
of all pairs. CPU time of the server is read by nanoseconds (clock_getcpuclockid(3)).
"""

import itertools
import selectors
import statistics
import time

from tests.bench.wire_load_parts import Connection, bodies

PAIRS = 51
CALLS = 1024  # of a turn, in all
CONNECTIONS, DEPTH = 4, 64


class Side:
    """Connections to one port, which stay for all turns."""

    def __init__(self, port: int, metadata: bool) -> None:
        self._metadata = metadata
        self._selector = selectors.DefaultSelector()
        self._peers = [Connection(port, DEPTH, bodies()) for _ in range(CONNECTIONS)]
        self._numbers = itertools.count()
        for peer in self._peers:
            self._selector.register(peer.sock, selectors.EVENT_READ, peer)
            peer.call(1)
            peer.flush()
            while peer.done == 0:
                peer.receive()

    def turn(self) -> None:
        """CALLS calls, and nothing is left open."""
        for peer in self._peers:
            if self._metadata:
                peer.vary(CALLS // CONNECTIONS, self._numbers)
        left = dict.fromkeys(self._peers, CALLS // CONNECTIONS)
        ended = dict(left)
        for peer in self._peers:
            left[peer] -= DEPTH
            peer.call(DEPTH)
            peer.flush()
        while any(ended.values()):
            for key, _ in self._selector.select(10):
                peer = key.data
                done = peer.receive()
                ended[peer] -= done
                more = min(done, left[peer])
                left[peer] -= more
                peer.call(more)
                peer.flush()

    def close(self) -> None:
        for peer in self._peers:
            peer.sock.close()


def cpu_clock(pid: int) -> int:
    """The kernel's id of a process's CPU clock."""
    return ~pid << 3 | 2


def overhead(pid: int, watched: int, bare: int, metadata: bool = False) -> float:
    """CPU of a call at the port `watched`, as a multiple of that at `bare`."""
    clock, sides = cpu_clock(pid), [Side(port, metadata) for port in (watched, bare)]
    ratios = []
    for number in range(PAIRS):
        spent = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            before = time.clock_gettime(clock)
            sides[which].turn()
            spent[which] = time.clock_gettime(clock) - before
        ratios.append(spent[0] / spent[1])
    for side in sides:
        side.close()
    return round(statistics.median(ratios), 3)
