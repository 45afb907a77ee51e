"""Frames that concern the connection as a whole: SETTINGS, PING, GOAWAY, and those to ignore.

RFC 9113, 6.3 and 6.5 to 6.8. `receiving.Receiving` adds bodies, `connection.Connection` the rest.
"""

from collections.abc import Sequence

from builder.wire import frames
from builder.wire.events import Event, GoawayReceived, PingAcknowledged, SettingsReceived
from builder.wire.floods import Floods
from builder.wire.frames import (
    ACK,
    DEFAULT_MAX_FRAME,
    GOAWAY,
    LARGEST_STREAM_ID,
    LARGEST_WINDOW,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    SETTINGS,
    ConnectionFaultError,
    ErrorCode,
    StreamFaultError,
)
from builder.wire.limits import Limits
from builder.wire.sending import Sender
from builder.wire.stream import Stream

STREAMS_A_FRAME = 100  # whose windows cost as much to change as a control frame costs


class Control:
    """What both ends say about the connection."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.sender = Sender(limits.send_queue)
        self.streams: dict[int, Stream] = {}
        self.events: list[Event] = []
        self.floods = Floods(limits)
        self.last_peer_id = 0  # highest stream of the peer that we processed
        self.peer_max_streams = 2**31
        self.goaway_sent = False
        self.goaway_received = False
        self.settings_received = False
        self._window_at_ping = -1

    # ---- frames in

    def control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any frame but DATA, HEADERS, CONTINUATION, RST_STREAM and WINDOW_UPDATE."""
        if kind == SETTINGS:
            self._settings(flags, payload)
        elif kind == PING:
            self._ping(flags, payload)
        elif kind == GOAWAY:
            self._goaway(payload)
        elif kind == PUSH_PROMISE:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE is not enabled")
        else:
            self.floods.count_control()  # PRIORITY and unknown types are ignored
            if kind == PRIORITY and len(payload) != 5:
                raise StreamFaultError(
                    stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY is not 5 octets long"
                )

    def _ping(self, flags: int, payload: bytes) -> None:
        """Clients that measure the bandwidth send a PING for each round trip in which they got
        DATA (grpc-core and grpc-go do): only the others are counted."""
        if self.sender.window == self._window_at_ping:
            self.floods.count_control()
        self._window_at_ping = self.sender.window
        if flags & ACK:
            self.events.append(PingAcknowledged(payload))
        else:
            self.sender.out.append(frames.ping(payload, ACK))

    def _goaway(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        self.floods.count_control()
        self.goaway_received = True
        last_id = int.from_bytes(payload[:4], "big") & LARGEST_STREAM_ID
        code = int.from_bytes(payload[4:8], "big")
        self.events.append(GoawayReceived(last_id, code, payload[8:]))

    def _settings(self, flags: int, payload: bytes) -> None:
        self.floods.count_control()
        if flags & ACK:
            if payload:
                raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with payload")
            return
        if len(payload) % 6:
            raise ConnectionFaultError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of odd length")
        self.settings_received = True
        windows = [self.sender.initial_window]
        for key, value in frames.PACK_SETTING.iter_unpack(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                windows.append(value)
            else:
                self._setting(key, value)
        if len(windows) > 1:
            self._initial_windows(windows)
        self.sender.out.append(frames.SETTINGS_ACK)
        self.events.append(SettingsReceived())

    def _setting(self, key: int, value: int) -> None:
        """RFC 9113, 6.5.2. The table size is of no interest: our blocks never use the table."""
        if key == frames.MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value
        elif key == frames.MAX_FRAME_SIZE:
            if not DEFAULT_MAX_FRAME <= value <= frames.LARGEST_FRAME:
                raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
            self.sender.max_frame = value
        elif key == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")

    def _initial_windows(self, values: Sequence[int]) -> None:
        """RFC 9113, 6.9.2: applies to open streams as well; their windows may become negative.

        `values` are the one that held, and those of one frame. A frame may name ten thousand, and
        each has to be right for each stream; these are gone through once, which is counted.
        """
        highest = max(values)
        if highest > LARGEST_WINDOW:
            raise ConnectionFaultError(
                ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE above 2^31-1"
            )
        self.floods.count_control(len(self.streams) // STREAMS_A_FRAME)
        first, last = values[0], values[-1]
        self.sender.initial_window = last
        for stream in self.streams.values():
            if stream.send_window + highest - first > LARGEST_WINDOW:
                raise ConnectionFaultError(ErrorCode.FLOW_CONTROL_ERROR, "window above 2^31-1")
            stream.send_window += last - first
            if stream.queued:
                self.sender.ready[stream] = None

    # ---- frames out

    def ping(self, opaque: bytes) -> None:
        """Send a PING of eight octets; PingAcknowledged answers it."""
        self.sender.out.append(frames.ping(opaque))

    def goaway(self, code: int = 0, debug: bytes = b"") -> None:
        """Say that streams above the last one are not processed; open ones may end."""
        self.goaway_sent = True
        self.sender.out.append(frames.goaway(self.last_peer_id, code, debug))
