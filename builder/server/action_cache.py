"""ActionCache: results of actions, complete or not at all.

The digest is never taken apart: some clients use digests that are of no Action. A hit without
inline hints is answered in place, from one dictionary look-up (see stores.action_cache). Machines
of one kind ask for the same actions in the same words, so what a request asks for is remembered:
parsing is half of a hit.
"""

from collections.abc import Awaitable, Iterable, Sequence
from itertools import chain
from typing import Any

from builder.base.digest import Digest
from builder.base.errors import InvalidArgumentError, NotFoundError
from builder.builds.lookups import Asked, LookUps
from builder.net.rpc import Context, Method, Service
from builder.reapi.digests import DEFAULT_FUNCTIONS, from_proto, function_of
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.server.admission import METADATA_HEADER
from builder.server.execution import CacheFigures
from builder.server.inlining import Hints, inlined
from builder.server.instances import Instances
from builder.server.messages import parse
from builder.stores.interface import ActionCache, BlobStore, InlineActionCache

NAME = "build.bazel.remote.execution.v2.ActionCache"
MOST_ASKED = 16_384  # requests that are remembered, about 7 MB
ASKED_BYTES = 512  # of one at most


class ActionCacheService:
    """Results of `cache`; `blobs` for those that are wanted inline."""

    def __init__(
        self,
        cache: ActionCache,
        blobs: BlobStore,
        instances: Instances,
        functions: Sequence[str] = DEFAULT_FUNCTIONS,
        figures: CacheFigures | None = None,
        lookups: LookUps | None = None,
    ) -> None:
        self._cache = cache
        self._figures = figures or CacheFigures()
        self._lookups = lookups
        self._inline = cache if isinstance(cache, InlineActionCache) else None
        self._asked: dict[bytes, Asked] = {}
        self._blobs = blobs
        self._instances = instances
        self._functions = functions

    def service(self) -> Service:
        return Service(
            NAME,
            (
                Method(f"/{NAME}/GetActionResult", unary=self.get),
                Method(f"/{NAME}/UpdateActionResult", unary=self.update),
            ),
        )

    def get(self, data: bytes, context: Context) -> bytes | Awaitable[bytes]:
        asked = self._asked.get(data)
        if asked is not None and self._inline is not None:
            found = self._inline.peek(*asked)
            if found is not None:
                self._figures.hits += 1
                if METADATA_HEADER in context.metadata:
                    self._tell(context, asked, found)
                return found
        return self._get_parsed(data, context)

    def _tell(self, context: Context, asked: Asked, result: bytes) -> None:
        """Who found what: the run of hits that goes on, or one that begins."""
        metadata = context.metadata.get(METADATA_HEADER)
        if metadata and self._lookups is not None:
            self._lookups.hit(metadata, asked, result)  # type: ignore[arg-type]  # values of `-bin` keys are bytes

    def _get_parsed(self, data: bytes, context: Context) -> bytes | Awaitable[bytes]:
        request = parse(pb.GetActionResultRequest, data)
        instance, message = request.instance_name, request.action_digest
        hash_ = message.hash
        function = function_of(request.digest_function, hash_, self._functions)
        if self._inline is not None and not (
            request.inline_stdout or request.inline_stderr or request.inline_output_files
        ):
            # A hit needs no checks: these names passed them when the result was stored.
            action = Digest(hash_, message.size_bytes, function)
            found = self._inline.peek(instance, action)
            if found is not None:
                self._figures.hits += 1
                self._tell(context, (instance, action), found)
                self._remember(data, (instance, action))
                return found
        action = from_proto(message, function)
        hints = Hints(
            request.inline_stdout, request.inline_stderr, frozenset(request.inline_output_files)
        )
        return self._get(self._instances.check(instance), action, hints, context)

    def _remember(self, data: bytes, asked: Asked) -> None:
        if len(self._asked) >= MOST_ASKED:
            self._asked.clear()
        if len(data) <= ASKED_BYTES:
            self._asked[data] = asked

    def update(self, data: bytes, context: Context) -> Awaitable[bytes]:
        request = parse(pb.UpdateActionResultRequest, data)
        instance = self._instances.check(request.instance_name)
        action = self._digest(request.digest_function, request.action_digest)
        _check_paths(request.action_result)
        raw = context.metadata.get(METADATA_HEADER, b"")
        metadata = raw if isinstance(raw, bytes) else b""
        return self._update(instance, action, request.action_result, metadata)

    async def _get(self, instance: str, action: Digest, hints: Hints, context: Context) -> bytes:
        result = await self._cache.lookup(instance, action)
        if result is None:
            self._figures.missed_by_get += 1
            raise NotFoundError(f"no complete result of action {action} is here; execute it")
        self._figures.hits += 1
        if METADATA_HEADER in context.metadata:
            self._tell(context, (instance, action), result.SerializeToString())
        await inlined(self._blobs, result, hints, action.function)
        return result.SerializeToString()

    async def _update(
        self, instance: str, action: Digest, result: pb.ActionResult, metadata: bytes
    ) -> bytes:
        await self._cache.store(instance, action, result, metadata)
        return result.SerializeToString()

    def _digest(self, number: int, message: pb.Digest) -> Digest:
        return from_proto(message, function_of(number, message.hash, self._functions))


def _check_paths(result: pb.ActionResult) -> None:
    """Outputs are "relative to the working directory ... MUST NOT begin with a leading slash"; and
    a link leads somewhere."""
    links = [
        *result.output_symlinks,
        *result.output_file_symlinks,
        *result.output_directory_symlinks,
    ]
    for link in links:
        if not link.target or "\0" in link.target:
            raise InvalidArgumentError(f"the output symlink {link.path[:200]!r} has no target")
    outputs: Iterable[Any] = chain(result.output_files, result.output_directories, links)
    for output in outputs:
        if output.path.startswith("/"):
            raise InvalidArgumentError(
                f"the output path {output.path[:200]!r} is absolute; outputs of a result are "
                "relative to the action's working directory"
            )
