"""What an `Index` keeps of its blobs: by key the tick of last use, the size, and how many blocks it
takes if it is stored in fewer than that, as one integer.

`OrderedEntries` is a dictionary in the order of use, about 240 bytes of memory for each: for keys
of any kind. `PackedEntries` takes 54 for blobs, whose keys are hashes.
"""

import struct
from binascii import unhexlify
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from builder.base.digest import HEX_LENGTHS

SIZE = (1 << 48) - 1
BLOCKS_AT = 48  # 32 bits: of a blob that lies there compressed; 0 for others
SHIFT = 80
FORM = (1 << SHIFT) - 1  # all but the tick
BUCKETS = 4096  # three hex digits
SHARE = 16  # the oldest 1/SHARE of all, and more if they are of one tick, are old alike
NOTHING = bytearray()
LOW = (1 << 64) - 1


class Entries(Protocol):
    """An entry is `tick << SHIFT | blocks << BLOCKS_AT | size`."""

    def get(self, key: str) -> int | None: ...

    def put(self, key: str, entry: int) -> None:
        """Set it; it is the one used last."""
        ...

    def pop(self, key: str) -> int | None: ...

    def aged(self, upto: int) -> Iterator[tuple[str, int]]:
        """Those last used in tick `upto` or before, the oldest first; nothing may change yet."""
        ...

    def oldest_tick(self) -> int | None: ...

    def every(self) -> Iterator[tuple[str, int]]: ...

    def strange(self, function: str, keys: bytes, flags: list[bool]) -> list[bool]:
        """Those of `flags`, of the hashes that are joined in `keys`, whose blobs are not held."""
        ...

    def __len__(self) -> int: ...

    def check(self) -> None: ...


def key_of(function: str, hash_: str) -> str:
    """The hash, with the function before it unless that is SHA-256."""
    return hash_ if function == "sha256" else f"{function}/{hash_}"


def parts_of(key: str) -> tuple[str, str]:
    """(function, hash)."""
    function, _, hash_ = key.rpartition("/")
    return function or "sha256", hash_


