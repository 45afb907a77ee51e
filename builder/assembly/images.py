"""Container images from the settings: who may be asked, and where they are kept."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from builder.base.errors import UsageError
from builder.config.settings import Images as ImageSettings
from builder.images.cache import LayerCache
from builder.images.endpoint import Registry
from builder.images.images import Allowed, Images


def allowed(settings: ImageSettings) -> Allowed:
    registries = tuple(
        Registry(
            one.host,
            one.mirrors,
            one.insecure,
            one.username or "",
            one.password.reveal() if one.password is not None else "",
            one.ca or "",
        )
        for one in settings.registries
    )
    return Allowed(registries, settings.layouts, settings.default_registry or "", settings.tag_age)


def image_platform(settings: ImageSettings) -> Mapping[str, str]:
    """What a worker offers that takes images: any that its list lets in."""
    return {"container-image": "*"} if settings.registries or settings.layouts else {}


@asynccontextmanager
async def open_images(settings: ImageSettings) -> AsyncIterator[Images | None]:
    """None where nobody is let in. Raises UsageError for a directory that cannot be used."""
    if not image_platform(settings):
        yield None
        return
    try:
        cache = LayerCache(settings.path, settings.max_size)
    except OSError as error:
        raise UsageError(
            f"sandbox.images.path {settings.path}: {error.strerror}; give a directory that this "
            "user can write"
        ) from None
    images = Images(cache, allowed(settings), settings.max_size)
    try:
        yield images
    finally:
        images.close()
