"""The JSON documents of an image: index, manifest, config; in OCI's words and in Docker's.

    index --by platform--> manifest --> config (environment, what the layers unpack to)
                                    `-> layers, the lowest first

Each document is known by the digest of its bytes; whoever reads one has checked that. What is
taken from a document is checked here, because a registry's users write it.

Source: OCI image specification, "Image Manifest", "Image Index", "Image Configuration".
"""

import json
from dataclasses import dataclass
from typing import Any

from builder.images.errors import ImageError
from builder.images.reference import is_digest

MOST_BYTES = 4 << 20  # of a document; registries refuse larger ones too
MOST_LAYERS = 128
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST)
LAYER_TYPES = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Platform:
    """In Go's words, as images have it: `linux`, `amd64`, and for some a variant."""

    os: str
    architecture: str
    variant: str = ""

    def serves(self, wanted: "Platform") -> bool:
        same = (self.os, self.architecture) == (wanted.os, wanted.architecture)
        return same and self.variant in ("", wanted.variant)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document points to."""

    digest: str
    size: int
    media_type: str
    platform: Platform | None = None
    ref_name: str = ""


@dataclass(frozen=True, slots=True)
class Index:
    manifests: tuple[Descriptor, ...]

    def choose(self, wanted: Platform, what: str) -> Descriptor:
        """The first one for this platform. Raises ImageError that names those there are."""
        for one in self.manifests:
            if one.platform is not None and one.platform.serves(wanted):
                return one
        for one in self.manifests:
            if one.platform is None and len(self.manifests) == 1:
                return one
        there = ", ".join(sorted({str(one.platform) for one in self.manifests if one.platform}))
        raise ImageError(f"{what} is not for {wanted}; it is for {there or 'no platform'}")


@dataclass(frozen=True, slots=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """`diff_ids` are the digests of the unpacked layers, the lowest first."""

    platform: Platform
    environment: tuple[tuple[str, str], ...]
    diff_ids: tuple[str, ...]


def read_manifest(data: bytes, what: str) -> Index | Manifest:
    """An index or a manifest, by what it holds. Raises ImageError."""
    found = _object(data, what)
    if found.get("schemaVersion") != 2:
        version = found.get("schemaVersion")
        raise ImageError(f"{what}: manifests of schema version {version!r} are not taken, only 2")
    if ("manifests" in found) == ("layers" in found):  # both would be read as either
        raise ImageError(f"{what}: neither an image's manifest nor an index")
    if "manifests" in found:
        return Index(tuple(_descriptor(one, what) for one in _list(found, "manifests", what)))
    layers = tuple(_descriptor(one, what) for one in _list(found, "layers", what))
    if len(layers) > MOST_LAYERS:
        raise ImageError(f"{what} has {len(layers)} layers; {MOST_LAYERS} is the most")
    if not layers:
        raise ImageError(f"{what} has no layers: there is nothing to run in it")
    for layer in layers:
        if not layer.media_type.startswith(LAYER_TYPES):
            raise ImageError(f"{what}: a layer is of type {layer.media_type!r}, which is no layer")
    return Manifest(_descriptor(found.get("config"), what), layers)


def read_config(data: bytes, layers: int, what: str) -> Config:
    """Raises ImageError, also when it does not fit the number of layers."""
    found = _object(data, what)
    told = [found.get(key, "") for key in ("os", "architecture", "variant")]
    rootfs, own = found.get("rootfs"), found.get("config") or {}
    if not isinstance(rootfs, dict) or not isinstance(own, dict):
        raise ImageError(f"{what}: the configuration has no rootfs")
    diff_ids = _list(rootfs, "diff_ids", what)
    if len(diff_ids) != layers or not all(isinstance(d, str) and is_digest(d) for d in diff_ids):
        raise ImageError(f"{what}: {len(diff_ids)} diff_ids for {layers} layers")
    environment = own.get("Env") or []
    if not isinstance(environment, list):
        raise ImageError(f"{what}: Env is no list")
    pairs = [_variable(one, what) for one in environment]
    return Config(Platform(*map(str, told)), tuple(pairs), tuple(diff_ids))


def _variable(text: object, what: str) -> tuple[str, str]:
    name, sign, value = text.partition("=") if isinstance(text, str) else ("", "", "")
    if not name or not sign or "\0" in name + value:
        raise ImageError(f"{what}: Env holds {text!r}, which is no NAME=VALUE")
    return name, value


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ImageError(f"{what}: a document of the image is no JSON object")
    return found


def _list(found: dict[str, Any], key: str, what: str) -> list[Any]:
    value = found.get(key)
    if not isinstance(value, list):
        raise ImageError(f"{what}: {key} is no list")
    return value


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ImageError(f"{what}: a descriptor is no object")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise ImageError(f"{what}: {str(digest)[:100]!r} is no digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ImageError(f"{what}: {digest} has no size")
    platform, notes = value.get("platform"), value.get("annotations")
    return Descriptor(
        digest,
        size,
        str(value.get("mediaType", "")),
        _platform(platform) if isinstance(platform, dict) else None,
        str(notes.get(REF_NAME, "")) if isinstance(notes, dict) else "",
    )


def _platform(value: dict[str, Any]) -> Platform:
    return Platform(*(str(value.get(key, "")) for key in ("os", "architecture", "variant")))
