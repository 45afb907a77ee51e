"""The worker's side of the stream to its coordinator.

Theory of operation. The worker dials out and says Hello; the coordinator's Welcome says which of
the worker's leases it no longer wants. Leases then come one by one, each becomes a task, and its
result goes back on the stream. When the stream breaks the tasks go on; the worker dials again,
names in its Hello everything that it holds, and sends the results that were not acknowledged.
Leases beyond the slots wait in the backlog, where work stealing has the worker take some.
To drain is to take no more, to hand back what waits, to finish what runs within the grace, to hand
back the rest, to wait until the results are taken, and to end the stream from this side.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import trio

from builder.base.backoff import Backoff
from builder.base.errors import InternalError, StatusError, UnavailableError
from builder.net.rpc import Channel, ClientCall
from builder.net.together import leaves
from builder.reapi.digests import NAMES, from_proto
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.pb import workers_pb2
from builder.reapi.status import to_status
from builder.telemetry.log import get_logger
from builder.telemetry.tracing import OFF, Tracer, tell_stages
from builder.worker import backlog
from builder.worker.backlog import Backlog
from builder.worker.job import Job, Report, Stage
from builder.worker.leases import Held, Leases
from builder.worker.stealing import Stealing
from builder.worker.tail import tail
from builder.worker.upload import StoreFullError

CONNECT = "/builder.workers.Workers/Connect"
GOODBYE_S = 5.0  # to hand back, to have results taken and to end the stream, after the grace
WELCOME_S = 20.0
BACKOFF = Backoff()
STAGES = {
    Stage.FETCHING: workers_pb2.LeaseProgress.FETCHING,
    Stage.EXECUTING: workers_pb2.LeaseProgress.EXECUTING,
    Stage.UPLOADING: workers_pb2.LeaseProgress.UPLOADING,
}
RunJob = Callable[[str, Job, Report], Awaitable[pb.ExecuteResponse]]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a worker says of itself."""

    name: str
    slots: int
    platform: Mapping[str, str]
    backend: str
    guarantees: tuple[str, ...]
    version: str = ""
    host: str = ""
    pid: int = 0
    join_token: str = ""
    capacity: tuple[tuple[str, int], ...] = ()


