"""The service's figures for Prometheus: snapshots become families when somebody scrapes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Literal, Protocol

from builder.assembly.steal_figures import steals
from builder.assembly.stores import Stores
from builder.base.errors import Code
from builder.net.upkeep import LIMITS
from builder.reapi.pb import control_pb2
from builder.reapi.pb.remote_execution_pb2 import ExecuteResponse
from builder.reapi.pb.workers_pb2 import PersistentWorker
from builder.reapi.proof import proof_of
from builder.schedule.counters import Counters
from builder.schedule.reasons import ReasonCode
from builder.schedule.snapshot import Snapshot
from builder.server.execution import CacheFigures
from builder.server.journal import FileJournal
from builder.server.scheduler import Scheduler
from builder.stores.ages import WITHIN_S
from builder.stores.index import Occupancy
from builder.telemetry.metrics import Family, Metrics
from builder.telemetry.telling import STAGES, seconds
from builder.telemetry.wellbeing import COMPONENTS, Problem
from builder.wire.frames import ErrorCode
from builder.wire.limits import Limits

MOST_PLATFORMS = 20
WORKER_STATES = ("idle", "busy", "draining", "away")
NONE: tuple[str, ...] = ()
Values = dict[tuple[str, ...], float]


class Occupied(Protocol):
    """Whatever tells how full it is."""

    def snapshot(self) -> Occupancy: ...


class Calls:
    """RPCs by method and code, counted where they end."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._names = {path: path.strip("/").replace("/", ".") for path in paths}
        self._ended: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._sent_away: defaultdict[int, int] = defaultdict(int)
        self._limits_hit = dict.fromkeys((*(one.name for one in fields(Limits)), *LIMITS), 0)

    def ended(self, code: int) -> None:
        """For `net.serving.Hooks`: a connection broke the protocol or a limit."""
        self._sent_away[code] += 1

    def limit_hit(self, limit: str) -> None:
        """For `net.serving.Hooks`: a limit of a connection refused a call, or ended it."""
        self._limits_hit[limit] += 1

    def observe(self, path: str, code: int, seconds: float, calls: int) -> None:
        """For `net.serving.Hooks`. A path that is not served counts as `other`: labels stay few."""
        name = self._names.get(path, "other")
        self._ended[name, code] += calls
        self._seconds[name] += seconds

    def families(self) -> Iterator[Family]:
        ended: Values = {(m, Code(c).name): float(n) for (m, c), n in self._ended.items()}
        yield Family("builder_rpcs_total", "RPCs that ended.", "counter", ended, ("method", "code"))
        seconds: Values = {(method,): float(value) for method, value in self._seconds.items()}
        yield Family(
            "builder_rpc_seconds_total", "Seconds in RPCs.", "counter", seconds, ("method",)
        )
        away: Values = {(_error_name(c),): float(n) for c, n in self._sent_away.items()}
        yield Family(
            "builder_connections_sent_away_total",
            "Connections that broke the protocol or a limit, by HTTP/2 error code.",
            "counter",
            away,
            ("code",),
        )
        hit = {(name,): count for name, count in self._limits_hit.items() if count}
        help_ = "Limits of connections that refused a call, or ended the connection."
        yield _labelled("builder_wire_limits_hit_total", help_, "limit", hit)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the figures come from."""

    scheduler: Scheduler
    cache: CacheFigures
    stores: Sequence[tuple[str, Occupied]]
    calls: Calls
    pools: Callable[[], Sequence[control_pb2.PoolState]]
    problems: Callable[[], Sequence[Problem]]

    def families(self) -> Iterator[Family]:
        snapshot = self.scheduler.snapshot()
        yield from _actions(snapshot.counters, self.cache)
        yield from _queue(snapshot)
        yield from steals(snapshot)
        yield from _stores({name: store.snapshot() for name, store in self.stores})
        yield from self.calls.families()
        yield from _pools([pool for pool in self.pools() if pool.maximum])
        yield _health(self.problems())


def _actions(counters: Counters, cache: CacheFigures) -> Iterator[Family]:
    outcomes = {
        ("succeeded",): counters.succeeded,
        ("failed",): counters.failed,
        ("gave_up",): counters.gave_up,
        ("cancelled",): counters.cancelled,
    }
    yield _labelled("builder_actions_total", "Actions that ended.", "outcome", outcomes)
    lookups = {("hit",): cache.hits, ("miss",): cache.misses}
    yield _labelled("builder_cache_lookups_total", "Look-ups of results.", "result", lookups)
    plain = {
        "builder_operations_total": ("Operations taken.", counters.submitted),
        "builder_operations_refused_total": (
            "Operations that were not taken: no worker would ever serve them, or too many waited.",
            counters.refused,
        ),
        "builder_operations_merged_total": ("Of them, merged into another.", counters.merged),
        "builder_attempts_total": ("Leases granted.", counters.granted),
        "builder_preempted_total": ("Attempts that gave way to others.", counters.preempted),
        "builder_enlarged_total": (
            "Actions killed for memory that ran again on a larger slot.",
            counters.enlarged,
        ),
        "builder_hedged_total": ("Second attempts beside slow ones.", counters.hedged),
        "builder_hedges_won_total": ("Of them, those that were first.", counters.hedges_won),
        "builder_workers_lost_total": ("Workers lost.", counters.workers_lost),
        "builder_leases_lost_total": ("Leases lost with their worker.", counters.leases_lost),
        "builder_infrastructure_failures_total": (
            "Attempts that failed by our fault.",
            counters.infrastructure_failures,
        ),
        "builder_wait_seconds_total": ("From asking to the first attempt.", counters.wait_s),
        "builder_execution_seconds_total": ("Of the actions' programs.", counters.execution_s),
    }
    for name, (help_, value) in plain.items():
        yield Family(name, help_, "counter", {NONE: float(value)})


def _labelled(name: str, help_: str, label: str, values: dict[tuple[str], int]) -> Family:
    found: Values = {key: float(value) for key, value in values.items()}
    return Family(name, help_, "counter", found, (label,))


def _queue(snapshot: Snapshot) -> Iterator[Family]:
    stages: Values = {
        ("queued",): float(snapshot.queued),
        ("waiting",): float(snapshot.waiting),
        ("executing",): float(snapshot.executing),
    }
    yield Family("builder_actions", "Actions by stage.", "gauge", stages, ("stage",))
    states = [worker.state for worker in snapshot.workers]
    workers: Values = {(state,): float(states.count(state)) for state in WORKER_STATES}
    yield Family("builder_workers", "Workers by state.", "gauge", workers, ("state",))
    slots = sum(worker.info.slots for worker in snapshot.workers)
    busy = sum(worker.held for worker in snapshot.workers)
    yield Family("builder_slots", "Slots of all workers.", "gauge", {NONE: float(slots)})
    yield Family("builder_slots_busy", "Slots taken.", "gauge", {NONE: float(busy)})
    used = busy / slots if slots else 0.0
    yield Family("builder_utilization_ratio", "Busy slots of all.", "gauge", {NONE: used})
    yield from _lanes(snapshot)


def _lanes(snapshot: Snapshot) -> Iterator[Family]:
    """The longest queues by platform; the rest of them together, so that labels stay few."""
    waiting: defaultdict[tuple[str, ...], float] = defaultdict(float)
    lanes = sorted(snapshot.lanes, key=lambda lane: -lane.waiting)
    for number, lane in enumerate(lanes):
        platform = lane.wanted if number < MOST_PLATFORMS else "other"
        reason = ReasonCode.ALL_BUSY if lane.workers else ReasonCode.NO_WORKER
        waiting[platform, reason.value] += lane.waiting
    labels = ("platform", "reason")
    yield Family("builder_queue_actions", "Actions in queues.", "gauge", waiting, labels)


def _pools(pools: Sequence[control_pb2.PoolState]) -> Iterator[Family]:
    """Nothing where there is none."""
    if not pools:
        return
    names = ("ready", "starting", "leaving", "desired", "minimum", "maximum")
    sizes: Values = {(one.name, name): float(getattr(one, name)) for one in pools for name in names}
    yield Family("builder_pool_workers", "Sizes of pools.", "gauge", sizes, ("pool", "size"))
    load: Values = {(one.name,): one.predicted_load for one in pools}
    name = "builder_pool_predicted_load_ratio"
    yield Family(name, "Of the ready slots.", "gauge", load, ("pool",))
    trend: Values = {(one.name,): one.trend for one in pools}
    yield Family(
        "builder_pool_load_trend_ratio", "Of the load, per sample.", "gauge", trend, ("pool",)
    )


def _health(problems: Sequence[Problem]) -> Family:
    ill = [problem.component for problem in problems]
    values: Values = {(name,): float(name not in ill) for name in COMPONENTS}
    return Family("builder_healthy", "1 where nothing is wrong.", "gauge", values, ("component",))


def _error_name(code: int) -> str:
    return ErrorCode(code).name if code in set(ErrorCode) else "other"


class Stages:
    """Histograms of what actions spent their time on, from the metadata of their results."""

    def __init__(self, metrics: Metrics) -> None:
        stage, sandbox = "builder_stage_seconds", "builder_sandbox_seconds"
        stages = metrics.seconds(stage, "Stages of actions.", ("stage",))
        phases = metrics.seconds(sandbox, "Around the actions' programs.", ("phase",))
        self._stages = [
            (attrgetter(start), attrgetter(end), stages.observer(name))
            for name, start, end in STAGES
        ]
        self._setup, self._cleanup = phases.observer("setup"), phases.observer("cleanup")
        self._served: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._audited: defaultdict[tuple[str, ...], float] = defaultdict(float)
        metrics.add(self._counted)

    def observe(self, response: bytes) -> None:
        """Of a serialized ExecuteResponse that a worker has sent."""
        metadata = ExecuteResponse.FromString(response).result.execution_metadata
        if not metadata.worker:
            return
        for start, end, observed in self._stages:
            began, ended = start(metadata), end(metadata)
            took_s = ended.seconds - began.seconds + (ended.nanos - began.nanos) / 1e9
            observed(took_s if took_s > 0 else 0.0)
        proof = proof_of(metadata)
        if proof.HasField("setup"):
            self._setup(seconds(proof.setup))
            self._cleanup(seconds(proof.cleanup))
        if proof.HasField("persistent_worker"):
            self._served[(_way(proof.persistent_worker),)] += 1
        if proof.HasField("audit"):
            self._audited[("undeclared" if proof.audit.outside_count else "clean",)] += 1

    def _counted(self) -> Iterator[Family]:
        name, help_ = "builder_persistent_worker_actions_total", "Actions that asked for one."
        yield Family(name, help_, "counter", self._served, ("way",))
        name, help_ = "builder_audited_actions_total", "Actions, by what their audit found."
        yield Family(name, help_, "counter", self._audited, ("found",))


def _way(worker: PersistentWorker) -> str:
    """Of an action that asked for a program that stays."""
    if worker.fell_back:
        return "by itself"
    return "warm" if worker.request > 1 else "started"


def journal(kept: FileJournal) -> Iterator[Family]:
    """What the coordinator writes down for its successor."""
    figures = kept.figures
    told: dict[str, tuple[str, float]] = {
        "builder_journal_operations": ("Operations in it that have not ended.", kept.waiting),
        "builder_journal_size_bytes": ("Of its file.", figures.size_bytes),
        "builder_journal_written_bytes_total": ("Bytes written.", figures.written_bytes),
        "builder_journal_write_seconds_total": ("Seconds in writes.", figures.write_s),
        "builder_journal_rewrites_total": ("Times that it began anew.", figures.rewrites),
        "builder_journal_replayed_total": (
            "Operations that were taken over from a former coordinator.",
            figures.replayed,
        ),
    }
    for name, (help_, value) in told.items():
        yield Family(name, help_, kind_of(name), {NONE: float(value)})


def store_states(stores: Stores, details: bool) -> list[control_pb2.StoreState]:
    """How full each store is; with details by age, which takes milliseconds in an old one."""
    held = [(tier.name, tier.held) for tier in stores.tiers if tier.held is not None]
    found = [(name, one.snapshot(), one.ages() if details else ()) for name, one in held]
    return [
        control_pb2.StoreState(
            name=name,
            entries=full.blobs,
            used_bytes=full.used_bytes,
            capacity_bytes=full.capacity_bytes,
            evicted_entries=full.evicted_blobs,
            refused_writes=full.refused_writes,
            leased_bytes=full.leased_bytes,
            ages=list(_aged(ages)),
        )
        for name, full, ages in found
    ]


def _aged(ages: Sequence[int]) -> Iterator[control_pb2.AgedBytes]:
    for number, count in enumerate(ages):
        one = control_pb2.AgedBytes(bytes=count)
        if number < len(WITHIN_S):
            one.within.FromSeconds(round(WITHIN_S[number]))
        yield one


def kind_of(name: str) -> Literal["counter", "gauge"]:
    return "counter" if name.endswith("_total") else "gauge"


def _stores(stores: dict[str, Occupancy]) -> Iterator[Family]:
    def family(name: str, help_: str, field: str) -> Family:
        values: Values = {(store,): float(getattr(full, field)) for store, full in stores.items()}
        return Family(name, help_, kind_of(name), values, ("store",))

    yield family("builder_store_entries", "Entries in the store.", "blobs")
    yield family("builder_store_used_bytes", "Bytes used.", "used_bytes")
    yield family("builder_store_capacity_bytes", "Bytes that may be used.", "capacity_bytes")
    yield family("builder_store_leased_bytes", "Bytes promised to clients.", "leased_bytes")
    yield family("builder_store_lost_total", "Entries found damaged or gone.", "lost_blobs")
    yield family("builder_store_refused_total", "Writes without room.", "refused_writes")
    yield family("builder_store_evicted_total", "Entries evicted.", "evicted_blobs")
    yield family("builder_store_evicted_bytes_total", "Bytes evicted.", "evicted_bytes")
