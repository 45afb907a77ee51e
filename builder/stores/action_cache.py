"""Results of actions, served only while everything that they reference is stored.

Theory of operation. The first look-up of a result collects what it references (trees are read for
it) and renews all of it; the outcome is remembered under the blob store's stamp. While the stamp
is the same, nothing that was renewed can have gone, so `peek` answers from one dictionary
look-up. When it has changed (a tick of the lease, a blob lost to a damaged disk), the next
look-up renews everything again from the remembered list.

Hits are counted in memory and written down with the entry now and then, by a look-up: what was
counted since is lost with the process.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, StatusError
from builder.reapi.pb.remote_execution_pb2 import ActionResult
from builder.reapi.status import missing as missing_blobs
from builder.stores.interface import Account, BlobStore, InlineStore
from builder.stores.kept_result import Entry, packed, unpacked
from builder.stores.records import RESULTS, InlineRecords, Records
from builder.stores.references import References, direct

NEVER = -1  # no stamp: the store cannot vouch for what it said
BYTES_PER_REFERENCE = 300  # of memory
WRITTEN_EVERY_S = 600.0  # hits, for each entry that has some
MOST_METADATA = 4096  # bytes of RequestMetadata; what is longer says nothing about a build


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept: results younger than `most_s` (0: of any age), `failed` ones (of another exit
    code than 0) too."""

    most_s: float = 0.0
    failed: bool = False


@dataclass(slots=True)
class Known:
    """A result whose references were all renewed under `stamp`; `hits` since it was written."""

    stamp: int
    data: bytes
    references: tuple[Digest, ...]
    hits: int = 0

    def weight(self) -> int:
        return len(self.data) + BYTES_PER_REFERENCE * (len(self.references) + 2)


