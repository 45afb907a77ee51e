"""The workers that are here: who they are, what they hold, and which of them is free.

Workers that offer the same properties and capacities form a class; within it they lie in buckets by
the number of leases they hold, so that the least loaded one is found without looking at the others.
A worker whose slots are all taken may have room in its backlog: those come after all with a slot.

The buckets are put right when somebody looks. On a busy farm a slot that comes free is taken again
at once, before anybody does, and the worker stays where it was.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from builder.schedule.health import Health, room
from builder.schedule.lease import BACKLOG, Lease
from builder.schedule.platform import Offer, Properties
from builder.schedule.resources import Amounts, give_back, take

ClassKey = tuple[frozenset[tuple[str, str]], Amounts]
Bucket = OrderedDict[str, "Worker"]  # a plain dict is slow to give its first key after many gone


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself. `identity` tells two programs of one name apart."""

    name: str
    slots: int
    properties: Properties  # canonical
    identity: str = ""
    backend: str = ""
    guarantees: tuple[str, ...] = ()
    host: str = ""
    pid: int = 0
    version: str = ""
    capacity: Amounts = ()
    backlog: int = 0  # how many leases it takes beyond its slots
    peer: str = ""  # where other workers may ask for them
    peer_token: str = field(default="", repr=False)


class WorkerClass:
    """Like workers. `_free[n]` are those with a free slot that hold n leases, the longest first;
    those that are not well come after all the others. `moved` are those that may lie in a wrong
    bucket."""

    __slots__ = (
        "_free",
        "_idle",
        "_spare",
        "able",
        "holds",
        "hosts",
        "members",
        "moved",
        "offer",
        "resting",
        "slots",
        "workers",
    )

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.workers: dict[str, Worker] = {}  # those that take leases, free or not
        self.slots = 0  # theirs
        self.resting = 0  # of them, how many have failed
        self.able = 0  # how many have not
        self.hosts: dict[str, int] = {}  # how many of those each host has
        self.members = 0  # with those that drain or are away for a moment
        self.holds = 0  # how many keep room for one lane alone
        self.moved: list[Worker] = []
        self._idle = 0  # how many are in a bucket
        self._free: list[Bucket] = []
        self._spare: list[Bucket] = []  # by the length of the backlog

    def free(self) -> Iterator["Worker"]:
        """The least loaded first."""
        self._put_right()
        for bucket in self._free:
            yield from bucket.values()
        for bucket in self._spare:
            yield from bucket.values()

    def idle(self) -> int:
        """How many have a free slot, or room in their backlogs."""
        if self.moved:
            self._put_right()
        return self._idle

    def _put_right(self) -> None:
        for worker in self.moved:
            worker.moved = False
            here, there = worker.bucket, None
            if worker.takes_leases and len(worker.leases) < worker.room:
                there = self._bucket(worker)
            if here is there:
                continue
            name, worker.bucket = worker.info.name, there
            if here is not None:
                del here[name]
                self._idle -= 1
            if there is not None:
                there[name] = worker
                self._idle += 1
        self.moved.clear()

    def _bucket(self, worker: "Worker") -> Bucket:
        held, slots, buckets = len(worker.leases), worker.info.slots, self._free
        rank = held + worker.last_choice
        if worker.extra and held >= slots:
            rank, buckets = held - slots, self._spare
        while len(buckets) <= rank:
            buckets.append(OrderedDict())
        return buckets[rank]


@dataclass(slots=True, eq=False)
class Worker:
    """`session` is empty while its stream is down. It takes no leases then, nor while it drains."""

    info: WorkerInfo
    kind: WorkerClass
    session: str
    connected_at: float
    seen_at: float
    free: dict[str, int]  # of its capacities, what no lease has taken
    room: int  # how many leases it may hold
    takes_leases: bool = False
    bucket: Bucket | None = None  # where its class finds it, if it has room
    moved: bool = False
    last_choice: int = 0  # that it is taken to hold more, so that others come first
    health: Health = Health.HEALTHY
    ailment: str = ""  # why it is not healthy
    held_for: int | None = None  # the number of the lane that it keeps room for
    rests: int = 0  # in a row
    rested_at: float = 0.0
    strained: bool = False
    last_fault: str = ""  # the task
    leases: dict[str, Lease] = field(default_factory=dict)
    extra: int = 0  # how many of them may wait in its backlog
    backlog: dict[str, Lease] = field(default_factory=dict)  # those of its leases that do
    draining: str = ""  # why
    drain_grace_s: float = 0.0
    gone_at: float = 0.0
    cpu_fraction: float = 0.0
    memory_fraction: float = 0.0
    persistent_workers: int = 0

    @property
    def has_room(self) -> bool:
        return self.takes_leases and len(self.leases) < self.room

    @property
    def has_slot(self) -> bool:
        return self.has_room and len(self.leases) < self.info.slots


