"""An action in the image that it asks for by the platform property `container-image`.

The image is its whole root, read-only. Of what the image says of processes only its environment
counts, and the command's own variables win over it; its user, working directory, entry point and
command do not: an action is the command that its client wrote, run by the sandbox's own user where
the client says. Source: REAPI v2 `Command`, and the lexicon of properties published beside it.
"""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace

from builder.base.errors import FailedPreconditionError, InvalidArgumentError
from builder.images.interface import ImageStore
from builder.sandbox.interface import SandboxSpec

PROPERTY = "container-image"


def wanted_image(properties: Iterable[tuple[str, str]], own: str = "") -> str:
    """What an action asks for; empty for the worker's own system, which is `own` if that is named.

    Raises InvalidArgumentError.
    """
    found = sorted({value for name, value in properties if name == PROPERTY})
    if len(found) > 1:
        raise InvalidArgumentError(f"{PROPERTY} is asked for twice: {' and '.join(found)}")
    return found[0] if found and found[0] != own else ""


async def in_image(
    spec: SandboxSpec, wanted: str, images: ImageStore | None, stack: AsyncExitStack
) -> SandboxSpec:
    """The same action in its image, which stays there until the stack ends.

    Raises FailedPreconditionError where there are no images, ImageError, UnavailableError.
    """
    if not wanted:
        return spec
    if images is None:
        raise FailedPreconditionError(
            f"{PROPERTY}={wanted}: this worker takes no images; name the registries or layouts "
            "that it may take them from in sandbox.images"
        )
    image = await stack.enter_async_context(images.checkout(wanted))
    environment = {**image.environment, **spec.environment}
    return replace(spec, layers=image.layers, image=image.name, environment=environment)
