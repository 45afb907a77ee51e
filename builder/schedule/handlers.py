"""Which function takes which event: one look-up, where a chain of cases would ask type by type."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from builder.schedule import clients, events, workers
from builder.schedule.attempts import kept
from builder.schedule.books import Books, Starting
from builder.schedule.restoring import restore
from builder.schedule.stealing import yielded

E = TypeVar("E")
Handler = Callable[[Books, E, float], None]


def _kept(books: Books, event: events.ResultKept, now: float) -> None:
    task = books.tasks.get(event.task)
    if task is not None:
        kept(books, task, now)


def _starting(books: Books, event: events.WorkersStarting, now: float) -> None:
    if event.workers or event.trouble:
        ready_at = now + event.ready_in_s
        books.starting[event.pool] = Starting(event.workers, ready_at, event.trouble)
    else:
        books.starting.pop(event.pool, None)


def _shut_down(books: Books, _event: events.ShutdownStarted, _now: float) -> None:
    books.shutting_down = True


def _nothing(_books: Books, _event: events.TimePassed, _now: float) -> None:
    """What is due has been done already."""


HANDLERS: Mapping[type, Handler[Any]] = {  # every type of `events.Event`, as a test sees to
    events.ActionSubmitted: clients.submit,
    events.OperationsRestored: restore,
    events.ClientAttached: clients.attach,
    events.ClientDetached: clients.detach,
    events.CancelRequested: clients.cancel,
    events.OperationDeleted: clients.delete,
    events.ResultKept: _kept,
    events.WorkerConnected: workers.connect,
    events.WorkerDisconnected: workers.disconnect,
    events.WorkerVanished: workers.vanish,
    events.WorkerDraining: workers.draining,
    events.DrainRequested: workers.drain,
    events.HeartbeatReceived: workers.heartbeat,
    events.LeaseProgressed: workers.progress,
    events.LeaseFinished: workers.finish,
    events.LeaseReturned: workers.hand_back,
    events.LeaseYielded: yielded,
    events.WorkersStarting: _starting,
    events.ShutdownStarted: _shut_down,
    events.TimePassed: _nothing,
}
