"""Counters of what a hostile peer does too often: legal frames that cost us and not the peer.

Each kind has a budget for every `rate_window_s`; the clock is the caller's, told once per
receive. Sources: CVE-2019-9511 to 9518 (the 2019 floods), CVE-2023-44487 (rapid reset),
CVE-2024-27316 (CONTINUATION), CVE-2025-8671 (making the server reset).
"""

from builder.wire.frames import ConnectionFaultError, ErrorCode
from builder.wire.limits import Limits

FOR_A_CALL = 6  # WINDOW_UPDATEs: of its stream and of the connection, before its answer and after
FOR_A_FRAME = 2  # for one of DATA: of its stream and of the connection
MOST_EARNED = 10_000  # of them that may come after all; 5,000 frames are 80 MB


class Floods:
    """Budgets of one connection. Each `count_` raises ConnectionFaultError when one is spent."""

    __slots__ = ("_control", "_earned", "_limits", "_resets", "_since", "_tiny", "_updates")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since = 0.0
        self._resets = self._control = self._tiny = 0
        self._earned = self._updates = 0

    def tick(self, now: float) -> None:
        """Start a new window when the last one is over."""
        if now - self._since >= self._limits.rate_window_s:
            self._since = now
            self._resets = self._control = self._tiny = 0

    def count_reset(self) -> None:
        """A stream was reset, by the peer or because of its fault."""
        self._resets += 1
        if self._resets > self._limits.max_resets:
            self._raise("stream resets", self._limits.max_resets, "max_resets")

    def count_control(self, times: int = 1) -> None:
        """PING, SETTINGS, PRIORITY, WINDOW_UPDATE of no use, or an unknown frame."""
        self._control += times
        if self._control > self._limits.max_control:
            self._raise("control frames", self._limits.max_control, "max_control")

    def count_update(self, calls: int, sent: int) -> None:
        """A WINDOW_UPDATE, after so many calls of the peer and DATA frames of ours in all.

        What was sent may be given back frame by frame, and each call may make room for its answer:
        grpc-core does, by a few octets. Only those beyond that are counted, as control frames.
        """
        earned = FOR_A_CALL * calls + FOR_A_FRAME * sent
        self._updates = min(self._updates + earned - self._earned, MOST_EARNED)
        self._earned = earned
        if self._updates > 0:
            self._updates -= 1
        else:
            self.count_control()

    def count_tiny(self) -> None:
        """A DATA frame that carries next to nothing."""
        self._tiny += 1
        if self._tiny > self._limits.max_tiny_data:
            self._raise("tiny DATA frames", self._limits.max_tiny_data, "max_tiny_data")

    def _raise(self, what: str, limit: int, name: str) -> None:
        raise ConnectionFaultError(
            ErrorCode.ENHANCE_YOUR_CALM,
            f"more than {limit} {what} in {self._limits.rate_window_s:g} s",
            name,
        )
