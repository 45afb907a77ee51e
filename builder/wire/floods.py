"""Counters of what a hostile peer does too often: legal frames that cost us and not the peer.

Each kind has a budget for every `rate_window_s`; the clock is the caller's, told once per
receive. Sources: CVE-2019-9511 to 9518 (the 2019 floods), CVE-2023-44487 (rapid reset),
CVE-2024-27316 (CONTINUATION), CVE-2025-8671 (making the server reset).
"""

from builder.wire.frames import ConnectionFaultError, ErrorCode
from builder.wire.limits import Limits


class Floods:
    """Budgets of one connection. Each `count_` raises ConnectionFaultError when one is spent."""

    __slots__ = ("_control", "_limits", "_resets", "_since", "_tiny")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since = 0.0
        self._resets = self._control = self._tiny = 0

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

    def count_control(self) -> None:
        """PING, SETTINGS, PRIORITY, WINDOW_UPDATE of little use, or an unknown frame."""
        self._control += 1
        if self._control > self._limits.max_control:
            self._raise("control frames", self._limits.max_control, "max_control")

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
