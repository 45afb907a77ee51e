"""Which blobs a bounded store holds, how large they are, and until when each is promised.

Theory of operation. Every promise (found, written, referenced by a result that was served) is for
the same window, the lease. So the order of last use is also the order in which leases end: the
oldest entry is the first that may go, and if its lease has not ended, nothing may go, and a write
that needs the room is refused.

Time is cut into ticks of a sixteenth of the lease. An entry is set anew at its first use in a tick
and left alone after that, so a hot existence check is one look-up and one comparison.
A lease counts from the end of its tick: promises get longer by that, never shorter.

How entries are kept is `entries`. Pure: no I/O, time is an argument (seconds of any clock that
goes on over restarts).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from builder.base.digest import EMPTY, Digest
from builder.base.errors import ResourceExhaustedError
from builder.base.units import format_duration, format_size
from builder.stores.ages import by_age
from builder.stores.entries import BLOCKS_AT, FORM, SHIFT, SIZE, Entries, OrderedEntries
from builder.stores.interface import NamedT

TICKS_PER_LEASE = 16
EVER = 1 << 62  # a tick that never comes
UNLEASED_TICK_S = 60.0  # how exact the order of use is where nothing is promised


@dataclass(frozen=True, slots=True)
class Occupancy:
    """A view for status and metrics. Bytes count whole blocks, as the disk does."""

    blobs: int
    used_bytes: int
    reserved_bytes: int
    capacity_bytes: int
    evicted_blobs: int
    evicted_bytes: int
    lost_blobs: int
    refused_writes: int
    leased_bytes: int = 0  # promised to clients


@dataclass(frozen=True, slots=True)
class Restored:
    """Entries of an earlier process, and their bytes."""

    held: Entries
    used_bytes: int
    tick_bytes: dict[int, int]


class Index:
    """Entries by last use. One owner; all methods are synchronous."""

    def __init__(
        self,
        capacity_bytes: int,
        lease_s: float,
        block_bytes: int = 1,
        new_entries: Callable[[], Entries] = OrderedEntries,
    ) -> None:
        self._capacity = capacity_bytes
        self._lease = lease_s
        self._tick_s = lease_s / TICKS_PER_LEASE or UNLEASED_TICK_S
        self._block = block_bytes
        self._new_entries = new_entries
        self._held = new_entries()
        self._used = 0
        self._tick_bytes: dict[int, int] = {}  # last used in it
        self._reserved = 0
        self._evicted = 0
        self._evicted_bytes = 0
        self._lost = 0
        self._refused = 0
        self.others: Callable[[], int] = lambda: 0  # bytes of the capacity that others take
        self.renewed: list[tuple[str, int]] = []  # (key, size) whose tick changed; owner clears it

    def stamp(self, now: float) -> int:
        """Changes with each tick and each loss; see `InlineStore.stamp`."""
        return int(now / self._tick_s) << 32 | self._lost

    def size(self, key: str) -> int | None:
        """The blob's size in bytes if it is held; renews nothing."""
        entry = self._held.get(key)
        return None if entry is None else entry & SIZE

    def __len__(self) -> int:
        return len(self._held)

    def touch(self, digest: Digest, now: float) -> bool:
        """Whether it is held; its lease begins again."""
        return not self.absent(digest.function, (digest,), now)

    def absent(self, function: str, digests: Sequence[NamedT], now: float) -> list[NamedT]:
        """Those not held, each once, in order; the leases of the others begin again."""
        held = self._held.get
        prefix = "" if function == "sha256" else f"{function}/"
        tick = int(now / self._tick_s)
        missing: dict[tuple[str, int], NamedT] = {}
        for digest in digests:
            hash_ = digest.hash
            entry = held(prefix + hash_ if prefix else hash_)
            if entry is not None and entry & SIZE == digest.size_bytes:
                if entry >> SHIFT < tick:
                    self._renew(prefix + hash_, entry, tick)
            elif digest.size_bytes or hash_ != EMPTY[function].hash:
                missing.setdefault((hash_, digest.size_bytes), digest)
        return list(missing.values())

    def strange(self, function: str, keys: bytes, flags: list[bool]) -> list[bool]:
        """As `Entries.strange`."""
        return self._held.strange(function, keys, flags) if len(self._held) else flags

    def renew(self, key: str, size: int, now: float) -> bool:
        """Held, used now; whether that is news in this tick."""
        tick = int(now / self._tick_s)
        entry = self._held.get(key)
        if entry is not None and entry >> SHIFT >= tick:
            return False
        self.add(key, size, now)
        return True

    def add(self, key: str, size: int, now: float, stored: int | None = None) -> None:
        """Held from now on, in so many bytes if not in as many as it has."""
        self.drop(key)
        tick = int(now / self._tick_s)
        entry = tick << SHIFT | self._form(size, stored)
        self._held.put(key, entry)
        self._used += self._space(entry)
        self._count(tick, self._space(entry))

    def entries(self) -> Iterator[tuple[str, int]]:
        """(key, size) of all."""
        return ((key, entry & SIZE) for key, entry in self._held.every())

    def drop(self, key: str) -> None:
        """Held no more, for whatever reason."""
        entry = self._held.pop(key)
        if entry is not None:
            self._used -= self._space(entry)
            self._count(entry >> SHIFT, -self._space(entry))

    def lose(self, key: str) -> None:
        """Promised, and gone or damaged: whatever was verified before has to be asked again."""
        self.drop(key)
        self._lost += 1

    def fits(self, size: int) -> bool:
        """Whether there is room without evicting anything."""
        return self._taken() + self._blocks(size) <= self._capacity

    def reserve(self, size: int, now: float) -> list[tuple[str, int]]:
        """Keep room for a write; the keys and sizes that have to be evicted for it, at once.

        Raises ResourceExhaustedError when leases forbid it; then nothing is evicted.
        """
        need = self._taken() + self._blocks(size) - self._capacity
        victims: list[tuple[str, int]] = []
        if need > 0:
            if self._used - self._leased(now) < need:
                self.refuse(size, now)
            victims = self._victims(need, now)
        self._reserved += self._blocks(size)
        self._evict(victims)
        return victims

    def refuse(self, size: int, now: float) -> NoReturn:
        """Raises ResourceExhaustedError for a write that leases leave no room for."""
        self._refused += 1
        raise ResourceExhaustedError(self._refusal(size, now))

    def smallest_is_above(self, limit: int) -> bool:
        """Whether no entry has less than `limit` bytes."""
        return all(entry & SIZE >= limit for _, entry in self._held.every())

    def release(self, size: int) -> None:
        """The end of a reservation, after `add` or instead of it."""
        self._reserved -= self._blocks(size)
        assert self._reserved >= 0

    def overflow(self, now: float) -> list[tuple[str, int]]:
        """What has to be evicted to be within the capacity again, as far as leases allow."""
        return self.evict(self._taken() - self._capacity, now)

    def evict(self, need: int, now: float) -> list[tuple[str, int]]:
        """The oldest, until so many bytes went, as far as leases allow."""
        victims = self._victims(need, now) if need > 0 else []
        self._evict(victims)
        return victims

    def oldest(self, now: float) -> float | None:
        """When the first one that may go was used, in seconds; None if none may."""
        tick = self._held.oldest_tick()
        return None if tick is None or self._free_at(tick) > now else tick * self._tick_s

    def restored(
        self,
        found: Iterable[tuple[float, str, int] | tuple[float, str, int, int]],
        now: float,
    ) -> Restored:
        """What an earlier process left: (time of last use, key, size), oldest first, and in how
        many bytes if not in as many as it has.

        Touches nothing of this index, so it may run in a thread while the index is used.
        """
        latest = int(now / self._tick_s)
        held = self._new_entries()
        ticks: dict[int, int] = {}
        for used, key, *sizes in found:
            tick = max(0, min(int(used / self._tick_s), latest))
            entry = tick << SHIFT | self._form(*sizes)
            held.put(key, entry)
            ticks[tick] = ticks.get(tick, 0) + self._space(entry)
        return Restored(held, sum(ticks.values()), ticks)

    def adopt(self, restored: Restored) -> None:
        """Take in what was restored; what is held already was used since, and stays younger."""
        held, self._used = restored.held, self._used + restored.used_bytes
        for tick, count in restored.tick_bytes.items():
            self._count(tick, count)
        for key, entry in self._held.every():
            old = held.pop(key)
            if old is not None:
                self._used -= self._space(old)
                self._count(old >> SHIFT, -self._space(old))
            held.put(key, entry)
        self._held = held

    def snapshot(self, now: float = 0.0) -> Occupancy:
        return Occupancy(
            blobs=len(self._held),
            used_bytes=self._used,
            reserved_bytes=self._reserved,
            capacity_bytes=self._capacity,
            evicted_blobs=self._evicted,
            evicted_bytes=self._evicted_bytes,
            lost_blobs=self._lost,
            refused_writes=self._refused,
            leased_bytes=self._leased(now),
        )

    def ages(self, now: float) -> tuple[int, ...]:
        """Bytes by the time since their last use, see `ages`."""
        return by_age(((tick * self._tick_s, size) for tick, size in self._tick_bytes.items()), now)

    def check(self) -> None:
        """Invariants: the sum is right, and entries are as they should be."""
        assert self._used == sum(self._space(entry) for _, entry in self._held.every())
        ticks: dict[int, int] = {}
        for _, entry in self._held.every():
            ticks[entry >> SHIFT] = ticks.get(entry >> SHIFT, 0) + self._space(entry)
        assert {tick: count for tick, count in ticks.items() if count} == self._tick_bytes
        self._held.check()
        assert self._reserved >= 0

    def _renew(self, key: str, entry: int, tick: int) -> None:
        space = self._space(entry)
        self._held.put(key, tick << SHIFT | entry & FORM)
        self._count(entry >> SHIFT, -space)
        self._count(tick, space)
        self.renewed.append((key, entry & SIZE))

    def _count(self, tick: int, more: int) -> None:
        """So many more bytes, or less, were last used in this tick."""
        count = self._tick_bytes.get(tick, 0) + more
        if count:
            self._tick_bytes[tick] = count
        else:
            self._tick_bytes.pop(tick, None)

    def _taken(self) -> int:
        return self._used + self._reserved + self.others()

    def _blocks(self, size: int) -> int:
        return -(-size // self._block) * self._block

    def _form(self, size: int, stored: int | None = None) -> int:
        """What an entry says of a blob besides its tick."""
        if stored is None or stored >= size:
            return size
        return -(-stored // self._block) << BLOCKS_AT | size

    def _space(self, entry: int) -> int:
        """Bytes of the capacity that it takes."""
        blocks = (entry & FORM) >> BLOCKS_AT
        return blocks * self._block if blocks else self._blocks(entry & SIZE)

    def _free_at(self, tick: int) -> float:
        return (tick + 1) * self._tick_s + self._lease if self._lease else 0.0

    def _leased(self, now: float) -> int:
        """Bytes that are promised."""
        free = self._latest_free(now)
        return sum(count for tick, count in self._tick_bytes.items() if tick > free)

    def _latest_free(self, now: float) -> int:
        """The last tick whose leases have ended."""
        if not self._lease:
            return EVER
        tick = int(now / self._tick_s) - TICKS_PER_LEASE
        while self._free_at(tick) > now:
            tick -= 1
        return tick

    def _victims(self, need: int, now: float) -> list[tuple[str, int]]:
        victims = []
        for key, entry in self._held.aged(self._latest_free(now)):
            if need <= 0:
                break
            victims.append((key, entry & SIZE))
            need -= self._space(entry)
        return victims

    def _evict(self, victims: list[tuple[str, int]]) -> None:
        for key, size in victims:
            self.drop(key)
            self._evicted += 1
            self._evicted_bytes += size

    def _refusal(self, size: int, now: float) -> str:
        room = f"{format_size(self._taken())} of {format_size(self._capacity)} used"
        if self._blocks(size) > self._capacity:
            return f"a blob of {format_size(size)} is larger than the whole store ({room})"
        oldest = self._held.oldest_tick()
        until = "" if oldest is None else format_duration(max(0.0, self._free_at(oldest) - now))
        least = f" for at least {until}" if until else ""
        coming = f", {format_size(self._reserved)} of it by unfinished uploads" * bool(
            self._reserved
        )
        return (
            f"no room for {format_size(size)}: {room}{coming}, and what is stored is promised to"
            f" clients{least}; enlarge store.max_size or shorten store.lease"
        )
