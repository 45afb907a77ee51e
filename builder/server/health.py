"""grpc.health.v1: whether each service can do its work. The empty name is the whole server."""

from collections.abc import Iterable

import trio

from builder.base.errors import NotFoundError
from builder.net.rpc import Call, Context, Method, Service
from builder.reapi.pb import health_pb2 as pb
from builder.server.messages import only, parse

NAME = "grpc.health.v1.Health"
Status = pb.HealthCheckResponse.ServingStatus


class HealthService:
    """Statuses that their owner sets; all `names` begin as NOT_SERVING."""

    def __init__(self, names: Iterable[str]) -> None:
        self._serving = dict.fromkeys(["", *names], False)
        self._changed = trio.Event()

    def set(self, serving: bool, name: str | None = None) -> None:
        """Tell what is so from now on, of one service or of all of them."""
        for one in self._serving if name is None else (name,):
            self._serving[one] = serving
        self._changed.set()
        self._changed = trio.Event()

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/Check", unary=self.check),
                Method(f"/{NAME}/List", unary=self.list),
                Method(f"/{NAME}/Watch", stream=self.watch),
            ),
        )

    def check(self, data: bytes, _context: Context) -> bytes:
        name = parse(pb.HealthCheckRequest, data).service
        if name not in self._serving:
            raise NotFoundError(f"there is no service {name[:200]!r} here")
        return pb.HealthCheckResponse(status=self._status(name)).SerializeToString()

    def list(self, _data: bytes, _context: Context) -> bytes:
        response = pb.HealthListResponse()
        for name in self._serving:
            response.statuses[name].status = self._status(name)
        return response.SerializeToString()

    async def watch(self, call: Call) -> None:
        """The status now and after each change, until the client leaves."""
        name = (await only(pb.HealthCheckRequest, call)).service
        told: int | None = None
        while True:
            changed = self._changed
            status = self._status(name)
            if status != told:
                told = status
                await call.send(pb.HealthCheckResponse(status=status).SerializeToString())
            await changed.wait()

    def _status(self, name: str) -> "pb.HealthCheckResponse.ServingStatus":
        if name not in self._serving:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if self._serving[name] else Status.NOT_SERVING
