"""Which URI, with which qualifiers, is which blob or directory: the memory of the asset API.

A record holds as long as it has not expired and everything that it references is stored; who
asks for it keeps all of that alive. Records are kept like results of actions: nothing is promised.
"""

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_asset_pb2 as pb
from builder.reapi.pb import remote_execution_pb2 as re
from builder.reapi.qualifiers import identity
from builder.reapi.status import missing
from builder.stores.interface import BlobStore
from builder.stores.records import Records
from builder.stores.references import References

TIME = struct.Struct(">Q")  # nanoseconds since 1970 when it was known, before the message


@dataclass(frozen=True, slots=True)
class Asset:
    """What was found. `is_tree`: `digest` is that of a Directory. 0 for no expiry."""

    uri: str
    digest: Digest
    is_tree: bool
    known_ns: int
    expires_ns: int = 0
    blobs: tuple[Digest, ...] = field(default=())
    trees: tuple[Digest, ...] = field(default=())


class AssetIndex:
    """Records of assets over the blobs that they name."""

    def __init__(self, blobs: BlobStore, records: Records) -> None:
        self._blobs = blobs
        self._records = records

    async def find(
        self,
        kind: str,
        instance: str,
        uris: Iterable[str],
        qualifiers: Iterable[pb.Qualifier],
        oldest_ns: int,
        now_ns: int,
    ) -> Asset | None:
        """The first of the URIs that is known, new enough, and whole. `kind`: blob or tree, a
        slash, and the digest function."""
        told = list(qualifiers)
        for uri in uris:
            record = await self._records.get(f"asset/{kind}/{instance}", _key(uri, told))
            asset = None if record is None else _asset(record, uri, kind)
            if (
                asset is not None
                and asset.known_ns >= oldest_ns
                and not 0 < asset.expires_ns <= now_ns
                and not await self._absent(asset)
            ):
                return asset
        return None

    async def keep(
        self, kind: str, instance: str, qualifiers: Iterable[pb.Qualifier], asset: Asset
    ) -> None:
        """Raises FailedPreconditionError that lists what it references and is not stored."""
        absent = await self._absent(asset)
        if absent:
            raise missing(absent, "blobs of the asset")
        message = pb.PushDirectoryRequest()  # its fields are those of an asset
        message.root_directory_digest.CopyFrom(_message(asset.digest))
        message.references_blobs.extend(map(_message, asset.blobs))
        message.references_directories.extend(map(_message, asset.trees))
        if asset.expires_ns:
            message.expire_at.FromNanoseconds(asset.expires_ns)
        record = TIME.pack(asset.known_ns) + message.SerializeToString()
        key = _key(asset.uri, list(qualifiers))
        await self._records.put(f"asset/{kind}/{instance}", key, record)

    async def _absent(self, asset: Asset) -> list[Digest]:
        """Renews what is there: the asset, what it references, and all that is beneath."""
        result = re.ActionResult()
        trees = (asset.digest, *asset.trees) if asset.is_tree else asset.trees
        for digest in asset.blobs if asset.is_tree else (asset.digest, *asset.blobs):
            result.output_files.add(digest=_message(digest))
        for digest in trees:
            result.output_directories.add(root_directory_digest=_message(digest))
        walk = References(self._blobs, asset.digest.function)
        await walk.walk(result)
        return walk.absent + await self._blobs.find_missing(walk.needed)


def _asset(record: bytes, uri: str, kind: str) -> Asset:
    what, _, function = kind.partition("/")
    (known_ns,) = TIME.unpack_from(record)
    message = pb.PushDirectoryRequest.FromString(record[TIME.size :])

    def digest(one: re.Digest) -> Digest:
        return Digest(one.hash, one.size_bytes, function)

    return Asset(
        uri=uri,
        digest=digest(message.root_directory_digest),
        is_tree=what == "tree",
        known_ns=known_ns,
        expires_ns=message.expire_at.ToNanoseconds() if message.HasField("expire_at") else 0,
        blobs=tuple(map(digest, message.references_blobs)),
        trees=tuple(map(digest, message.references_directories)),
    )


def _message(digest: Digest) -> re.Digest:
    return re.Digest(hash=digest.hash, size_bytes=digest.size_bytes)


def _key(uri: str, qualifiers: list[pb.Qualifier]) -> str:
    if not uri:
        raise InvalidArgumentError("an asset's URI is empty")
    return hashlib.sha256(json.dumps([uri, identity(qualifiers)]).encode()).hexdigest()
