"""FindMissingBlobs: as the digests stand on the wire, or parsed where they stand there otherwise.

A search that takes longer than a few milliseconds becomes a task, so that it does not hold up the
connection's other calls.
"""

from collections.abc import Awaitable, Sequence

import trio

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.net.rpc import Context
from builder.reapi.digest_list import Grid, Rows, read
from builder.reapi.digests import from_proto, function_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.digest_requests import DigestRequests
from builder.server.messages import parse
from builder.server.presence import Presence, check
from builder.stores.interface import BlobStore, InlineStore

FUNCTION_FIELD = pb.FindMissingBlobsRequest.DESCRIPTOR.fields_by_name["digest_function"].number
INLINE_DIGESTS = 4096  # of a search: 4 ms, or 20 when all leases have to be written down


class Finder:
    """Searches `blobs`."""

    def __init__(self, blobs: BlobStore, requests: DigestRequests) -> None:
        self._blobs = blobs
        self._inline = blobs if isinstance(blobs, InlineStore) else None
        self._presence = None if self._inline is None else Presence(self._inline)
        self._requests = requests

    def find(self, data: bytes, _context: Context) -> bytes | Awaitable[bytes]:
        request = self._requests.read(data, FUNCTION_FIELD)
        if request is None or self._presence is None:
            return self.parsed(data)
        function = request.function
        unknown = self._presence.unknown(function, request.asked)
        if len(unknown) <= INLINE_DIGESTS:
            try:
                missing = self._presence.absent(function, unknown)
            except (InvalidArgumentError, UnicodeDecodeError):
                return self.parsed(data)  # which says what is wrong
            if missing is not None:
                return missing
        return self._long(self._presence, function, unknown, data)

    async def _long(
        self, presence: Presence, function: str, unknown: Grid | Rows, data: bytes
    ) -> bytes:
        """In steps between which others get their turn."""
        answer: list[bytes] = []
        try:
            for start in range(0, len(unknown), INLINE_DIGESTS):
                await trio.lowlevel.checkpoint()
                some = unknown.part(start, start + INLINE_DIGESTS)
                missing = presence.absent(function, some)
                if missing is None:
                    missing = await self._absent(function, some)
                answer.append(missing)
        except (InvalidArgumentError, UnicodeDecodeError):
            parsed = self.parsed(data)
            return parsed if isinstance(parsed, bytes) else await parsed
        return b"".join(answer)

    async def _absent(self, function: str, unknown: Grid | Rows) -> bytes:
        """Of a store that cannot tell at once."""
        asked = read(unknown.elements(), unknown.digits)
        check(function, asked)
        wanted = {Digest(one.hash, one.size_bytes, function): one.element for one in asked}
        return b"".join([wanted[one] for one in await self._blobs.find_missing(wanted)])

    # ---- a request that is written in another way than clients do, or to another store

    def parsed(self, data: bytes) -> bytes | Awaitable[bytes]:
        request = parse(pb.FindMissingBlobsRequest, data)
        self._requests.instances.check(request.instance_name)
        digests = request.blob_digests
        if not digests:
            return b""
        function = function_of(request.digest_function, digests[0].hash, self._requests.functions)
        if len(digests) <= INLINE_DIGESTS:
            missing = self._absent_now(digests, function)
            if missing is not None:
                return pb.FindMissingBlobsResponse(missing_blob_digests=missing).SerializeToString()
        return self._parsed(digests, function)

    async def _parsed(self, digests: Sequence[pb.Digest], function: str) -> bytes:
        """A long search, in steps between which others get their turn."""
        found: dict[tuple[str, int], pb.Digest | Digest] = {}
        for start in range(0, len(digests), INLINE_DIGESTS):
            some = digests[start : start + INLINE_DIGESTS]
            await trio.lowlevel.checkpoint()
            missing: Sequence[pb.Digest | Digest] | None = self._absent_now(some, function)
            if missing is None:
                wanted = [from_proto(digest, function) for digest in some]
                missing = await self._blobs.find_missing(wanted)
            for digest in missing:
                found.setdefault((digest.hash, digest.size_bytes), digest)
        response = pb.FindMissingBlobsResponse()
        for hash_, size in found:
            response.missing_blob_digests.add(hash=hash_, size_bytes=size)
        return response.SerializeToString()

    def _absent_now(self, digests: Sequence[pb.Digest], function: str) -> list[pb.Digest] | None:
        if self._inline is None:
            return None
        missing = self._inline.absent_nowait(function, digests)
        for digest in missing or ():  # one that is present is well-formed
            from_proto(digest, function)
        return missing
