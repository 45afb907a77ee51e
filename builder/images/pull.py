"""From a name to an image's documents, and from those to its layers on disk.

resolve   tag or digest -> (index ->) manifest -> config      what the image is, by digest
fetch     each layer that is not unpacked yet, some at a time, verified
unpack    one after the other, the lowest first, beside the downloads, verified again
"""

import os
import shutil
from dataclasses import dataclass

import trio

from builder.base.errors import UnavailableError
from builder.images.cache import Holding, LayerCache, Making, chain_ids
from builder.images.compressed import LayerBytes
from builder.images.documents import (
    MOST_BYTES,
    Config,
    Manifest,
    Platform,
    read_config,
    read_manifest,
)
from builder.images.errors import HostileLayerError, ImageError
from builder.images.layers import Bounds
from builder.images.reference import Reference, is_digest
from builder.images.source import Source
from builder.images.unpack import Unpacker
from builder.images.verify import digest_of
from builder.net.together import each
from builder.telemetry.log import get_logger

AT_ONCE = 4  # one that unpacks, and downloads
MOST_INDEXES = 3  # one in the other
ROOT_MODE = 0o755  # of an image that says nothing of its root; the cache lets in nobody else

log = get_logger()


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image by what it is. `digest` is that of the manifest for this platform."""

    name: str
    digest: str
    manifest: Manifest
    config: Config

    @property
    def chains(self) -> list[str]:
        return chain_ids(self.config.diff_ids)


async def resolve(
    source: Source, cache: LayerCache, reference: Reference, platform: Platform
) -> Resolved:
    """What is known by its digest is asked for once. Raises ImageError, UnavailableError."""
    what, wanted = str(reference), reference.digest or reference.tag
    for _ in range(MOST_INDEXES):
        data = cache.document(wanted) if is_digest(wanted) else None
        digest = wanted
        if data is None:
            data = await source.manifest(wanted)
            digest = wanted if is_digest(wanted) else digest_of(data)
            cache.keep_document(digest, data)
        found = read_manifest(data, what)
        if isinstance(found, Manifest):
            config = await _config(source, cache, found, what)
            if not config.platform.serves(platform):
                raise ImageError(f"{what} is for {config.platform}, not for {platform}")
            return Resolved(reference.at(digest), digest, found, config)
        wanted = found.choose(platform, what).digest
    raise ImageError(f"{what}: an index in an index in an index")


async def _config(source: Source, cache: LayerCache, manifest: Manifest, what: str) -> Config:
    wanted = manifest.config
    if wanted.size > MOST_BYTES:
        raise ImageError(
            f"{what}: a configuration of {wanted.size} bytes; {MOST_BYTES} is the most"
        )
    data = cache.document(wanted.digest)
    if data is None:
        data = await source.document(wanted)
        cache.keep_document(wanted.digest, data)
    return read_config(data, len(manifest.layers), what)


class Pull:
    """Of one image's layers into the cache."""

    def __init__(self, source: Source, cache: LayerCache, image: Resolved, max_bytes: int) -> None:
        self._source, self._cache, self._image = source, cache, image
        self._bounds = Bounds(max_bytes)
        self._most_bytes = max_bytes
        self._files: dict[int, str] = {}
        self._places: list[str] = []
        self._fetched = [trio.Event() for _ in image.manifest.layers]

    async def run(self, hold: Holding) -> None:
        """Have `hold` hold every layer. Raises ImageError, UnavailableError."""
        layers = self._image.manifest.layers
        if sum(layer.size for layer in layers) > self._most_bytes:
            raise HostileLayerError(
                f"{self._image.name}: its layers have more bytes than sandbox.images.max_size"
            )
        missing = [n for n, chain in enumerate(self._image.chains) if not self._cache.has(chain)]

        async def work(number: int) -> None:
            if number < 0:
                await self._unpack_all(hold, set(missing))
            else:
                await self._fetch(number)

        try:
            await each(work, [-1, *missing], AT_ONCE)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._tidy)

    def _tidy(self) -> None:
        for place in self._places:
            shutil.rmtree(place, ignore_errors=True)

    async def _unpack_all(self, hold: Holding, coming: set[int]) -> None:
        for number, chain in enumerate(self._image.chains):
            while not await hold.take(chain):
                async with self._cache.making(chain) as making:
                    if not making.is_done:
                        await self._make(number, making, hold.paths, number in coming)
                coming.discard(number)

    async def _fetch(self, number: int) -> None:
        place, wanted = self._cache.new_place(), self._image.manifest.layers[number]
        self._places.append(place)
        self._files[number] = await self._source.layer(wanted, os.path.join(place, "layer"))
        self._fetched[number].set()

    async def _make(self, number: int, making: Making, below: list[str], coming: bool) -> None:
        if coming:
            await self._fetched[number].wait()
        else:  # it was there, and went
            await self._fetch(number)
        what = f"{self._image.name}, layer {number + 1} of {len(self._image.manifest.layers)}"
        place = self._cache.new_place()
        work = _Unpacking(self._files[number], self._image.config.diff_ids[number], place)
        try:
            size = await trio.to_thread.run_sync(work.run, below[::-1], self._bounds)
        except HostileLayerError as error:
            raise HostileLayerError(f"{what}: {error.message}") from None
        except OSError as error:
            raise UnavailableError(f"{what} cannot be unpacked here: {error}") from error
        finally:
            if not work.ok:
                self._places.append(place)
            if os.path.dirname(self._files[number]) in self._places:  # else it is a layout's own
                os.unlink(self._files[number])
        making.done(place, size)
        log.debug("Layer unpacked", layer=what, size_bytes=size, devices_left_out=work.skipped)


class _Unpacking:
    """Of one verified file, in a thread."""

    def __init__(self, path: str, diff_id: str, place: str) -> None:
        self._path, self._diff_id, self._place = path, diff_id, place
        self.ok, self.skipped = False, 0

    def run(self, below: list[str], bounds: Bounds) -> int:
        """About how many bytes it takes on disk. Raises HostileLayerError, OSError."""
        os.chmod(self._place, ROOT_MODE)
        with open(self._path, "rb") as file:
            data = LayerBytes(file, self._diff_id.partition(":")[0], bounds.spend)
            unpacker = Unpacker(self._place, below, bounds, trio.from_thread.check_cancelled)
            unpacker.unpack(data.read)
            found = data.diff_id()
        if found != self._diff_id:
            raise HostileLayerError(f"it unpacks to {found}, not to its diff_id {self._diff_id}")
        self.skipped, self.ok = unpacker.skipped, True
        return unpacker.size_bytes
