"""Those who hear how an operation goes, and the two ends of a worker's stream, as the scheduler
sees them. What they are told in a turn of the scheduler's leaves at its end, by `flush`."""

from collections import deque
from typing import NamedTuple, Protocol

import trio

from builder.base.errors import StatusError
from builder.schedule import effects
from builder.schedule.operation import OperationView

UNSENT = 8  # views that a slow client may lag behind before the older ones are left out


class Ear(Protocol):
    """One client that follows one operation. Nothing here waits."""

    @property
    def operation(self) -> str: ...

    def tell(self, view: OperationView) -> None: ...

    def refuse(self, error: StatusError) -> None:
        """The operation is not taken, or not known."""
        ...

    def flush(self) -> None: ...


class Watcher:
    """An ear for a task that waits."""

    __slots__ = ("_changed", "_last", "_refusal", "_views", "operation", "over")

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.over = trio.Event()  # there will be no state after those that have been told
        self._views: deque[OperationView] = deque(maxlen=UNSENT)
        self._last: OperationView | None = None
        self._refusal: StatusError | None = None
        self._changed = trio.Event()

    async def next(self) -> OperationView:
        """The next state. Raises a StatusError when the operation is refused or not known."""
        while not self._views:
            if self._refusal is not None:
                raise self._refusal
            await self._changed.wait()
            self._changed = trio.Event()
        return self._views.popleft()

    def tell(self, view: OperationView) -> None:
        if view != self._last:
            self._last = view
            self._views.append(view)
            self._changed.set()
            if view.ending is not None:
                self.over.set()

    def refuse(self, error: StatusError) -> None:
        self._refusal = error
        self._changed.set()
        self.over.set()

    def flush(self) -> None:
        """Its task wakes by itself."""


class WantOutput(NamedTuple):
    """A question to a worker: what follows `offset` of what a lease's action has written?"""

    request_id: str
    lease: str
    stderr: bool
    offset: int


class Taken(NamedTuple):
    """Results of a worker's that are taken: it may forget them."""

    leases: tuple[str, ...]


ForWorker = (
    effects.WelcomeWorker
    | effects.RefuseWorker
    | effects.CloseSession
    | effects.GrantLease
    | effects.CancelLease
    | effects.RecallLease
    | effects.IntroducePeers
    | effects.AcknowledgeLease
    | effects.DrainWorker
)
Mail = ForWorker | WantOutput | Taken


class Line(Protocol):
    """The way to one worker. Nothing here waits."""

    def say(self, mail: Mail) -> None: ...

    def flush(self) -> None: ...
