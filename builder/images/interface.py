"""Images as workers see them: asked for by name, there while an action runs."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Image:
    """`name` is its repository or layout and the digest of its manifest: exactly this image.

    `layers` are directories that nobody changes, the lowest first; `environment` is what the image
    says, which a command's own variables win over.
    """

    name: str
    layers: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class ImageStore(Protocol):
    def checkout(self, name: str) -> AbstractAsyncContextManager[Image]:
        """The image of this name, its layers there until the block ends.

        Raises ImageError, which is the asker's fault, or UnavailableError.
        """
        ...

    def has(self, name: str) -> bool:
        """Whether a checkout has nothing to wait for."""
        ...