class CheckedActionCache:
    """`records` keep the results, `blobs` what they reference; `memory_bytes` bounds `peek`.

    `account` counts what is kept, and by a look-up what is promised anew.
    """

    def __init__(
        self,
        blobs: BlobStore,
        records: Records,
        memory_bytes: int = 64 * 1024 * 1024,
        keeping: Keeping | None = None,
        now: Callable[[], float] = time.time,
        account: Account | None = None,
    ) -> None:
        self._blobs = blobs
        self._inline = blobs if isinstance(blobs, InlineStore) else None
        self._records = records
        self._inline_records = records if isinstance(records, InlineRecords) else None
        self._memory = memory_bytes
        self._keeping = keeping or Keeping()
        self._now = now
        self._account = account
        self._known: OrderedDict[tuple[str, Digest], Known] = OrderedDict()
        self._weight = 0

    def peek(self, instance: str, action: Digest) -> bytes | None:
        known = self._known.get((instance, action))
        if known is None or self._inline is None or known.stamp != self._inline.stamp():
            return None
        known.hits += 1
        return known.data

    def lacks(self, instance: str, action: Digest) -> bool:
        """Whether `lookup` would surely find nothing."""
        records = self._inline_records
        return records is not None and records.lacks(_space(instance, action), _name(action))

    async def lookup(self, instance: str, action: Digest) -> ActionResult | None:
        data = await self.lookup_serialized(instance, action)
        return None if data is None else ActionResult.FromString(data)

    async def lookup_serialized(self, instance: str, action: Digest) -> bytes | None:
        """As `lookup`; the bytes as they were stored."""
        key = (instance, action)
        entry = await self._entry(instance, action)
        if entry is None:
            self._forget(key)
            return None
        known = self._known.get(key)
        stamp = self._stamp()
        if known is not None and known.data == entry.result:
            needed, complete = known.references, True
        else:
            needed, complete = await self._needed(entry.result, action.function)
        complete = complete and not await self._blobs.find_missing(needed)
        if not complete:
            self._forget(key)
            return None
        hits = 1 + (self._known[key].hits if key in self._known else 0)
        if self._now() - entry.used_at >= WRITTEN_EVERY_S:
            await self._count(instance, action, entry, hits)
            hits = 0
        if self._account is not None:
            self._account.renew_result(instance, action, needed)
        self._remember(key, Known(stamp, entry.result, needed, hits))
        return entry.result

    async def store(
        self, instance: str, action: Digest, result: ActionResult, metadata: bytes = b""
    ) -> None:
        self._check(result)
        stamp = self._stamp()
        walk = References(self._blobs, action.function)
        await walk.walk(result)
        needed = tuple(walk.needed)
        absent = walk.absent + await self._blobs.find_missing(needed)
        if absent:
            raise missing_blobs(absent, "outputs")
        data = result.SerializeToString(deterministic=True)
        record = self._taken(instance, action, data, metadata)
        await self._records.put(_space(instance, action), _name(action), record)
        self._remember((instance, action), Known(stamp, data, needed))

    def store_nowait(
        self, instance: str, action: Digest, result: ActionResult, metadata: bytes = b""
    ) -> bool:
        """Whether it is kept now; directories in a result have to be walked, by `store`."""
        self._check(result)
        if self._inline is None or self._inline_records is None or result.output_directories:
            return False
        stamp = self._stamp()
        needed = tuple(direct(result, action.function))
        absent = self._inline.absent_nowait(action.function, needed) if needed else []
        if absent is None:
            return False
        if absent:
            raise missing_blobs(absent, "outputs")
        data = result.SerializeToString(deterministic=True)
        record = self._taken(instance, action, data, metadata)
        if not self._inline_records.put_nowait(_space(instance, action), _name(action), record):
            return False
        self._remember((instance, action), Known(stamp, data, needed))
        return True

    def _check(self, result: ActionResult) -> None:
        if result.exit_code and not self._keeping.failed:
            raise InvalidArgumentError(
                f"the result's exit code is {result.exit_code}: only those of exit code 0 are kept "
                "here (store.failed_results: keep takes the others too)"
            )

    def _taken(self, instance: str, action: Digest, data: bytes, metadata: bytes) -> bytes:
        """The record, which counts from now on."""
        now = self._now()
        record = packed(Entry(data, now, now, 0, metadata[:MOST_METADATA]))
        if self._account is not None:
            self._account.take_result(instance, action, len(record))
        return record

    async def about(self, instance: str, action: Digest) -> Entry | None:
        """The entry with all that is known of it; renews nothing, and is no hit."""
        entry = await self._entry(instance, action)
        known = self._known.get((instance, action))
        if entry is None or known is None:
            return entry
        return replace(entry, hits=entry.hits + known.hits)

    async def _entry(self, instance: str, action: Digest) -> Entry | None:
        """What is kept, if it is not too old."""
        record = await self._records.get(_space(instance, action), _name(action))
        if record is None:
            return None
        entry = unpacked(record)
        most_s = self._keeping.most_s
        return None if most_s and entry.stored_at + most_s <= self._now() else entry

    async def _count(self, instance: str, action: Digest, entry: Entry, hits: int) -> None:
        """Write the hits down; a hit does not fail because they cannot be."""
        counted = replace(entry, hits=entry.hits + hits, used_at=self._now())
        with suppress(StatusError):
            await self._records.put(_space(instance, action), _name(action), packed(counted))

    async def _needed(self, data: bytes, function: str) -> tuple[tuple[Digest, ...], bool]:
        """What a stored result references, and whether all of it could be found out."""
        walk = References(self._blobs, function)
        try:
            await walk.walk(ActionResult.FromString(data))
        except (InvalidArgumentError, DecodeError):
            return (), False
        return tuple(walk.needed), not walk.absent

    def _stamp(self) -> int:
        return NEVER if self._inline is None else self._inline.stamp()

    def _remember(self, key: tuple[str, Digest], known: Known) -> None:
        self._forget(key)
        self._known[key] = known
        self._weight += known.weight()
        while self._weight > self._memory:
            _, oldest = self._known.popitem(last=False)
            self._weight -= oldest.weight()

    def _forget(self, key: tuple[str, Digest]) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._weight -= known.weight()


def _space(instance: str, action: Digest) -> str:
    return f"{RESULTS}{action.function}/{instance}"


def _name(action: Digest) -> str:
    return f"{action.hash}-{action.size_bytes}"
