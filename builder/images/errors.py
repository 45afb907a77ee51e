"""What can be wrong with an image. That a registry is away for now is UnavailableError instead."""

from builder.base.errors import FailedPreconditionError


class ImageError(FailedPreconditionError):
    """The image cannot be used as it was asked for; says which one, why, and what to do."""


class HostileLayerError(ImageError):
    """A layer that would do more than to hold files, or that is not what its digest says."""
