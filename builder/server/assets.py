"""build.bazel.remote.asset.v1: Fetch and Push.

What was pushed or fetched before is answered from the index. Otherwise the URIs, which all mean
the same thing, are tried in their order: files by HTTP(S), directories from git by commit. How
fetching went is the response's status; what is wrong with a request is the call's.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from builder.base.digest import Digest
from builder.base.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    StatusError,
    UnavailableError,
)
from builder.net.rpc import Context, Method, Service
from builder.reapi.digests import DEFAULT_FUNCTIONS, NUMBERS, from_proto, function_of, to_proto
from builder.reapi.pb import remote_asset_pb2 as pb
from builder.reapi.pb import remote_execution_pb2 as re
from builder.reapi.qualifiers import GIT, Wanted, understood
from builder.reapi.status import to_status
from builder.reapi.times import nanoseconds
from builder.server.asset_index import Asset, AssetIndex
from builder.server.fetching import Bounds, checked_out, fetched_file, has_git, is_fetchable
from builder.server.folder_blobs import FolderBlobs
from builder.server.instances import Instances
from builder.server.messages import parse
from builder.stores.interface import BlobStore

FETCH = "build.bazel.remote.asset.v1.Fetch"
PUSH = "build.bazel.remote.asset.v1.Push"
MOST_AT_ONCE = 8
FetchRequest = pb.FetchBlobRequest | pb.FetchDirectoryRequest
PushRequest = pb.PushBlobRequest | pb.PushDirectoryRequest


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """`enabled`: whether this server asks others at all. Seconds are the most for one fetch."""

    enabled: bool = True
    most_s: float = 300.0
    bounds: Bounds = field(default_factory=Bounds)


class AssetServices:
    """Both services over one index; `wall_ns` is the time for people."""

    def __init__(
        self,
        blobs: BlobStore,
        index: AssetIndex,
        instances: Instances,
        wall_ns: Callable[[], int],
        policy: FetchPolicy | None = None,
        functions: Sequence[str] = DEFAULT_FUNCTIONS,
    ) -> None:
        self._blobs = blobs
        self._index = index
        self._instances = instances
        self._wall_ns = wall_ns
        self._policy = policy or FetchPolicy()
        self._functions = functions
        self._turn = trio.Semaphore(MOST_AT_ONCE)

    def services(self) -> tuple[Service, Service]:
        return (
            Service(
                FETCH,
                (
                    Method(f"/{FETCH}/FetchBlob", unary=self.fetch_blob),
                    Method(f"/{FETCH}/FetchDirectory", unary=self.fetch_directory),
                ),
            ),
            Service(
                PUSH,
                (
                    Method(f"/{PUSH}/PushBlob", unary=self.push_blob),
                    Method(f"/{PUSH}/PushDirectory", unary=self.push_directory),
                ),
            ),
        )

    async def fetch_blob(self, data: bytes, _context: Context) -> bytes:
        request = parse(pb.FetchBlobRequest, data)
        response = pb.FetchBlobResponse(qualifiers=request.qualifiers)
        asset = await self._fetch("blob", request, response)
        if asset is not None:
            response.blob_digest.CopyFrom(to_proto(asset.digest))
        return response.SerializeToString()

    async def fetch_directory(self, data: bytes, _context: Context) -> bytes:
        request = parse(pb.FetchDirectoryRequest, data)
        response = pb.FetchDirectoryResponse(qualifiers=request.qualifiers)
        asset = await self._fetch("tree", request, response)
        if asset is not None:
            response.root_directory_digest.CopyFrom(to_proto(asset.digest))
        return response.SerializeToString()

    def push_blob(self, data: bytes, _context: Context) -> Awaitable[bytes]:
        request = parse(pb.PushBlobRequest, data)
        return self._push("blob", request, request.blob_digest)

    def push_directory(self, data: bytes, _context: Context) -> Awaitable[bytes]:
        request = parse(pb.PushDirectoryRequest, data)
        return self._push("tree", request, request.root_directory_digest)

    async def _push(self, what: str, request: PushRequest, message: re.Digest) -> bytes:
        instance = self._instances.check(request.instance_name)
        function = function_of(request.digest_function, message.hash, self._functions)
        if not request.uris:
            raise InvalidArgumentError("the asset has no URI; give at least one")
        expires_ns = nanoseconds(request.expire_at) if request.HasField("expire_at") else 0
        for uri in request.uris:
            asset = Asset(
                uri=uri,
                digest=from_proto(message, function),
                is_tree=what == "tree",
                known_ns=self._wall_ns(),
                expires_ns=expires_ns,
                blobs=tuple(from_proto(one, function) for one in request.references_blobs),
                trees=tuple(from_proto(one, function) for one in request.references_directories),
            )
            await self._index.keep(f"{what}/{function}", instance, request.qualifiers, asset)
        return b""  # PushBlobResponse and PushDirectoryResponse are empty

    async def _fetch(
        self,
        what: str,
        request: FetchRequest,
        response: pb.FetchBlobResponse | pb.FetchDirectoryResponse,
    ) -> Asset | None:
        """The asset; without one the response's status says why. Fills the common fields."""
        instance = self._instances.check(request.instance_name)
        function = function_of(request.digest_function, "", self._functions)
        if not request.uris:
            raise InvalidArgumentError("the request has no URI; give at least one")
        oldest_ns = 0
        if request.HasField("oldest_content_accepted"):
            oldest_ns = nanoseconds(request.oldest_content_accepted)
        kind = f"{what}/{function}"
        asset = await self._index.find(
            kind, instance, request.uris, request.qualifiers, oldest_ns, self._wall_ns()
        )
        if asset is None:
            try:
                asset = await self._elsewhere(what, request, function)
            except StatusError as error:
                if isinstance(error, InvalidArgumentError):
                    raise
                response.status.CopyFrom(to_status(error))
                response.uri = request.uris[0]
                return None
            await self._index.keep(kind, instance, request.qualifiers, asset)
        response.uri = asset.uri
        response.digest_function = NUMBERS[function]
        if asset.expires_ns:
            response.expires_at.FromNanoseconds(asset.expires_ns)
        return asset

    async def _elsewhere(self, what: str, request: FetchRequest, function: str) -> Asset:
        """Raises the error of the last URI, or what is wrong with the qualifiers."""
        uris = [uri for uri in request.uris if is_fetchable(uri)]
        if not uris or not self._policy.enabled:
            raise NotFoundError("the asset is not known here, and its URIs are not fetched")
        wanted = understood(request.qualifiers, request.uris)
        if what == "tree" and not wanted.commit:
            raise InvalidArgumentError(
                f"a directory is fetched from git: give vcs.commit (resource_type {GIT})"
            )
        limit_s = self._policy.most_s
        if request.HasField("timeout") and nanoseconds(request.timeout) > 0:
            limit_s = min(limit_s, nanoseconds(request.timeout) / 1e9)
        last: StatusError = NotFoundError("no URI was tried")
        with trio.move_on_after(limit_s):
            async with self._turn:
                for uri in uris:
                    try:
                        digest = await self._one(what, uri, wanted, function)
                    except InvalidArgumentError as error:
                        last = NotFoundError(error.message)
                    except StatusError as error:
                        last = error
                    else:
                        return Asset(uri, digest, what == "tree", self._wall_ns())
            raise last
        raise DeadlineExceededError(f"fetching took longer than {limit_s:g} s")

    async def _one(self, what: str, uri: str, wanted: Wanted, function: str) -> Digest:
        bounds = self._policy.bounds
        if what == "tree":
            if not has_git():
                raise UnavailableError("git is not installed on this server")
            async with checked_out(uri, wanted.commit, bounds) as folder:
                return await FolderBlobs(self._blobs, function, bounds.most_bytes).store(folder)
        async with fetched_file(uri, wanted, function, bounds) as (digest, pieces):
            await self._blobs.write(digest, pieces)
            return digest
