"""Small blobs by hash, packed: about 65 bytes of memory each where a dict of strings takes 236.

Theory of operation. The first two bytes of a hash choose one of 65,536 byte strings, in which
records of fixed width (hash and Entry) lie in any order; `bytearray.find` looks for a hash at the
speed of memory. Growing copies one bucket, never the whole. Those that were asked for
in the present tick are also in a small dict, so a hot existence check is one look-up.

Hashes come as hex because that is how messages carry them; one that is not lower-case hex of the
right length is not here. Pure: no I/O, no clock.
"""

import struct
from binascii import unhexlify
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from builder.stores.interface import NamedT

ENTRY = struct.Struct("<IIIQI")
USED = struct.Struct("<I")  # the first field of it
BUCKETS = 65536
FRESH = 32768  # hashes at most in the dict of recent ones, about 5 MB
NOTHING = bytearray()
Location = tuple[int, int, int, int, int]  # place, index of the question, length, size, check


class Entry(NamedTuple):
    """When it was last used, the blob's size in bytes, its record's length, and where that lies.

    `used` is the begin of the tick, in seconds since 1970; `check` is the CRC-32 of the bytes as
    they are stored.
    """

    used: int
    size: int
    length: int
    place: int
    check: int


class Table:
    """The blobs of one digest function, whose hashes are `width` bytes."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.count = 0
        self._record = width + ENTRY.size
        self._split = struct.Struct(f">H{width - 2}s").iter_unpack
        self._buckets: list[bytearray] = [NOTHING] * BUCKETS
        self._fresh: dict[str, int] = {}  # hex hash: size; used in tick `_tick`
        self._tick = -1

    def look(self, hash_: str) -> tuple[int, int, int, int, int] | None:
        """The entry's fields in one go, for the hot way of reading."""
        try:
            key = unhexlify(hash_)
            bucket = self._buckets[key[0] << 8 | key[1]]
        except (ValueError, IndexError):
            return None
        at = bucket.find(key)
        if at % self._record or key.hex() != hash_:  # none, or the bytes are of two records
            found = self.key(hash_)
            return None if found is None else self.find(found)
        return ENTRY.unpack_from(bucket, at + self.width)

    def find(self, key: bytes) -> Entry | None:
        bucket = self._buckets[key[0] << 8 | key[1]]
        at = self._at(bucket, key)
        return None if at < 0 else Entry._make(ENTRY.unpack_from(bucket, at + self.width))

    def put(self, key: bytes, entry: Entry) -> Entry | None:
        """Set an entry; the one that it replaces."""
        number = key[0] << 8 | key[1]
        bucket = self._buckets[number]
        at = self._at(bucket, key)
        if at >= 0:
            old = Entry._make(ENTRY.unpack_from(bucket, at + self.width))
            ENTRY.pack_into(bucket, at + self.width, *entry)
            return old
        self.add(key, ENTRY.pack(*entry))
        return None

    def add(self, key: bytes, packed: bytes) -> None:
        """Set the packed entry of a key that is not here."""
        number = key[0] << 8 | key[1]
        bucket = self._buckets[number]
        if bucket is NOTHING:
            self._buckets[number] = bucket = bytearray()
        bucket += key + packed
        self.count += 1

    def drop(self, key: bytes) -> Entry | None:
        """Forget an entry; what it was."""
        bucket = self._buckets[key[0] << 8 | key[1]]
        at = self._at(bucket, key)
        if at < 0:
            return None
        old = Entry._make(ENTRY.unpack_from(bucket, at + self.width))
        bucket[at : at + self._record] = bucket[-self._record :]
        del bucket[-self._record :]
        self.count -= 1
        self._fresh.pop(key.hex(), None)
        return old

    def absent(
        self, digests: Sequence[NamedT], tick: int, limit: int
    ) -> tuple[dict[tuple[str, int], NamedT], list[NamedT], list[tuple[bytes, Entry]]]:
        """Those not here, by (hash, size); those of `limit` bytes and more, which were not looked
        for; and the entries (key, before) that are used for the first time in this tick.

        `tick` is its begin; the latter's `used` is that when this returns.
        """
        if tick != self._tick or len(self._fresh) > FRESH:
            self._fresh, self._tick = {}, tick
        fresh = self._fresh
        missing: dict[tuple[str, int], NamedT] = {}
        large: list[NamedT] = []
        renewed: list[tuple[bytes, Entry]] = []
        for digest in digests:
            hash_, size = digest.hash, digest.size_bytes
            if fresh.get(hash_) == size:
                continue
            if size >= limit:
                large.append(digest)
                continue
            key = self.key(hash_)
            entry = None if key is None else self.find(key)
            if key is None or entry is None or entry.size != size:
                missing.setdefault((hash_, size), digest)
                continue
            fresh[hash_] = size
            if entry.used < tick:
                renewed.append((key, entry))
                self.put(key, entry._replace(used=tick))
        return missing, large, renewed

    def strange(self, keys: bytes) -> list[bool]:
        """For each hash, of all that are joined in `keys`: whether it is surely not here.

        This is half the work of an existence check, so it is one loop with nothing in it: a hash
        without its first two bytes is looked for anywhere in its bucket, records or not. Asking
        whether that is empty costs a quarter of looking into it.
        """
        buckets = self._buckets
        return [
            not (bucket := buckets[number]) or rest not in bucket
            for number, rest in self._split(keys)
        ]

    def locate(self, keys: bytes, sizes: Sequence[int], expired: int) -> list[Location]:
        """Those of the joined hashes that are here, that size, and used after `expired`; sorted."""
        buckets, record, width = self._buckets, self._record, self.width
        unpack = ENTRY.unpack_from
        found: list[Location] = []
        index = -1
        for number, rest in self._split(keys):
            index += 1
            bucket = buckets[number]
            at = bucket.find(rest) - 2
            if at < 0 or at % record:
                continue
            used, size, length, place, check = unpack(bucket, at + width)
            if size == sizes[index] and used > expired:
                found.append((place, index, length, size, check))
        found.sort()
        return found

    def renew(
        self, keys: bytes, sizes: Sequence[int], tick: int
    ) -> tuple[list[bool], list[tuple[bytes, int, int, int]]]:
        """For each of the joined hashes whether it is here, that size, and from now on used in
        `tick`; and of those that were not (key, used before, length, place).
        """
        buckets, record, width = self._buckets, self._record, self.width
        unpack, pack = ENTRY.unpack_from, USED.pack_into
        here: list[bool] = []
        renewed: list[tuple[bytes, int, int, int]] = []
        for (number, rest), wanted in zip(self._split(keys), sizes, strict=True):
            bucket = buckets[number]
            at = bucket.find(rest) - 2
            if at < 0 or at % record:
                here.append(False)
                continue
            used, size, length, place, _ = unpack(bucket, at + width)
            here.append(size == wanted)
            if size == wanted and used < tick:
                pack(bucket, at + width, tick)
                renewed.append((number.to_bytes(2, "big") + rest, used, length, place))
        return here, renewed

    def key(self, hash_: str) -> bytes | None:
        """The hash in bytes; None unless it is lower-case hex of the right length."""
        try:
            key = unhexlify(hash_)
        except ValueError:
            return None
        return key if len(key) == self.width and key.hex() == hash_ else None

    def items(self, start: int = 0, stop: int = BUCKETS) -> Iterator[tuple[bytes, Entry]]:
        """The entries of these buckets; they may not change meanwhile."""
        width = self.width
        for bucket in self._buckets[start:stop]:
            for at in range(0, len(bucket), self._record):
                yield (
                    bytes(bucket[at : at + width]),
                    Entry._make(ENTRY.unpack_from(bucket, at + width)),
                )

    def dump(self, start: int, stop: int) -> bytes:
        """The records of these buckets, for `restore`."""
        return b"".join(self._buckets[start:stop])

    def restore(self, dumped: bytes) -> None:
        """Take in records that are not here yet, buckets in their order."""
        at, end, record = 0, len(dumped), self._record
        while at < end:
            number = dumped[at] << 8 | dumped[at + 1]
            until = at
            first, second = dumped[at], dumped[at + 1]
            while until < end and dumped[until] == first and dumped[until + 1] == second:
                until += record
            self._buckets[number] = bytearray(dumped[at:until])
            self.count += (until - at) // record
            at = until

    def _at(self, bucket: bytearray, key: bytes) -> int:
        """The offset of a record, -1 if there is none."""
        at = bucket.find(key)
        while at > 0 and at % self._record:  # the bytes of a hash across two records
            at = bucket.find(key, at + 1)
        return at