class OrderedEntries:
    """Exactly in the order of use."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, int] = OrderedDict()
        self.get = self._held.get  # this is the hot way of a store in memory

    def __len__(self) -> int:
        return len(self._held)

    def put(self, key: str, entry: int) -> None:
        self._held[key] = entry
        self._held.move_to_end(key)

    def pop(self, key: str) -> int | None:
        return self._held.pop(key, None)

    def aged(self, upto: int) -> Iterator[tuple[str, int]]:
        for key, entry in self._held.items():
            if entry >> SHIFT > upto:
                return
            yield key, entry

    def oldest_tick(self) -> int | None:
        entry = next(iter(self._held.values()), None)
        return None if entry is None else entry >> SHIFT

    def every(self) -> Iterator[tuple[str, int]]:
        return iter(self._held.items())

    def strange(self, function: str, keys: bytes, flags: list[bool]) -> list[bool]:
        digits = HEX_LENGTHS[function]
        text = keys.hex()
        names = (text[at : at + digits] for at in range(0, len(text), digits))
        held = self._held
        every = zip(flags, names, strict=True)
        return [flag and key_of(function, name) not in held for flag, name in every]

    def check(self) -> None:
        ticks = [entry >> SHIFT for entry in self._held.values()]
        assert ticks == sorted(ticks)


class PackedEntries:
    """By and large in the order of use.

    Theory of operation. Twelve bits of a hash choose a byte string, in which records (hash, tick,
    size) lie in any order. How many there are of each tick is counted, so it is known what is old;
    where it lies is found by a hand that goes round. The old ones are a sixteenth of all, and
    hashes are spread evenly, so it has not far to go.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, list[bytearray]] = {}
        self._records: dict[str, struct.Struct] = {}
        self._ticks: dict[int, int] = {}
        self._count = 0
        self._hand = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: str) -> int | None:
        function, hash_ = parts_of(key)
        found = self._find(function, hash_)
        if found is None:
            return None
        bucket, at, record = found
        return _entry(*record.unpack_from(bucket, at))[1]

    def put(self, key: str, entry: int) -> None:
        self.pop(key)
        function, hash_ = parts_of(key)
        if function not in self._buckets:
            self._buckets[function] = [NOTHING] * BUCKETS
            self._records[function] = struct.Struct(f"<{HEX_LENGTHS[function] // 2}sQQ")
        buckets, number = self._buckets[function], int(hash_[:3], 16)
        if buckets[number] is NOTHING:
            buckets[number] = bytearray()
        record = self._records[function].pack(unhexlify(hash_), entry >> 64, entry & LOW)
        buckets[number] += record
        self._count += 1
        self._tally(entry >> SHIFT, 1)

    def pop(self, key: str) -> int | None:
        function, hash_ = parts_of(key)
        found = self._find(function, hash_)
        if found is None:
            return None
        bucket, at, record = found
        _, entry = _entry(*record.unpack_from(bucket, at))
        bucket[at : at + record.size] = bucket[-record.size :]
        del bucket[-record.size :]
        self._count -= 1
        self._tally(entry >> SHIFT, -1)
        return entry

    def aged(self, upto: int) -> Iterator[tuple[str, int]]:
        done = -1
        while (until := self._threshold(done, upto)) > done:
            start = self._hand
            for number in (*range(start, BUCKETS), *range(start)):
                for key, entry in self._bucket(number):
                    if done < entry >> SHIFT <= until:
                        self._hand = number
                        yield key, entry
            done = until

    def oldest_tick(self) -> int | None:
        return min(self._ticks, default=None)

    def every(self) -> Iterator[tuple[str, int]]:
        for number in range(BUCKETS):
            yield from self._bucket(number)

    def strange(self, function: str, keys: bytes, flags: list[bool]) -> list[bool]:
        buckets = self._buckets.get(function)
        if buckets is None:
            return flags
        split = struct.iter_unpack(f">H{HEX_LENGTHS[function] // 2 - 2}s", keys)
        every = zip(flags, split, strict=True)
        return [flag and rest not in buckets[number >> 4] for flag, (number, rest) in every]

    def check(self) -> None:
        ticks: dict[int, int] = {}
        for _, entry in self.every():
            ticks[entry >> SHIFT] = ticks.get(entry >> SHIFT, 0) + 1
        assert ticks == self._ticks
        assert sum(ticks.values()) == self._count

    def _find(self, function: str, hash_: str) -> tuple[bytearray, int, struct.Struct] | None:
        """(bucket, offset in it, how a record is packed)."""
        buckets = self._buckets.get(function)
        if buckets is None:
            return None
        try:
            key = unhexlify(hash_)
            bucket = buckets[key[0] << 4 | key[1] >> 4]
        except (ValueError, IndexError):
            return None
        record = self._records[function]
        at = bucket.find(key)
        while at > 0 and at % record.size:  # the bytes of a hash across two records
            at = bucket.find(key, at + 1)
        if at < 0 or len(hash_) != HEX_LENGTHS[function] or key.hex() != hash_:
            return None
        return bucket, at, record

    def _bucket(self, number: int) -> list[tuple[str, int]]:
        """All with these twelve bits."""
        found = []
        for function, buckets in self._buckets.items():
            for packed in self._records[function].iter_unpack(buckets[number]):
                key, entry = _entry(*packed)
                found.append((key_of(function, key.hex()), entry))
        return found

    def _threshold(self, done: int, upto: int) -> int:
        """Until which tick those after `done` are old alike; `done` if there are none."""
        count = 0
        for tick in sorted(tick for tick in self._ticks if done < tick <= upto):
            count += self._ticks[tick]
            done = tick
            if count * SHARE >= self._count:
                break
        return done

    def _tally(self, tick: int, more: int) -> None:
        count = self._ticks.get(tick, 0) + more
        if count:
            self._ticks[tick] = count
        else:
            del self._ticks[tick]


def _entry(key: bytes, high: int, low: int) -> tuple[bytes, int]:
    """A record's key and entry."""
    return key, high << 64 | low
