"""The builds of late, by invocation: a bounded index of their event streams.

Theory of operation. A stream's events are numbered from 1, and each is acknowledged when it has
been taken. A client whose connection breaks sends again from the first that was not acknowledged,
so an old number is acknowledged again and says nothing new; a number too high means that events
are lost, and is refused. A stream that is not known here may begin anywhere, for this index
forgets: with the process, and the oldest ended invocation when there are too many.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from builder.base.errors import InvalidArgumentError, OutOfRangeError
from builder.builds.invocation import Invocation
from builder.reapi.pb import build_event_stream_pb2 as bep
from builder.reapi.pb import build_events_pb2 as be
from builder.reapi.pb.publish_build_event_pb2 import OrderedBuildEvent

MOST_INVOCATIONS = 100  # 90 MB if each of them had a thousand tests; a usual one takes 50 KB
MOST_STREAMS = 1000
LONGEST_ID = 200  # characters
BAZEL_EVENT = bep.BuildEvent.DESCRIPTOR.full_name


class Stream(NamedTuple):
    """google.devtools.build.v1.StreamId."""

    build_id: str
    invocation_id: str
    component: int


class Builds:
    """At most `most` invocations; all methods are synchronous."""

    def __init__(self, most: int = MOST_INVOCATIONS) -> None:
        self._most = most
        self._invocations: OrderedDict[str, Invocation] = OrderedDict()
        self._taken: OrderedDict[Stream, int] = OrderedDict()  # the last number of each stream

    def take(self, ordered: OrderedBuildEvent, project: str, now_ns: int) -> None:
        """Take a stream's next event. Raises InvalidArgumentError, OutOfRangeError for a gap."""
        stream = stream_of(ordered.stream_id)
        number, last = ordered.sequence_number, self._taken.get(stream)
        if number < 1:
            raise InvalidArgumentError(f"sequence_number is {number}; streams count from 1")
        if last is not None and number <= last:
            return
        if last is not None and number > last + 1:
            raise OutOfRangeError(f"event {number} came after {last}: send {last + 1} first")
        self._apply(stream, ordered.event, project, now_ns)
        self._taken[stream] = number
        self._taken.move_to_end(stream)
        while len(self._taken) > MOST_STREAMS:
            self._taken.popitem(last=False)

    def invocations(self) -> Iterator[Invocation]:
        """The latest first."""
        return reversed(self._invocations.values())

    def invocation(self, id_: str) -> Invocation | None:
        return self._invocations.get(id_)

    def check(self) -> None:
        """Invariants, for tests."""
        assert len(self._invocations) <= self._most
        assert len(self._taken) <= MOST_STREAMS

    def _apply(self, stream: Stream, event: be.BuildEvent, project: str, now_ns: int) -> None:
        kind = event.WhichOneof("event")
        if kind == "bazel_event" and event.bazel_event.type_url.endswith(f"/{BAZEL_EVENT}"):
            told = bep.BuildEvent()
            try:
                told.ParseFromString(event.bazel_event.value)
            except DecodeError:
                raise InvalidArgumentError(
                    f"an event of stream {stream.invocation_id!r} is no {BAZEL_EVENT} message"
                ) from None
            self._of(stream, project, now_ns).take(told)
        elif kind in ("component_stream_finished", "invocation_attempt_finished"):
            self._of(stream, project, now_ns).ended = True
        elif kind == "invocation_attempt_started":
            self._of(stream, project, now_ns)

    def _of(self, stream: Stream, project: str, now_ns: int) -> Invocation:
        id_ = stream.invocation_id or stream.build_id
        found = self._invocations.get(id_)
        if found is None:
            if len(self._invocations) >= self._most:
                self._forget_one()
            found = Invocation(id_, stream.build_id, project[:LONGEST_ID], now_ns)
            self._invocations[id_] = found
        return found

    def _forget_one(self) -> None:
        ended = (id_ for id_, one in self._invocations.items() if one.state != "running")
        del self._invocations[next(ended, next(iter(self._invocations)))]


def stream_of(message: be.StreamId) -> Stream:
    """Raises InvalidArgumentError for a stream that names no build, or by an endless name."""
    stream = Stream(message.build_id, message.invocation_id, message.component)
    if not (stream.build_id or stream.invocation_id):
        raise InvalidArgumentError("the event's stream_id names neither build nor invocation")
    if max(len(stream.build_id), len(stream.invocation_id)) > LONGEST_ID:
        raise InvalidArgumentError(f"a build's id may have {LONGEST_ID} characters")
    return stream
