"""Where images come from: one repository of a registry, or one layout."""

from typing import Protocol

from builder.images.documents import Descriptor


class Source(Protocol):
    """What it gives has the digest that was asked for.

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
