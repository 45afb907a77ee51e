"""Hits by look-up (GetActionResult), by the invocation that made them.

Theory of operation. Look-ups come by the hundred thousand a second, so a hit costs a comparison:
hits in a row with the same metadata are a run, and a run is one entry of a list. The list is read,
and its metadata parsed, when it is long or when somebody asks. A run also ends after so many hits,
so that the time of its beginning, which stands for all of it, is not far from the truth.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from builder.reapi.pb.remote_execution_pb2 import RequestMetadata

MOST_INVOCATIONS = 500
MOST_TARGETS = 1000  # of one invocation that are remembered by name
MOST_UNREAD = 256  # runs
LONGEST_RUN = 1024  # hits


@dataclass(slots=True)
class Found:
    """What an invocation found by look-ups. Times are seconds since 1970."""

    tool: str
    first_s: float
    last_s: float = 0.0
    hits: int = 0
    targets: dict[str, None] = field(default_factory=dict)  # in the order of asking


class LookUps:
    """At most `most` invocations: the one that asked longest ago is forgotten. `wall_s` is a
    clock."""

    def __init__(self, wall_s: Callable[[], float], most: int = MOST_INVOCATIONS) -> None:
        self._wall_s = wall_s
        self._most = most
        self._found: OrderedDict[str, Found] = OrderedDict()
        self._unread: list[tuple[bytes, int, float]] = []
        self._metadata = b""  # of the run that goes on
        self._count = 0
        self._began = 0.0

    def hit(self, metadata: bytes) -> None:
        """Hot: a result was found; a RequestMetadata says by whom."""
        if metadata == self._metadata and self._count < LONGEST_RUN:
            self._count += 1
            return
        if self._count:
            self._unread.append((self._metadata, self._count, self._began))
            if len(self._unread) >= MOST_UNREAD:
                self._read()
        self._metadata, self._count, self._began = metadata, 1, self._wall_s()

    def found(self) -> dict[str, Found]:
        """By invocation; who asked last stands last."""
        if self._count:
            self._unread.append((self._metadata, self._count, self._began))
            self._metadata, self._count = b"", 0
        self._read()
        return dict(self._found)

    def check(self) -> None:
        """Invariants, for tests."""
        assert len(self._found) <= self._most
        assert len(self._unread) < MOST_UNREAD
        assert all(len(one.targets) <= MOST_TARGETS for one in self._found.values())

    def _read(self) -> None:
        for raw, count, at in self._unread:
            try:
                metadata = RequestMetadata.FromString(raw)
            except DecodeError:  # only for people's eyes
                continue
            if metadata.tool_invocation_id:
                self._add(metadata, count, at)
        self._unread.clear()

    def _add(self, metadata: RequestMetadata, count: int, at: float) -> None:
        id_ = metadata.tool_invocation_id
        one = self._found.get(id_)
        if one is None:
            one = self._found[id_] = Found(metadata.tool_details.tool_name, at)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        self._found.move_to_end(id_)
        one.hits += count
        one.last_s = at
        target = metadata.target_id
        if target and len(one.targets) < MOST_TARGETS:
            one.targets[target] = None
