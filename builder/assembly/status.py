"""A coordinator's status in words: sections of rows, for the terminal and for the page."""

from builder.base.units import format_duration, format_size
from builder.reapi.pb import control_pb2 as pb

STEADY = 0.005  # of the trend's load per sample
NONE = "none yet"  # for a rate of nothing
Rows = list[tuple[str, str]]
Section = tuple[str, Rows]


def service_line(status: pb.Status) -> str:
    """`Running (uptime: 5m 32s)`."""
    uptime = format_duration(status.uptime.ToNanoseconds() / 1e9)
    return f"{status.state.capitalize()} (uptime: {uptime})"


def sections(status: pb.Status) -> list[Section]:
    """The first four are always the same; the others are there where there is something to tell."""
    found: list[Section] = [
        ("Workers", _workers(status.workers)),
        ("Queue", _queue(status.queue)),
    ]
    pools = [(pool_title(status, pool), _pool(pool)) for pool in status.pools if pool.maximum]
    found += pools or [("Autoscaling", [("Policy", "none: there is no pool, workers join")])]
    found.append(("Metrics", _executions(status.executions)))
    if status.stealing.ByteSize():
        found.append(("Work stealing", _stealing(status.stealing)))
    if status.stores:
        found.append(("Storage", [(one.name.capitalize(), _store(one)) for one in status.stores]))
    if status.tiers:
        found.append(("Storage tiers", [(one.name, _tier(one)) for one in status.tiers]))
    if status.instances:
        named = [(one.name or "(unnamed)", _usage(one)) for one in status.instances]
        found.append(("Uploads of instances", named))
    if status.problems:
        found.append(("Problems", [(str(n), text) for n, text in enumerate(status.problems, 1)]))
    return [*found, ("Health", [("State", health_line(status))])]


def health_line(status: pb.Status) -> str:
    """`healthy`, or how many problems there are."""
    if status.state != "running":
        return f"{status.state}: no new actions are taken"
    number = len(status.problems)
    return f"{number} problem{'' if number == 1 else 's'}, see above" if number else "healthy"


def pool_title(status: pb.Status, pool: pb.PoolState) -> str:
    """A pool is named where there are several."""
    return "Autoscaling" if len(status.pools) == 1 else f"Autoscaling of {pool.name}"


def _usage(one: pb.InstanceUsage) -> str:
    refused = f", {one.refused_uploads} refused" if one.refused_uploads else ""
    blobs = f"{one.blobs} of {one.quota_blobs} blobs" if one.quota_blobs else f"{one.blobs} blobs"
    size = f"{format_size(one.uploaded_bytes)} of {format_size(one.quota_bytes)}"
    of = f" of {one.quota_results}" if one.quota_results else ""
    results = f", {one.results}{of} results" if one.results or one.quota_results else ""
    return f"{size}, {blobs}{results}{refused}"


def _store(store: pb.StoreState) -> str:
    size = f"{format_size(store.used_bytes)} of {format_size(store.capacity_bytes)}"
    leased = f", {format_size(store.leased_bytes)} promised" if store.leased_bytes else ""
    evicted = f", {store.evicted_entries} evicted" if store.evicted_entries else ""
    refused = f", {store.refused_writes} writes refused" if store.refused_writes else ""
    return f"{store.entries} entries, {size}{leased}{evicted}{refused}"


def _tier(tier: pb.Tier) -> str:
    state = f"down: {tier.trouble}" if tier.trouble else "well"
    asked = tier.hits + tier.misses
    hits = f", {tier.hits / asked:.0%} hits" if asked else ""
    moved = f", {format_size(tier.read_bytes)} read, {format_size(tier.written_bytes)} written"
    return f"{tier.kind}, {state}{hits}{moved}"


def _workers(workers: pb.WorkerCounts) -> Rows:
    used = workers.slots_busy / workers.slots if workers.slots else 0.0
    rows = [
        ("Total", str(workers.total)),
        ("Idle", str(workers.idle)),
        ("Busy", str(workers.busy)),
        ("Utilization", f"{used:.0%}"),
    ]
    if workers.slots != workers.total:
        rows.append(("Slots", f"{workers.slots_busy} of {workers.slots} busy"))
    away = workers.total - workers.idle - workers.busy - workers.draining
    if away:
        rows.append(("Away", f"{away} (not heard of for a moment)"))
    if workers.draining:
        rows.append(("Draining", str(workers.draining)))
    return rows


def _queue(queue: pb.QueueCounts) -> Rows:
    return [
        ("Pending", _actions(queue.pending)),
        ("Executing", _actions(queue.executing)),
        ("Completed", _actions(queue.completed)),
    ]


def _stealing(told: pb.Stealing) -> Rows:
    calls = f"{told.attempted} attempted, {told.succeeded} succeeded, {told.empty} empty"
    refused = f", {told.refused} refused" if told.refused else ""
    recalled = f", {told.recalled} recalled" if told.recalled else ""
    return [
        ("Waiting on workers", _actions(told.backlog)),
        ("Taken", f"{_actions(told.moved)}{refused}{recalled}"),
        ("Calls", f"{calls}, {told.failed} failed"),
    ]


def _actions(count: int) -> str:
    return f"{count} action{'' if count == 1 else 's'}"


def _pool(pool: pb.PoolState) -> Rows:
    if pool.HasField("held"):
        policy = f"held at {pool.held} by an operator"
    else:
        policy = pool.policy if pool.autoscale else "off"
    moving = [f"{pool.starting} starting"] if pool.starting else []
    moving += [f"{pool.leaving} leaving"] if pool.leaving else []
    size = ", ".join([f"{pool.ready} ready", *moving, f"{pool.desired} wanted"])
    return [
        ("Predicted load", f"{pool.predicted_load:.0%}"),
        ("Trend", f"{pool.trend:+.2f} ({_direction(pool.trend)})"),
        ("Next action", pool.next_action),
        ("Last decision", pool.decision),
        ("Pool", f"{pool.minimum} to {pool.maximum} workers: {size}"),
        ("Policy", policy),
    ]


def _direction(trend: float) -> str:
    if abs(trend) < STEADY:
        return "steady"
    return "increasing" if trend > 0 else "decreasing"


def _executions(figures: pb.ExecutionFigures) -> Rows:
    ended = figures.succeeded + figures.failed
    lookups = figures.cache_hits + figures.cache_misses
    took = NONE
    if figures.HasField("mean_execution"):
        took = format_duration(figures.mean_execution.ToNanoseconds() / 1e9)
    return [
        ("Success rate", f"{figures.succeeded / ended:.1%}" if ended else NONE),
        ("Cache hit rate", f"{figures.cache_hits / lookups:.1%}" if lookups else NONE),
        ("Avg execution time", took),
    ]
