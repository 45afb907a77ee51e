"""What each tier does, for Prometheus. A storage that is not composed has no such figures: what it
costs to count would be paid by every call."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from builder.assembly.tiers import Tier
from builder.reapi.pb import control_pb2
from builder.stores.metered import Meter, Observe
from builder.telemetry.metrics import Family, Metrics

COUNTED = {  # field of Meter -> what it is
    "hits": "Blobs and records that a storage tier had.",
    "misses": "Blobs and records that a storage tier did not have.",
    "read_bytes": "Bytes read from a storage tier.",
    "written_bytes": "Bytes written to a storage tier.",
    "refused": "Writes that a storage tier had no room for.",
    "failures": "Calls that a storage tier failed.",
}

Values = dict[tuple[str, ...], float]


def tier_states(tiers: Sequence[Tier]) -> list[control_pb2.Tier]:
    """Of those that count, for status and pages."""
    return [
        control_pb2.Tier(
            name=tier.name,
            kind=tier.kind,
            trouble=tier.why(),
            hits=tier.meter.hits,
            misses=tier.meter.misses,
            read_bytes=tier.meter.read_bytes,
            written_bytes=tier.meter.written_bytes,
            failures=tier.meter.failures,
        )
        for tier in tiers
        if tier.meter is not None
    ]


@dataclass(frozen=True, slots=True)
class Metered:
    """A tier that counts."""

    tier: Tier
    meter: Meter


class TierFigures:
    """Counters are read when somebody scrapes; durations are observed as they happen."""

    def __init__(self, tiers: Sequence[Tier], metrics: Metrics) -> None:
        self._tiers = [Metered(tier, tier.meter) for tier in tiers if tier.meter is not None]
        self._queues = [(tier.name, tier.waiting) for tier in tiers if tier.waiting is not None]
        if self._tiers:
            seconds = metrics.seconds(
                "builder_tier_seconds", "Calls of storage tiers.", ("tier", "operation")
            )
            for one in self._tiers:
                one.meter.observe = _observing(
                    lambda name, operation: seconds.observer(name, operation), one.tier.name
                )

    def families(self) -> Iterator[Family]:
        if not self._tiers:
            return
        for field, help_ in COUNTED.items():
            values: Values = {
                (one.tier.name,): float(getattr(one.meter, field)) for one in self._tiers
            }
            yield Family(f"builder_tier_{field}_total", help_, "counter", values, ("tier",))
        up: Values = {(one.tier.name,): float(one.tier.is_well()) for one in self._tiers}
        yield Family("builder_tier_up", "1 while a storage tier is well.", "gauge", up, ("tier",))
        for field, help_ in (("lost", "gone before"), ("dropped", "never queued")):
            gone: Values = {(name,): float(getattr(queue, field)) for name, queue in self._queues}
            yield Family(
                f"builder_write_back_{field}_total",
                f"Writes that did not go far: {help_}.",
                "counter",
                gone,
                ("queue",),
            )
        waiting: Values = {(name,): float(len(queue)) for name, queue in self._queues}
        yield Family(
            "builder_write_back_waiting", "Writes on their way.", "gauge", waiting, ("queue",)
        )


def _observing(observer: Callable[[str, str], Callable[[float], object]], name: str) -> Observe:
    """What observes a call, with each operation's histogram looked up once."""
    known: dict[str, Callable[[float], object]] = {}

    def observe(operation: str, seconds: float) -> None:
        if operation not in known:
            known[operation] = observer(name, operation)
        known[operation](seconds)

    return observe
