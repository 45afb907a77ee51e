"""How much each instance may hold of the storage: what it uploaded, and results of its actions.

What is uploaded is promised for a lease, so an instance that uploads without end fills the store
with promises, and everybody else's writes are refused. A quota bounds that. A blob counts once
however often it comes, from its upload until a lease after its instance uploaded it or asked for
it the last time, or for a result that references it; then it may go, and is nobody's burden. An
upload that breaks off counts too. Results count in the same way, each with the bytes that are kept
of it, whoever writes them: clients, or the service itself. Nothing is counted for instances without
a quota. What is counted is told to `keep`, and what an earlier process told it is taken in by
`load`: until that is done, only what is new counts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from builder.base.digest import Digest, is_empty
from builder.base.errors import ResourceExhaustedError
from builder.base.units import format_duration, format_size
from builder.stores.entries import PackedEntries, key_of
from builder.stores.index import Index, Restored
from builder.stores.interface import Named

OTHERS = "*"  # each instance that is not named
ENDLESS = 1 << 62
BLOB, RESULT = "b", "r"  # kinds of what counts
Found = dict[tuple[str, str], dict[str, tuple[float, int]]]  # kind, instance; key: (used, size)


class Use(NamedTuple):
    """An instance used a blob or a result at `used`, in seconds of the clock."""

    kind: str
    instance: str
    key: str
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Most:
    """What an instance may hold; 0 blobs or results are as many as have room."""

    size_bytes: int
    blobs: int = 0
    results: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one instance."""

    instance: str
    used_bytes: int
    blobs: int
    most: Most
    refused: int
    results: int = 0


@dataclass(slots=True)
class _Held:
    name: str
    most: Most
    blobs: Index
    results: Index
    refused: int = field(default=0)

    def of(self, kind: str) -> Index:
        return self.blobs if kind == BLOB else self.results

    def used_bytes(self) -> int:
        return self.blobs.snapshot().used_bytes + self.results.snapshot().used_bytes


def _nothing(_uses: Sequence[Use]) -> None:
    return


class Quotas:
    """`most` by instance; `now` is seconds of a clock that goes on over restarts."""

    MOST_INSTANCES = 1000  # that are told apart, of those without a quota of their own

    def __init__(
        self,
        most: Mapping[str, Most],
        lease_s: float,
        now: Callable[[], float],
        keep: Callable[[Sequence[Use]], None] = _nothing,
    ) -> None:
        self._most = dict(most)
        self._lease_s = max(lease_s, 1.0)
        self._now = now
        self._keep = keep
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
        every = {key_of(one.function, one.hash): one for one in blobs if not is_empty(one)}
        fresh = [one.size_bytes for key, one in every.items() if held.blobs.size(key) is None]
        count = held.blobs.snapshot().blobs + len(fresh)
        if fresh and (
            held.used_bytes() + sum(fresh) > held.most.size_bytes
            or count > (held.most.blobs or count)
        ):
            raise self._refusal(instance, held)
        self._use(held, BLOB, ((key, one.size_bytes) for key, one in every.items()))

    def take_result(self, instance: str, action: Digest, size_bytes: int) -> None:
        """Count a result that will be kept. Raises ResourceExhaustedError when it is too much."""
        held = self._of(instance)
        if held is None:
            return
        key = key_of(action.function, action.hash)
        before = held.results.size(key)
        count = held.results.snapshot().blobs + (before is None)
        more = size_bytes - (before or 0)
        if more > 0 and held.used_bytes() + more > held.most.size_bytes:
            raise self._refusal(instance, held)
        if before is None and count > (held.most.results or count):
            raise self._refusal(instance, held)
        if before != size_bytes:
            held.results.drop(key)
        self._use(held, RESULT, [(key, size_bytes)])

    def renew(self, instance: str, function: str, blobs: Sequence[Named]) -> None:
        """What it asked for, of what it holds, is promised anew."""
        held = self._of(instance)
        if held is not None:
            self._renew(held, function, blobs)

    def renew_result(self, instance: str, action: Digest, references: Sequence[Digest]) -> None:
        """A result was served: all that it references, of what its instance holds, is promised."""
        held = self._of(instance)
        if held is not None:
            key = key_of(action.function, action.hash)
            size = held.results.size(key)
            if size is not None:
                self._use(held, RESULT, [(key, size)])
            self._renew(held, action.function, references)

    def usage(self) -> list[Usage]:
        """Of every instance that has a quota of its own, or has uploaded."""
        for name in (*self._most, *self._held):
            if name != OTHERS:
                self._of(name)
        found = [(name, one, one.used_bytes()) for name, one in sorted(self._held.items())]
        return [
            Usage(
                name,
                used,
                one.blobs.snapshot().blobs,
                one.most,
                one.refused,
                one.results.snapshot().blobs,
            )
            for name, one, used in found
        ]

    def restored(self, found: Found) -> list[tuple[str, str, Restored]]:
        """(kind, instance, entries) of what an earlier process told; may run in a thread."""
        now, made = self._now(), []
        for (kind, instance), held in found.items():
            if self.counts(instance):
                rows = sorted((used, key, size) for key, (used, size) in held.items())
                made.append((kind, instance, self._index().restored(rows, now)))
        return made

    def load(self, restored: Iterable[tuple[str, str, Restored]]) -> None:
        """Take in what `restored` made, beside what was counted since."""
        for kind, instance, entries in restored:
            held = self._of(instance)
            if held is not None:
                held.of(kind).adopt(entries)

    def _renew(self, held: _Held, function: str, blobs: Sequence[Named]) -> None:
        now, index = self._now(), held.blobs
        index.absent(function, blobs, now)
        if index.renewed:
            self._keep([Use(BLOB, held.name, key, size, now) for key, size in index.renewed])
            index.renewed.clear()

    def _use(self, held: _Held, kind: str, what: Iterable[tuple[str, int]]) -> None:
        now, index = self._now(), held.of(kind)
        used = [
            Use(kind, held.name, key, size, now)
            for key, size in what
            if index.renew(key, size, now)
        ]
        if used:
            self._keep(used)

    def _index(self) -> Index:
        return Index(ENDLESS, self._lease_s, 1, PackedEntries)

    def _of(self, instance: str) -> _Held | None:
        """What it holds now; None if that has no bound."""
        if instance not in self._held:
            most = self._most.get(instance, self._most.get(OTHERS))
            if most is None:
                return None
            if instance not in self._most and len(self._held) >= self.MOST_INSTANCES:
                instance = OTHERS
            if instance not in self._held:
                self._held[instance] = _Held(instance, most, self._index(), self._index())
        held, now = self._held[instance], self._now()
        held.blobs.evict(ENDLESS, now)  # whose lease has ended
        held.results.evict(ENDLESS, now)
        return held

    def _refusal(self, instance: str, held: _Held) -> ResourceExhaustedError:
        held.refused += 1
        most = held.most
        blobs, results = held.blobs.snapshot().blobs, held.results.snapshot().blobs
        count = f"{blobs} of {most.blobs}" if most.blobs else f"{blobs}"
        kept = f"{results} of {most.results}" if most.results else f"{results}"
        return ResourceExhaustedError(
            f"instance {instance!r} holds {format_size(held.used_bytes())} of "
            f"{format_size(most.size_bytes)} in {count} blobs and {kept} results that it uploaded "
            f"and that are promised to it for {format_duration(self._lease_s)}: try again later, "
            "or raise its quota in store.quotas"
        )
