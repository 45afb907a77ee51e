"""builder.workers.Workers: the coordinator's end of the workers' streams.

A stream is a session of the scheduler's: its first message is a Hello; after it whatever comes
becomes an event, and whatever the scheduler has for the worker goes out, until one side ends it.
The end of a stream is not the end of its worker, which may come back over another one.
"""

import re
from collections.abc import Callable
from hmac import compare_digest

import trio

from builder.base.errors import (
    AbortedError,
    AlreadyExistsError,
    InvalidArgumentError,
    UnauthenticatedError,
)
from builder.net.rpc import Call, Method, Service
from builder.reapi.pb import workers_pb2
from builder.schedule import effects, events
from builder.schedule.fleet import WorkerInfo
from builder.server.messages import only, parse
from builder.server.scheduler import Scheduler
from builder.server.watching import Mail, Taken
from builder.server.worker_messages import acknowledgement, event_of, granted, info_of, message_of

NAME = "builder.workers.Workers"
WORKER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
MOST_SLOTS = 4096
HELLO_S = 20.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024  # a result with very many outputs


class WorkersService:
    """`join_token` is what workers have to show; empty where anybody may join. `output` gets
    their answers to `WantOutput`."""

    def __init__(
        self,
        scheduler: Scheduler,
        join_token: str = "",
        output: Callable[[workers_pb2.Output], None] = lambda _output: None,
    ) -> None:
        self._scheduler = scheduler
        self._join_token = join_token.encode()
        self._output = output

    def service(self) -> Service:
        connect = Method(
            f"/{NAME}/Connect", stream=self.connect, max_request_bytes=MAX_MESSAGE_BYTES
        )
        return Service(NAME, (connect,))

    async def connect(self, call: Call) -> None:
        hello = await self._hello(call)
        info = info_of(hello)
        _check(info)
        line = _Line(call)
        session = self._scheduler.open_session(info.name, line)

        def heard(data: bytes) -> None:
            message = parse(workers_pb2.FromWorker, data)
            event = event_of(session, message)
            if event is not None:
                self._scheduler.post(event)
            elif message.HasField("output"):
                self._output(message.output)

        try:
            running = tuple(hello.running_lease_ids)
            self._scheduler.post(events.WorkerConnected(session, info, running))
            await call.each(heard)
        finally:
            self._scheduler.close_session(session)

    async def _hello(self, call: Call) -> workers_pb2.Hello:
        """Raises InvalidArgumentError, UnauthenticatedError."""
        with trio.move_on_after(HELLO_S):
            message = await only(workers_pb2.FromWorker, call)
            if message.WhichOneof("kind") != "hello":
                raise InvalidArgumentError("the first message of a worker has to be a Hello")
            shown = message.hello.join_token.encode()
            if self._join_token and not compare_digest(shown, self._join_token):
                raise UnauthenticatedError(
                    "the join token is not this coordinator's: set the worker's "
                    "worker.join_token to the value of coordinator.join_token"
                )
            return message.hello
        raise InvalidArgumentError(f"no Hello within {HELLO_S:g} s")


class _Line:
    """What the scheduler has for one worker. Acknowledgements travel with what comes next."""

    __slots__ = ("_call", "_taken")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._taken = b""

    def say(self, mail: Mail) -> None:
        match mail:
            case effects.GrantLease():
                taken, self._taken = self._taken, b""
                self._call.post(taken + granted(mail))
            case Taken(leases):
                self._taken += acknowledgement(leases)
            case effects.RefuseWorker(_, why):
                self._call.stop(AlreadyExistsError(why))
            case effects.CloseSession(_, why):
                self._call.stop(AbortedError(why))
            case effects.AcknowledgeLease():
                raise AssertionError("the scheduler has collected them")
            case _:
                taken, self._taken = self._taken, b""
                self._call.post(taken + message_of(mail))

    def flush(self) -> None:
        if self._taken:
            taken, self._taken = self._taken, b""
            self._call.post(taken)
        self._call.flush()


def _check(info: WorkerInfo) -> None:
    if not WORKER_NAME.fullmatch(info.name):
        raise InvalidArgumentError(
            f"worker name {info.name[:140]!r} will not do: up to 128 letters, digits and ._:@-"
        )
    if not 1 <= info.slots <= MOST_SLOTS:
        raise InvalidArgumentError(
            f"worker {info.name} offers {info.slots} slots: 1 to {MOST_SLOTS} make sense"
        )