class Fleet:
    """Every change of a worker that matters for who is free goes through here."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.sessions: dict[str, Worker] = {}
        self.classes: dict[ClassKey, WorkerClass] = {}
        self.loaded: dict[str, Worker] = {}  # those that have a backlog
        self.changes = 0  # of who takes leases, and how many
        self._held = 0
        self._granted_at = 0.0  # of the leases held, summed

    def enrol(
        self, info: WorkerInfo, session: str, now: float, backlog: int = 0
    ) -> tuple[Worker, bool]:
        """A new worker, and whether it is the first of its class; the most for its backlog."""
        key = (frozenset(info.properties), info.capacity)
        kind = self.classes.get(key)
        first = kind is None
        if kind is None:
            kind = WorkerClass(Offer(f"worker {info.name}", *key))
            self.classes[key] = kind
        kind.members += 1
        worker = Worker(info, kind, session, now, now, dict(info.capacity), info.slots)
        if backlog and info.backlog and info.peer:
            worker.extra = min(backlog, info.backlog)
            worker.room += worker.extra
        self.workers[info.name] = worker
        self.sessions[session] = worker
        self._enter(worker)
        return worker, first

    def remove(self, worker: Worker) -> bool:
        """Whether it was the last of its class."""
        self._leave(worker)
        del self.workers[worker.info.name]
        self.sessions.pop(worker.session, None)
        worker.session = ""
        worker.kind.members -= 1
        if not worker.kind.members:
            offer = worker.kind.offer
            del self.classes[offer.properties, offer.capacity]
        return not worker.kind.members

    def disconnect(self, worker: Worker, now: float) -> None:
        self._leave(worker)
        del self.sessions[worker.session]
        worker.session = ""
        worker.gone_at = now

    def drain(self, worker: Worker, why: str) -> None:
        self._leave(worker)
        worker.draining = why

    def set_health(self, worker: Worker, health: Health, why: str) -> None:
        self._leave(worker)
        worker.health, worker.ailment = health, why
        worker.room = room(health, worker.info.slots, worker.extra)
        worker.last_choice = 0 if health is Health.HEALTHY else worker.info.slots
        self._enter(worker)

    def occupy(self, worker: Worker, lease: Lease) -> None:
        worker.leases[lease.id] = lease
        if lease.need:
            take(worker.free, lease.need)
        if worker.extra and lease.state in BACKLOG:
            self._enlist(worker, lease)
        else:
            self._held += 1
            self._granted_at += lease.granted_at
        if not worker.moved:
            worker.moved = True
            worker.kind.moved.append(worker)

    def release(self, worker: Worker, lease: Lease, now: float) -> None:
        del worker.leases[lease.id]
        if lease.need:
            give_back(worker.free, lease.need)
        if worker.backlog and lease.id in worker.backlog:
            self._strike(worker, lease)
            lease.granted_at = now  # it has cost nothing
        else:
            self._held -= 1
            self._granted_at = self._granted_at - lease.granted_at if self._held else 0.0
        if not worker.moved:
            worker.moved = True
            worker.kind.moved.append(worker)

    def start(self, worker: Worker, lease: Lease, now: float) -> None:
        """Out of the backlog: its time begins now."""
        self._strike(worker, lease)
        lease.granted_at = now
        self._held += 1
        self._granted_at += now

    def wait(self, worker: Worker, lease: Lease) -> None:
        """Into the backlog: the worker has not started it yet."""
        self._held -= 1
        self._granted_at = self._granted_at - lease.granted_at if self._held else 0.0
        self._enlist(worker, lease)

    def _enlist(self, worker: Worker, lease: Lease) -> None:
        worker.backlog[lease.id] = lease
        self.loaded[worker.info.name] = worker

    def _strike(self, worker: Worker, lease: Lease) -> None:
        del worker.backlog[lease.id]
        if not worker.backlog:
            del self.loaded[worker.info.name]

    def held_s(self, now: float) -> float:
        """For how long the leases that are held have been so, summed."""
        return max(0.0, self._held * now - self._granted_at)

    def _enter(self, worker: Worker) -> None:
        self.changes += 1
        if worker.session and not worker.draining:
            worker.takes_leases = True
            worker.kind.workers[worker.info.name] = worker
            worker.kind.slots += worker.info.slots
            _count(worker, 1)
            _moves(worker)

    def _leave(self, worker: Worker) -> None:
        self.changes += 1
        if worker.takes_leases:
            worker.takes_leases = False
            _moves(worker)
            worker.kind.slots -= worker.info.slots
            _count(worker, -1)
            del worker.kind.workers[worker.info.name]


def _moves(worker: Worker) -> None:
    """It may belong into another bucket now."""
    if not worker.moved:
        worker.moved = True
        worker.kind.moved.append(worker)


def _count(worker: Worker, by: int) -> None:
    kind, host = worker.kind, worker.info.host
    if not worker.room:
        kind.resting += by
        return
    kind.able += by
    kind.hosts[host] = kind.hosts.get(host, 0) + by
    if not kind.hosts[host]:
        del kind.hosts[host]
