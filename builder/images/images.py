"""The images that actions ask for, ready to be run in.

    container-image --parse, allow--> reference --resolve--> image --pull--> layers, held

Theory of operation. One task at a time works at one name; the others wait, and find it done. An
image that an action uses holds its layers, and the last few that were used go on doing so, so that
an action whose image was here a moment ago has nothing to ask and nothing to lock. A digest is
resolved for good; a tag is asked for again after a while. Layers that nobody holds may go when the
cache is over its bound.
"""

import math
import platform
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import trio

from builder.images.cache import Holding, LayerCache
from builder.images.documents import Platform
from builder.images.endpoint import Registry
from builder.images.interface import Image
from builder.images.layout import allowed_layout
from builder.images.pull import Pull, Resolved, resolve
from builder.images.reference import Reference, Remote, parse
from builder.images.registry import RegistrySource, allowed_endpoints
from builder.images.source import Source
from builder.telemetry.log import get_logger

MOST_IDLE = 4
MOST_NAMES = 1000
ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
}

log = get_logger()


def own_platform(machine: str) -> Platform:
    """Of this kernel, in the words of images."""
    architecture, variant = ARCHITECTURES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the configuration lets in. For `tag_age_s` a tag stands for what it stood for."""

    registries: tuple[Registry, ...] = ()
    layouts: tuple[str, ...] = ()
    default_registry: str = ""
    tag_age_s: float = 300.0

    @property
    def any(self) -> bool:
        return bool(self.registries or self.layouts)

    def by_host(self) -> Mapping[str, Registry]:
        return {registry.host: registry for registry in self.registries}


@dataclass(slots=True)
class _Held:
    """An image's layers, while it is used and a while longer."""

    holding: Holding
    layers: tuple[str, ...]
    users: int = 0


@dataclass(slots=True)
class _Turn:
    """Of those who work at one name."""

    lock: trio.Lock = field(default_factory=trio.Lock)
    waiting: int = 0


class Images:
    """See `ImageStore`. `max_bytes` is what one image may unpack to; `now` tells seconds."""

    def __init__(
        self,
        cache: LayerCache,
        allowed: Allowed,
        max_bytes: int,
        now: Callable[[], float] = trio.current_time,
        own: Platform | None = None,
    ) -> None:
        self._cache, self._allowed, self._max_bytes, self._now = cache, allowed, max_bytes, now
        self._platform = own or own_platform(platform.machine())
        self._resolved: OrderedDict[str, tuple[Resolved, float]] = OrderedDict()
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def checkout(self, name: str) -> AsyncIterator[Image]:
        """See `interface.ImageStore.checkout`."""
        image, held = self._taken(self._known(name)) or await self._work_at(name)
        try:
            yield image
        finally:
            held.users -= 1
            self._let_go(MOST_IDLE)

    def has(self, name: str) -> bool:
        """See `interface.ImageStore.has`."""
        resolved = self._known(name)
        return resolved is not None and resolved.digest in self._held

    def close(self) -> None:
        """Let go of everything; what is unpacked stays for the next process."""
        self._let_go(0)
        self._cache.close()

    def _known(self, name: str) -> Resolved | None:
        resolved, until = self._resolved.get(name, (None, 0.0))
        return resolved if self._now() < until else None

    def _taken(self, resolved: Resolved | None) -> tuple[Image, _Held] | None:
        """What is at hand, with one user more."""
        held = self._held.get(resolved.digest) if resolved is not None else None
        if resolved is None or held is None:
            return None
        held.users += 1
        self._held.move_to_end(resolved.digest)
        return Image(resolved.name, held.layers, dict(resolved.config.environment)), held

    async def _work_at(self, name: str) -> tuple[Image, _Held]:
        turn = self._turns.setdefault(name, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                taken = self._taken(self._known(name))
                while taken is None:
                    taken = self._taken(await self._bring(name))
                return taken
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(name, None)

    async def _bring(self, name: str) -> Resolved:
        """Resolve it and hold its layers."""
        reference, started = parse(name, self._allowed.default_registry), self._now()
        async with self._source(reference) as source:
            resolved = self._known(name)
            if resolved is None:
                resolved = await resolve(source, self._cache, reference, self._platform)
            if resolved.digest not in self._held:
                holding = Holding(self._cache)
                try:
                    await Pull(source, self._cache, resolved, self._max_bytes).run(holding)
                    await self._make_room()
                except BaseException:
                    holding.let_go()
                    raise
                self._keep(resolved.digest, holding)
        self._remember(name, resolved, math.inf if reference.digest else self._allowed.tag_age_s)
        log.info("Image ready", image=resolved.name, s=round(self._now() - started, 2))
        return resolved

    def _source(self, reference: Reference) -> AbstractAsyncContextManager[Source]:
        if isinstance(reference, Remote):
            return RegistrySource(reference, allowed_endpoints(reference, self._allowed.by_host()))
        return nullcontext(allowed_layout(reference, self._allowed.layouts))

    def _remember(self, name: str, resolved: Resolved, age_s: float) -> None:
        self._resolved[name] = (resolved, self._now() + age_s)
        self._resolved.move_to_end(name)
        if len(self._resolved) > MOST_NAMES:
            self._resolved.popitem(last=False)

    def _keep(self, digest: str, holding: Holding) -> None:
        """Another name may have brought it meanwhile."""
        if digest in self._held:
            holding.let_go()
        else:
            self._held[digest] = _Held(holding, tuple(holding.paths))

    async def _make_room(self) -> None:
        if self._cache.is_over:
            self._let_go(0)
            await self._cache.trim()

    def _let_go(self, most_idle: int) -> None:
        """Of images without users, but for so many that were used last."""
        idle = [digest for digest, held in self._held.items() if not held.users]
        for digest in idle[: max(0, len(idle) - most_idle)]:
            self._held.pop(digest).holding.let_go()
