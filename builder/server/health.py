"""grpc.health.v1: whether each service can do its work. The empty name is the whole server.

Beside the services there are parts of this one, as `builder.health.disk`: a name that does not
serve is the reason that the protocol has no field for.
"""

from collections.abc import Collection, Iterable

import trio

from builder.base.errors import NotFoundError
from builder.net.rpc import Call, Context, Method, Service
from builder.reapi.pb import health_pb2 as pb
from builder.server.messages import only, parse

NAME = "grpc.health.v1.Health"
PART = "builder.health."
Status = pb.HealthCheckResponse.ServingStatus


class HealthService:
    """Statuses that their owner sets; all `names` begin as NOT_SERVING, all `parts` are well."""

    def __init__(self, names: Iterable[str], parts: Iterable[str] = ()) -> None:
        self._serving = dict.fromkeys(["", *names], False)
        self._parts = {f"{PART}{part}": True for part in parts}
        self._changed = trio.Event()

    def set(self, serving: bool, name: str | None = None) -> None:
        """Tell what is so from now on, of one service or of all of them."""
        for one in self._serving if name is None else (name,):
            self._serving[one] = serving
        self._tell()

    def set_parts(self, ill: Collection[str]) -> None:
        """Which parts something is wrong with, from now on."""
        parts = {name: name.removeprefix(PART) not in ill for name in self._parts}
        if parts != self._parts:
            self._parts = parts
            self._tell()

    def _tell(self) -> None:
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
        if self._status(name) == Status.SERVICE_UNKNOWN:
            raise NotFoundError(f"there is no service {name[:200]!r} here")
        return pb.HealthCheckResponse(status=self._status(name)).SerializeToString()

    def list(self, _data: bytes, _context: Context) -> bytes:
        response = pb.HealthListResponse()
        for name in (*self._serving, *self._parts):
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
        serves = self._serving.get(name, self._parts.get(name))
        if serves is None:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if serves else Status.NOT_SERVING