class WorkerProgram:
    """`run_job(instance, job, report)` runs one action; `load` tells the fractions of CPU and
    memory that are in use; `chance` gives numbers in [0, 1) for the back-off; `persistent` tells
    the name of each program that stays here for many actions. Without `stealing` there is
    no backlog."""

    def __init__(
        self,
        identity: Identity,
        channel: Channel,
        run_job: RunJob,
        load: Callable[[], tuple[float, float]],
        chance: Callable[[], float],
        tracer: Tracer = OFF,
        persistent: Callable[[], Sequence[str]] = tuple,
        stealing: Stealing | None = None,
    ) -> None:
        self._identity = identity
        self._channel = channel
        self._run_job = run_job
        self._load = load
        self._chance = chance
        self._tracer = tracer
        self._persistent = persistent
        self._failures = 0
        self._leases = Leases()
        self._backlog = Backlog(identity.slots if stealing is not None else None)
        self._waiting: dict[str, workers_pb2.LeaseGranted] = {}  # what lies in the backlog
        self._jobs: trio.Nursery | None = None
        self._stealing = stealing
        if stealing is not None:
            stealing.attach(identity.name, self._yield_some, self._beat)
        self._outbox: trio.MemorySendChannel[workers_pb2.FromWorker | None] | None = None
        self._grace = trio.CancelScope()  # its deadline is that of what runs
        self._drain_wanted = trio.Event()
        self._log = get_logger(worker=identity.name)
        self.connected = trio.Event()

    def drain(self, why: str, grace_s: float) -> None:
        """Take no more, finish within the grace, hand back the rest, leave: `run` returns then.

        Said again, it can only shorten the grace.
        """
        self._grace.deadline = min(self._grace.deadline, trio.current_time() + grace_s)
        if not self._drain_wanted.is_set():
            self._log.info("Worker draining", reason=why, grace_s=grace_s)
            self._say(workers_pb2.FromWorker(draining=workers_pb2.Draining(reason=why)))
            self._drain_wanted.set()
            self._obey(self._backlog.handle(backlog.Drained(why), trio.current_time()))

    async def run(self) -> None:
        """Serve until drained. Cancelling kills what runs."""
        async with trio.open_nursery() as nursery:
            self._jobs = nursery
            if self._stealing is not None:
                nursery.start_soon(self._stealing.run)
            nursery.start_soon(self._stay_connected, nursery)
            await self._drain_wanted.wait()
            await self._finish_and_leave()
            nursery.cancel_scope.cancel()

    async def _finish_and_leave(self) -> None:
        with self._grace:
            await self._leases.wait_nothing_runs()
        for held in self._leases.running():
            held.stop("the worker was drained and its grace is over")
        with trio.move_on_after(GOODBYE_S):
            await self._leases.wait_empty()
            if self._outbox is not None:
                self._outbox.send_nowait(None)
                await trio.sleep_forever()  # until the coordinator ends the stream

    async def _stay_connected(self, jobs: trio.Nursery) -> None:
        while True:
            try:
                await self._session(jobs)
                why = "the coordinator ended the stream"
            except* StatusError as group:
                why = "; ".join(dict.fromkeys(str(error) for error in leaves(group)))
            finally:
                self._outbox = None
            if self._drain_wanted.is_set() and not self._leases.ids:
                jobs.cancel_scope.cancel()
                return
            self._failures += 1
            pause_s = BACKOFF.delay(self._failures, self._chance)
            tell = self._log.warning if self._failures == 1 else self._log.debug
            tell("Not connected to the coordinator; trying again", reason=why)
            await trio.sleep(pause_s)

    async def _session(self, jobs: trio.Nursery) -> None:
        """One stream, from Hello to its end. Raises a StatusError, in a group or bare."""
        async with self._channel.stream(CONNECT) as call:
            await call.send(self._hello().SerializeToString())
            welcome = await _welcome(call)
            for lease_id in welcome.unknown_lease_ids:
                self._drop(lease_id, "the coordinator does not know it")
            outbox, mail = trio.open_memory_channel[workers_pb2.FromWorker | None](math.inf)
            for result in self._leases.unacknowledged():
                outbox.send_nowait(workers_pb2.FromWorker(finished=result))
            self._outbox = outbox
            if self._drain_wanted.is_set():
                self._say(workers_pb2.FromWorker(draining=workers_pb2.Draining(reason="drained")))
            tell = self._log.info if self._failures else self._log.debug
            tell("Connected to the coordinator", held=len(self._leases.ids))
            self._failures = 0
            self.connected.set()
            self._obey([])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, call, mail)
                nursery.start_soon(self._heartbeats, welcome.heartbeat_interval.ToNanoseconds())
                while (data := await call.receive()) is not None:
                    self._take(workers_pb2.ToWorker.FromString(data), jobs)
                nursery.cancel_scope.cancel()

    def _hello(self) -> workers_pb2.FromWorker:
        me = self._identity
        hello = workers_pb2.Hello(
            worker_name=me.name,
            join_token=me.join_token,
            slots=me.slots,
            guarantees=me.guarantees,
            backend=me.backend,
            running_lease_ids=[*self._leases.ids, *self._waiting],
            version=me.version,
            pid=me.pid,
            host=me.host,
        )
        for name, value in sorted(me.platform.items()):
            hello.platform.properties.add(name=name, value=value)
        for name, amount in me.capacity:
            hello.capacity.add(name=name, amount=amount)
        if self._stealing is not None:
            hello.backlog = self._stealing.terms.backlog
            hello.peer_address = self._stealing.reachable.address
            hello.peer_token = self._stealing.reachable.token
        return workers_pb2.FromWorker(hello=hello)

    async def _heartbeats(self, interval_ns: int) -> None:
        interval_s = interval_ns / 1e9 or 5.0
        while True:
            self._beat()
            await trio.sleep(interval_s)

    def _beat(self) -> None:
        if self._outbox is None:
            return
        (cpu, memory), programs = self._load(), self._persistent()
        beat = workers_pb2.Heartbeat(
            running_lease_ids=[*self._leases.ids, *self._waiting],
            cpu_fraction=cpu,
            memory_fraction=memory,
            persistent_workers=len(programs),
            programs=filter(None, programs),
        )
        if self._stealing is not None:
            beat.waiting_lease_ids.extend(self._waiting)
            beat.steals.CopyFrom(self._stealing.outcomes())
        self._say(workers_pb2.FromWorker(heartbeat=beat))

    def _say(self, message: workers_pb2.FromWorker) -> None:
        """Send it if there is a stream; what must not be lost is said again by the next one."""
        if self._outbox is not None:
            self._outbox.send_nowait(message)

    def _take(self, message: workers_pb2.ToWorker, jobs: trio.Nursery) -> None:
        for lease_id in message.acknowledged.lease_ids:
            self._leases.forget(lease_id)
        match message.WhichOneof("kind"):
            case "granted":
                self._grant(message.granted)
            case "cancelled":
                self._drop(message.cancelled.lease_id, message.cancelled.reason or "cancelled")
            case "drain":
                grace_s = message.drain.grace.ToNanoseconds() / 1e9
                self.drain(message.drain.reason or "the coordinator asks for it", grace_s)
            case "recalled":
                recalled = backlog.Recalled(message.recalled.lease_id)
                self._obey(self._backlog.handle(recalled, trio.current_time()))
            case "peers":
                if self._stealing is not None:
                    self._stealing.introduced(message.peers)
            case "output_wanted":
                jobs.start_soon(self._tell_output, message.output_wanted)
            case None:  # acknowledgements alone
                pass
            case _:  # of a newer coordinator
                self._log.debug("Message not understood", kind=message.WhichOneof("kind"))

    async def _tell_output(self, wanted: workers_pb2.OutputWanted) -> None:
        self._say(workers_pb2.FromWorker(output=await tail(self._leases.get, wanted)))

    def _grant(self, granted: workers_pb2.LeaseGranted) -> None:
        lease_id = granted.lease_id
        if self._drain_wanted.is_set():
            self._hand_back(lease_id, "the worker is draining")
        elif lease_id not in self._waiting and self._leases.get(lease_id) is None:
            self._waiting[lease_id] = granted
            event = backlog.Granted(lease_id, granted.order)
            self._obey(self._backlog.handle(event, trio.current_time()))

    def _obey(self, made: Sequence[backlog.Effect]) -> None:
        """What the backlog has decided; then there may be room for more, or less."""
        for effect in made:
            granted = self._waiting.pop(effect.lease)
            match effect:
                case backlog.Start(lease_id):
                    held = self._leases.take(lease_id)
                    assert held is not None
                    assert self._jobs is not None
                    self._jobs.start_soon(self._work, held, granted)
                case backlog.Yield(lease_id, thief):
                    yielded = workers_pb2.LeaseYielded(lease_id=lease_id, thief=thief)
                    self._say(workers_pb2.FromWorker(yielded=yielded))
                case backlog.HandBack(lease_id, why):
                    self._hand_back(lease_id, why)
        if self._stealing is not None:
            wants = not self._waiting and not self._drain_wanted.is_set()
            self._stealing.room(self._backlog.free if wants else 0)

    def _yield_some(self, thief: str, leases: tuple[str, ...], most: int) -> list[str]:
        """What a thief gets: nothing while the coordinator could not hear of it."""
        if self._outbox is None:
            return []
        asked = backlog.Asked(thief, leases, most)
        made = self._backlog.handle(asked, trio.current_time())
        self._obey(made)
        return [effect.lease for effect in made]

    def _drop(self, lease_id: str, why: str) -> None:
        if lease_id in self._waiting:
            dropped = backlog.Dropped(lease_id, why)
            self._obey(self._backlog.handle(dropped, trio.current_time()))
            return
        held = self._leases.get(lease_id)
        if held is None:
            self._hand_back(lease_id, "it is not held here")
        elif held.result is None:
            held.stop(why)  # its task hands it back when the action is dead
        else:
            self._leases.forget(lease_id)

    def _hand_back(self, lease_id: str, why: str) -> None:
        returned = workers_pb2.LeaseReturned(lease_id=lease_id, reason=why)
        self._say(workers_pb2.FromWorker(returned=returned))

    async def _work(self, held: Held, granted: workers_pb2.LeaseGranted) -> None:
        result = None
        with held.scope:
            result = await self._attempt(held, granted)
        if result is None:
            self._leases.forget(held.id)
            self._hand_back(held.id, held.why_stopped)
        else:
            self._leases.finish(held.id, result)
            self._say(workers_pb2.FromWorker(finished=result))
        self._obey(self._backlog.handle(backlog.Ended(held.id), trio.current_time()))

    async def _attempt(
        self, held: Held, granted: workers_pb2.LeaseGranted
    ) -> workers_pb2.LeaseFinished:
        result = workers_pb2.LeaseFinished(lease_id=granted.lease_id)
        log = self._log.bind(**_about(granted))
        log.debug("Action started", attempt=granted.attempt)

        def report(stage: Stage, metadata: pb.ExecutedActionMetadata) -> None:
            progress = workers_pb2.LeaseProgress(
                lease_id=granted.lease_id, stage=STAGES[stage], metadata=metadata
            )
            self._say(workers_pb2.FromWorker(progress=progress))

        try:
            with self._tracer.span("lease", granted.traceparent, _attributes(granted)) as span:
                job = replace(_job(granted), began=held.began)
                response = await self._run_job(granted.instance_name, job, report)
                if self._tracer.on:
                    tell_stages(span, response)
            result.response.CopyFrom(response)
        except StatusError as error:
            log.warning("Lease failed on this side", why=str(error))
            result.infrastructure_failure = True
            result.store_full = isinstance(error, StoreFullError)
            result.response.status.CopyFrom(to_status(error))
        except Exception as error:
            log.exception("Lease failed by a bug of ours")
            result.infrastructure_failure = True
            status = to_status(InternalError(f"worker {self._identity.name}: {error!r}"))
            result.response.status.CopyFrom(status)
        return result


