"""Hits by look-up (GetActionResult), by the invocation that made them.

Theory of operation. Look-ups come by the hundred thousand a second, so a hit costs a comparison:
hits in a row of the same action with the same metadata are a run, and a run is one entry of a list.
The list is read, and its metadata parsed, when it is long or when somebody asks; then each run is
told of once. A run also ends after so many hits, so that the time of its beginning, which stands
for all of it, is not far from the truth.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from builder.base.digest import Digest
from builder.reapi.pb.remote_execution_pb2 import RequestMetadata

MOST_INVOCATIONS = 500
MOST_TARGETS = 1000  # of one invocation that are remembered by name
MOST_UNREAD = 256  # runs
LONGEST_RUN = 1024  # hits


Asked = tuple[str, Digest]  # an instance, and an action in it


# Hits of one action in a row: RequestMetadata, action, result, how many, when the first. A plain
# tuple, because one is made for each hit of a build.
Run = tuple[bytes, Asked, bytes, int, float]


@dataclass(slots=True)
class Found:
    """What an invocation found by look-ups. Times are those of the clock of LookUps."""

    tool: str
    first_s: float
    last_s: float = 0.0
    hits: int = 0
    targets: dict[str, None] = field(default_factory=dict)  # in the order of asking


class LookUps:
    """At most `most` invocations: the one that asked longest ago is forgotten. `tell` hears of
    runs, and whose they were, when they are read; `now_s` is a clock."""

    def __init__(
        self,
        now_s: Callable[[], float],
        tell: Callable[[list[tuple[str, Run]]], None] = lambda _runs: None,
        most: int = MOST_INVOCATIONS,
    ) -> None:
        self._now_s = now_s
        self._tell = tell
        self._most = most
        self._found: OrderedDict[str, Found] = OrderedDict()
        self._unread: list[Run] = []
        self._metadata = b""  # of the run that goes on, and what follows too
        self._asked: Asked | None = None
        self._result = b""
        self._count = 0
        self._began = 0.0
        self._runs = 0

    @property
    def version(self) -> int:
        """Grows with each hit that says more than the one before."""
        return self._runs

    def hit(self, metadata: bytes, asked: Asked, result: bytes) -> None:
        """Hot: a result was found; a RequestMetadata says by whom."""
        if (
            metadata == self._metadata
            and (asked is self._asked or asked == self._asked)
            and self._count < LONGEST_RUN
        ):
            self._count += 1
            return
        if self._count:
            self._unread.append(
                (self._metadata, self._asked, self._result, self._count, self._began)  # type: ignore[arg-type]  # asked, as counted
            )
            if len(self._unread) >= MOST_UNREAD:
                self._read()
        self._metadata, self._asked, self._result = metadata, asked, result
        self._count, self._began = 1, self._now_s()
        self._runs += 1

    def found(self) -> dict[str, Found]:
        """By invocation; who asked last stands last."""
        self.catch_up()
        return dict(self._found)

    def catch_up(self) -> None:
        """Read, and tell of, everything that has been found until now."""
        if self._count:
            self._end()
        self._read()

    def check(self) -> None:
        """Invariants, for tests."""
        assert len(self._found) <= self._most
        assert len(self._unread) < MOST_UNREAD
        assert all(len(one.targets) <= MOST_TARGETS for one in self._found.values())

    def _end(self) -> None:
        assert self._asked is not None
        run = (self._metadata, self._asked, self._result, self._count, self._began)
        self._unread.append(run)
        self._count, self._asked, self._result = 0, None, b""

    def _read(self) -> None:
        raw, id_, target = b"", "", ""
        one: Found | None = None
        told: list[tuple[str, Run]] = []
        for run in self._unread:
            if run[0] != raw:
                raw = run[0]
                metadata = _parsed(raw)
                if one is None or metadata.tool_invocation_id != id_:
                    id_ = metadata.tool_invocation_id
                    one = self._of(id_, metadata.tool_details.tool_name, run[4]) if id_ else None
                target = metadata.target_id
            if one is None:
                continue
            one.hits += run[3]
            one.last_s = run[4]
            if target and len(one.targets) < MOST_TARGETS:
                one.targets[target] = None
            told.append((id_, run))
        self._unread.clear()
        self._tell(told)

    def _of(self, id_: str, tool: str, at: float) -> Found:
        one = self._found.get(id_)
        if one is None:
            one = self._found[id_] = Found(tool, at)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        self._found.move_to_end(id_)
        return one


def _parsed(raw: bytes) -> RequestMetadata:
    try:
        return RequestMetadata.FromString(raw)
    except DecodeError:  # only for people's eyes
        return RequestMetadata()
