"""What one connection may cost us. Every number is enforced in this room."""

from dataclasses import dataclass

from builder.base.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one connection, with defaults that real clients never meet.

    Sizes are bytes. Rates are events per `rate_window_s` seconds on one connection; a peer that
    exceeds one is sent away with GOAWAY(ENHANCE_YOUR_CALM). Header list size counts as RFC 9113,
    6.5.2 does: 32 octets more for each field.
    """

    max_streams: int = 1000
    max_header_list: int = 64 * 1024
    max_message: int = 4 * 1024 * 1024 + 64 * 1024
    initial_window: int = 128 * 1024  # of a call, see `windows`
    stream_window: int = 4 * 1024 * 1024  # of a call that goes on, at most
    all_windows: int = 32 * 1024 * 1024  # of such calls of all connections together
    connection_window: int = 16 * 1024 * 1024
    max_frame: int = 64 * 1024
    send_queue: int = 64 * 1024  # a stream that has more than this queued is not writable
    max_backlog: int = 64 * 1024 * 1024  # with more than this queued, new streams are refused
    max_unfinished: int = 256 * 1024 * 1024  # with more of requests waiting, the largest calls end
    all_unfinished: int = 1024 * 1024 * 1024  # the same of all connections; looked at now and then
    rate_window_s: float = 10.0
    max_resets: int = 2000
    max_control: int = 10_000  # PING, SETTINGS, PRIORITY, unknown; WINDOW_UPDATE of no use
    max_tiny_data: int = 20_000  # DATA below 64 octets that ends neither message nor stream
    max_continuations: int = 64  # frames of one header block

    @property
    def largest_header_list(self) -> int:
        """Octets of a list, and of its block, that end the connection; above `max_header_list`
        a call is refused."""
        return 8 * self.max_header_list

    def __post_init__(self) -> None:
        """Raises UsageError for what a client cannot know before it has our SETTINGS."""
        if not 65_535 <= self.initial_window <= 2**31 - 1:
            raise UsageError(f"initial_window of {self.initial_window}: from 65535 to 2^31-1")
        if not 65_535 <= self.stream_window <= 2**31 - 1:
            raise UsageError(f"stream_window of {self.stream_window}: from 65535 to 2^31-1")
        if not 65_535 <= self.connection_window <= 2**31 - 1:
            raise UsageError(f"connection_window of {self.connection_window}: 65535 to 2^31-1")
        if not 16_384 <= self.max_frame <= 2**24 - 1:
            raise UsageError(f"max_frame of {self.max_frame}: from 16384 to 2^24-1")
