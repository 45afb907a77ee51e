"""google.longrunning.Operations: what became of executions, by the names that Execute gave."""

import trio

from builder.base.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from builder.net.rpc import Context, Method, Service
from builder.reapi.pb import empty_pb2
from builder.reapi.pb import operations_pb2 as pb
from builder.reapi.times import nanoseconds
from builder.schedule import events
from builder.schedule.operation import OperationView, Stage
from builder.server.listing import Wanted, page_token
from builder.server.messages import parse
from builder.server.operation_messages import operation_message
from builder.server.scheduler import Scheduler

NAME = "google.longrunning.Operations"
FOREVER_S = 24 * 3600.0


class OperationsService:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._epoch = trio.current_time()

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
        """The oldest first; also those that the action cache answered, the newest of them."""
        request = parse(pb.ListOperationsRequest, data)
        wanted = Wanted.of(request, self._epoch)
        views: list[OperationView] = []
        token = ""
        response = pb.ListOperationsResponse()
        for at, name, cached in self._scheduler.operation_names():
            if not wanted.place(at, name) or (cached and not wanted.kind(Stage.COMPLETED, True)):
                continue
            view = self._scheduler.operation(name)
            if view is None or not wanted.kind(view.stage, cached):
                continue
            if len(views) == wanted.size:
                response.next_page_token = token
                break
            views.append(view)
            token = page_token(self._epoch, at, name)
        response.operations.extend(map(operation_message, views))
        return response.SerializeToString()

    def get_operation(self, data: bytes, _context: Context) -> bytes:
        view = self._known(parse(pb.GetOperationRequest, data).name)
        return operation_message(view).SerializeToString()

    async def wait_operation(self, data: bytes, _context: Context) -> bytes:
        """The operation when it has ended, or as it is when the timeout is over."""
        request = parse(pb.WaitOperationRequest, data)
        timeout_s = nanoseconds(request.timeout) / 1e9
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
