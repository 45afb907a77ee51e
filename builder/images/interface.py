"""Where images come from, and what one is when an action may run in it. Data and one protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from builder.images.documents import Descriptor


@dataclass(frozen=True, slots=True)
class Image:
    """`name` is its repository or layout and the digest of its manifest: exactly this image.

    `layers` are directories that nobody changes, the lowest first; `environment` is what the image
    says, which a command's own variables win over.
    """

    name: str
    layers: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """One repository, or one layout. What it gives has the digest that was asked for.

    Raises ImageError for what is not there or is not what it should be, UnavailableError where
    another attempt may help.
    """

    async def manifest(self, reference: str) -> bytes:
        """The document of a tag (empty for the only one), or of a digest."""
        ...

    async def document(self, wanted: Descriptor) -> bytes: ...

    async def layer(self, wanted: Descriptor, target: str) -> str:
        """The path of a file with these bytes: `target`, which is new, or one that is there."""
        ...
