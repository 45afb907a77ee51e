"""google.longrunning.Operations: what became of executions, by the names that Execute gave."""

import itertools
from collections.abc import Callable

import trio

from builder.base.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from builder.net.rpc import Context, Method, Service
from builder.reapi.pb import empty_pb2
from builder.reapi.pb import operations_pb2 as pb
from builder.schedule import events
from builder.schedule.operation import OperationView, Stage
from builder.server.messages import parse
from builder.server.operation_messages import operation_message
from builder.server.scheduler import Scheduler

NAME = "google.longrunning.Operations"
COLLECTION = "operations"
PAGE = 100  # operations, when the client leaves it to us
MOST_PAGE = 1000
FOREVER_S = 24 * 3600.0
FILTERS = "done=true, done=false, stage=QUEUED, stage=EXECUTING or stage=COMPLETED"


class OperationsService:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/ListOperations", unary=self.list_operations),
                Method(f"/{NAME}/GetOperation", unary=self.get_operation),
                Method(f"/{NAME}/WaitOperation", unary=self.wait_operation),
                Method(f"/{NAME}/CancelOperation", unary=self.cancel_operation),
                Method(f"/{NAME}/DeleteOperation", unary=self.delete_operation),
            ),
        )

    def list_operations(self, data: bytes, _context: Context) -> bytes:
        """The oldest first. A page token is the name of the last operation before the page."""
        request = parse(pb.ListOperationsRequest, data)
        if request.page_size < 0:
            raise InvalidArgumentError(f"page_size is {request.page_size}; 0 or more is right")
        size = min(request.page_size or PAGE, MOST_PAGE)
        wanted = _filter(request.filter)
        prefix = _prefix(request.name)
        found = (
            view
            for name in self._names_after(request.page_token)
            if name.startswith(prefix)
            and (view := self._scheduler.operation(name)) is not None
            and wanted(view)
        )
        page = list(itertools.islice(found, size + 1))
        response = pb.ListOperationsResponse(operations=map(operation_message, page[:size]))
        if len(page) > size:
            response.next_page_token = page[size - 1].name
        return response.SerializeToString()

    def get_operation(self, data: bytes, _context: Context) -> bytes:
        view = self._known(parse(pb.GetOperationRequest, data).name)
        return operation_message(view).SerializeToString()

    async def wait_operation(self, data: bytes, _context: Context) -> bytes:
        """The operation when it has ended, or as it is when the timeout is over."""
        request = parse(pb.WaitOperationRequest, data)
        timeout_s = request.timeout.ToNanoseconds() / 1e9
        if timeout_s < 0:
            raise InvalidArgumentError(f"the timeout of {timeout_s:g} s is negative")
        if not request.HasField("timeout"):
            timeout_s = FOREVER_S
        self._known(request.name)
        watcher = self._scheduler.attach(request.name)
        try:
            view = await watcher.next()
            with trio.move_on_after(timeout_s):
                while view.ending is None:
                    view = await watcher.next()
        finally:
            self._scheduler.leave(watcher)
        return operation_message(view).SerializeToString()

    def cancel_operation(self, data: bytes, _context: Context) -> bytes:
        """Of one that has ended it does nothing."""
        view = self._known(parse(pb.CancelOperationRequest, data).name)
        self._scheduler.post(events.CancelRequested(view.name))
        return empty_pb2.Empty().SerializeToString()

    def delete_operation(self, data: bytes, _context: Context) -> bytes:
        view = self._known(parse(pb.DeleteOperationRequest, data).name)
        if view.ending is None:
            raise FailedPreconditionError(f"operation {view.name} has not ended; cancel it instead")
        self._scheduler.delete(view.name)
        return empty_pb2.Empty().SerializeToString()

    def _known(self, name: str) -> OperationView:
        view = self._scheduler.operation(name)
        if view is None:
            raise NotFoundError(
                f"operation {name[:200]!r} is not known here: it never was, or it ended too "
                f"long ago"
            )
        return view

    def _names_after(self, token: str) -> list[str]:
        names = self._scheduler.operation_names()
        if not token:
            return names
        try:
            return names[names.index(token) + 1 :]
        except ValueError:
            raise InvalidArgumentError(
                "the page token is too old: its operation is forgotten; list from the start"
            ) from None


def _prefix(name: str) -> str:
    """`operations` or `{instance}/operations`; nothing means all. Raises InvalidArgumentError."""
    if not name:
        return ""
    if name.strip("/").rpartition("/")[2] != COLLECTION:
        raise InvalidArgumentError(
            f"{name[:200]!r} is no collection: use [{{instance}}/]{COLLECTION}, or no name"
        )
    return name.strip("/") + "/"


def _filter(text: str) -> Callable[[OperationView], bool]:
    """Raises InvalidArgumentError that lists what there is."""
    field, _, value = text.replace(":", "=").replace(" ", "").partition("=")
    if not field:
        return lambda _: True
    if field == "done" and value.lower() in ("true", "false"):
        done = value.lower() == "true"
        return lambda view: (view.ending is not None) == done
    if field == "stage" and value.upper() in Stage.__members__:
        stage = Stage[value.upper()]
        return lambda view: view.stage is stage
    raise InvalidArgumentError(f"filter {text[:200]!r} is not understood: use {FILTERS}")