def _about(granted: workers_pb2.LeaseGranted) -> dict[str, str]:
    """What a line about it says: which lease of whose action."""
    client = granted.request_metadata
    found = {
        "lease": granted.lease_id,
        "operation": granted.lease_id.rpartition("/")[0],
        "action": granted.action_digest.hash,
        "invocation": client.tool_invocation_id,
        "target": client.target_id,
    }
    return {name: value for name, value in found.items() if value}


def _attributes(granted: workers_pb2.LeaseGranted) -> dict[str, str | int | bool]:
    return {
        "builder.action": granted.action_digest.hash,
        "builder.lease": granted.lease_id,
        "builder.attempt": granted.attempt,
    }


def _job(granted: workers_pb2.LeaseGranted) -> Job:
    function = NAMES.get(granted.digest_function, "")  # always named; an empty one is refused
    timeout_ns = granted.timeout.ToNanoseconds()
    return Job(
        digest=from_proto(granted.action_digest, function),
        action=granted.action if granted.HasField("action") else None,
        queued_ns=granted.queued_timestamp.ToNanoseconds(),
        attempt=granted.attempt,
        timeout_s=timeout_ns / 1e9 if timeout_ns else None,
        absolute_links=granted.absolute_symlinks,
        absolute_outputs=granted.absolute_symlinks,
        client=granted.request_metadata if granted.HasField("request_metadata") else None,
        memory_bytes=granted.memory_bytes,
        note=granted.note,
    )


async def _welcome(call: ClientCall) -> workers_pb2.Welcome:
    with trio.move_on_after(WELCOME_S):
        data = await call.receive()
        message = workers_pb2.ToWorker.FromString(data or b"")
        if message.WhichOneof("kind") == "welcome":
            return message.welcome
        raise UnavailableError("the coordinator did not answer the Hello with a Welcome")
    raise UnavailableError(f"no Welcome from the coordinator within {WELCOME_S:g} s")


async def _send_all(
    call: ClientCall, mail: trio.MemoryReceiveChannel[workers_pb2.FromWorker | None]
) -> None:
    """Messages in their order; None ends this side of the stream."""
    async for message in mail:
        if message is None:
            await call.done_sending()
            return
        await call.send(message.SerializeToString())
