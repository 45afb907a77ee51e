"""Results of actions, served only while everything that they reference is stored.

Theory of operation. The first look-up of a result collects what it references (trees are read for
it) and renews all of it; the outcome is remembered under the blob store's stamp. While the stamp
is the same, nothing that was renewed can have gone, so `peek` answers from one dictionary
look-up. When it has changed (a tick of the lease, a blob lost to a damaged disk), the next
look-up renews everything again from the remembered list.
"""

from collections import OrderedDict
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.reapi.pb.remote_execution_pb2 import ActionResult
from builder.reapi.status import missing as missing_blobs
from builder.stores.interface import BlobStore, InlineStore
from builder.stores.records import RESULTS, Records
from builder.stores.references import References

NEVER = -1  # no stamp: the store cannot vouch for what it said
BYTES_PER_REFERENCE = 300  # of memory


@dataclass(frozen=True, slots=True)
class Known:
    """A result whose references were all renewed under `stamp`."""

    stamp: int
    data: bytes
    references: tuple[Digest, ...]

    def weight(self) -> int:
        return len(self.data) + BYTES_PER_REFERENCE * (len(self.references) + 2)


class CheckedActionCache:
    """`records` keep the results, `blobs` what they reference; `memory_bytes` bounds `peek`."""

    def __init__(
        self, blobs: BlobStore, records: Records, memory_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._blobs = blobs
        self._inline = blobs if isinstance(blobs, InlineStore) else None
        self._records = records
        self._memory = memory_bytes
        self._known: OrderedDict[tuple[str, Digest], Known] = OrderedDict()
        self._weight = 0

    def peek(self, instance: str, action: Digest) -> bytes | None:
        known = self._known.get((instance, action))
        if known is None or self._inline is None or known.stamp != self._inline.stamp():
            return None
        return known.data

    async def lookup(self, instance: str, action: Digest) -> ActionResult | None:
        data = await self.lookup_serialized(instance, action)
        return None if data is None else ActionResult.FromString(data)

    async def lookup_serialized(self, instance: str, action: Digest) -> bytes | None:
        """As `lookup`; the bytes as they were stored."""
        data = await self._records.get(_space(instance, action), _name(action))
        if data is None:
            self._forget((instance, action))
            return None
        known = self._known.get((instance, action))
        stamp = self._stamp()
        if known is not None and known.data == data:
            needed, complete = known.references, True
        else:
            needed, complete = await self._needed(data, action.function)
        complete = complete and not await self._blobs.find_missing(needed)
        if not complete:
            self._forget((instance, action))
            return None
        self._remember((instance, action), Known(stamp, data, needed))
        return data

    async def store(self, instance: str, action: Digest, result: ActionResult) -> None:
        stamp = self._stamp()
        walk = References(self._blobs, action.function)
        await walk.walk(result)
        needed = tuple(walk.needed)
        absent = walk.absent + await self._blobs.find_missing(needed)
        if absent:
            raise missing_blobs(absent, "outputs")
        data = result.SerializeToString(deterministic=True)
        await self._records.put(_space(instance, action), _name(action), data)
        self._remember((instance, action), Known(stamp, data, needed))

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
