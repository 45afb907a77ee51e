"""How much each instance may hold of the storage: blobs that are promised because it uploaded them.

What is uploaded is promised for a lease, so an instance that uploads without end fills the store
with promises, and everybody else's writes are refused. A quota bounds that. A blob counts once
however often it comes, from its upload until a lease after its instance uploaded it or asked for
it the last time; then it may go, and is nobody's burden. An upload that breaks off counts too.
Nothing is counted for instances without a quota, and a restart begins with nothing held.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from builder.base.digest import Digest, is_empty
from builder.base.errors import ResourceExhaustedError
from builder.base.units import format_duration, format_size
from builder.stores.entries import PackedEntries, key_of
from builder.stores.index import Index
from builder.stores.interface import Named

OTHERS = "*"  # each instance that is not named
ENDLESS = 1 << 62


@dataclass(frozen=True, slots=True)
class Most:
    """What an instance may hold; 0 blobs is as many as have room."""

    size_bytes: int
    blobs: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one instance."""

    instance: str
    used_bytes: int
    blobs: int
    most: Most
    refused: int


@dataclass(slots=True)
class _Held:
    most: Most
    index: Index
    refused: int = field(default=0)


class Quotas:
    """`most` by instance; `now` is seconds of any clock."""

    MOST_INSTANCES = 1000  # that are told apart, of those without a quota of their own

    def __init__(self, most: Mapping[str, Most], lease_s: float, now: Callable[[], float]) -> None:
        self._most = dict(most)
        self._lease_s = max(lease_s, 1.0)
        self._now = now
        self._held: dict[str, _Held] = {}

    def __bool__(self) -> bool:
        return bool(self._most)

    def counts(self, instance: str) -> bool:
        """Whether it has a quota."""
        return instance in self._most or OTHERS in self._most

    def take(self, instance: str, blobs: Sequence[Digest]) -> None:
        """Count uploads, all or none. Raises ResourceExhaustedError when they are too much."""
        held = self._of(instance)
        if held is None:
            return
        now, index = self._now(), held.index
        every = {key_of(one.function, one.hash): one for one in blobs if not is_empty(one)}
        fresh = [one.size_bytes for key, one in every.items() if index.size(key) is None]
        full = index.snapshot()
        used, count = full.used_bytes + sum(fresh), full.blobs + len(fresh)
        if fresh and (used > held.most.size_bytes or count > (held.most.blobs or count)):
            held.refused += 1
            raise ResourceExhaustedError(self._refusal(instance, full.used_bytes, full.blobs, held))
        for key, one in every.items():
            index.renew(key, one.size_bytes, now)

    def renew(self, instance: str, function: str, blobs: Sequence[Named]) -> None:
        """What it asked for, of what it holds, is promised anew."""
        held = self._of(instance)
        if held is not None:
            held.index.absent(function, blobs, self._now())
            held.index.renewed.clear()

    def usage(self) -> list[Usage]:
        """Of every instance that has a quota of its own, or has uploaded."""
        for name in (*self._most, *self._held):
            if name != OTHERS:
                self._of(name)
        found = [(name, one, one.index.snapshot()) for name, one in sorted(self._held.items())]
        return [
            Usage(name, full.used_bytes, full.blobs, one.most, one.refused)
            for name, one, full in found
        ]

    def _of(self, instance: str) -> _Held | None:
        """What it holds now; None if that has no bound."""
        if instance not in self._held:
            most = self._most.get(instance, self._most.get(OTHERS))
            if most is None:
                return None
            if instance not in self._most and len(self._held) >= self.MOST_INSTANCES:
                instance = OTHERS
            if instance not in self._held:
                index = Index(ENDLESS, self._lease_s, 1, PackedEntries)
                self._held[instance] = _Held(most, index)
        held = self._held[instance]
        held.index.evict(ENDLESS, self._now())  # whose lease has ended
        return held

    def _refusal(self, instance: str, used_bytes: int, blobs: int, held: _Held) -> str:
        most = held.most
        count = f"{blobs} of {most.blobs}" if most.blobs else f"{blobs}"
        return (
            f"instance {instance!r} holds {format_size(used_bytes)} of "
            f"{format_size(most.size_bytes)} in {count} blobs that it uploaded and that are "
            f"promised to it for {format_duration(self._lease_s)}: try again later, or raise its "
            "quota in store.quotas"
        )
