"""Container images from the settings: who may be asked, and where they are kept."""

import os
import platform
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from builder.base.errors import StatusError, UsageError
from builder.config.settings import Images as ImageSettings
from builder.images.interface import ImageStore
from builder.sandbox.interface import Outcome, Sandbox, SandboxSpec

if TYPE_CHECKING:
    from builder.images.images import Allowed


def allowed(settings: ImageSettings) -> "Allowed":
    from builder.images.endpoint import Registry
    from builder.images.images import Allowed

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
    """What a worker offers that takes images, which only Linux can: any that its list lets in."""
    some = bool(settings.registries or settings.layouts)
    return {"container-image": "*"} if some and platform.system() == "Linux" else {}


@asynccontextmanager
async def open_images(settings: ImageSettings) -> AsyncIterator[ImageStore | None]:
    """None where nobody is let in. Raises UsageError for a directory that cannot be used."""
    if not image_platform(settings):
        yield None
        return
    from builder.images.cache import LayerCache  # late: only who takes images pays for it
    from builder.images.images import Images

    try:
        cache = await trio.to_thread.run_sync(LayerCache, settings.path, settings.max_size)
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


async def image_problem(sandbox: Sandbox, settings: ImageSettings, scratch: str) -> str:
    """Why no action could run in an image here, on the disk that they are kept on; empty for no
    reason. `scratch` is an empty place for the attempt, which finds no program in the image."""
    from builder.images.merged import OPAQUE

    place = settings.path if image_platform(settings) else scratch
    try:
        os.makedirs(place, 0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="probe-", dir=place) as base:
            layer, inputs, own = (os.path.join(base, name) for name in ("layer", "in", "own"))
            for folder in (layer, inputs, own):
                os.mkdir(folder)
            os.mknod(os.path.join(layer, "removed"), stat.S_IFCHR, 0)
            os.setxattr(layer, OPAQUE, b"y")
            spec = SandboxSpec(("/none",), inputs, own, layers=(layer,))
            async with await sandbox.run(spec) as finished:
                done = finished.exit
    except (OSError, StatusError) as error:
        return str(error)
    return "" if done.outcome is Outcome.NOT_STARTED else done.message or done.outcome.value
