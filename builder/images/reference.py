"""What the platform property `container-image` names.

    docker://HOST[:PORT]/NAME[:TAG][@DIGEST]   of a registry; `docker://` may be left out
    oci:PATH[:TAG][@DIGEST]                    an OCI layout in a directory of the worker

The first part of a name is a host when it has a dot or a port or is `localhost`; a name without a
host belongs to the default one. Without tag and digest the tag is `latest` in a registry, and a
layout must then hold one image only. Where both are given the digest counts.

Sources: OCI distribution specification ("Pulling manifests"), OCI image specification (digests).
"""

import re
from dataclasses import dataclass

from builder.images.errors import ImageError

SCHEME, LAYOUT = "docker://", "oci:"
LATEST = "latest"
NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
HEX_DIGITS = {"sha256": 64, "sha512": 128}
MOST_NAME = 255
FORMS = "docker://HOST/NAME:TAG, docker://HOST/NAME@sha256:..., or oci:PATH:TAG"


@dataclass(frozen=True, slots=True)
class Remote:
    """An image of a registry. `tag` is empty where the digest alone was given."""

    host: str
    name: str
    tag: str
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{SCHEME}{self.host}/{self.name}"

    def at(self, digest: str) -> str:
        """The same image by what it is, for proofs."""
        return f"{self.repository}@{digest}"

    def __str__(self) -> str:
        return self.at(self.digest) if self.digest else f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Local:
    """An image of an OCI layout. `tag` may be empty."""

    path: str
    tag: str
    digest: str = ""

    def at(self, digest: str) -> str:
        """As `Remote.at`."""
        return f"{LAYOUT}{self.path}@{digest}"

    def __str__(self) -> str:
        if self.digest:
            return self.at(self.digest)
        return f"{LAYOUT}{self.path}:{self.tag}" if self.tag else f"{LAYOUT}{self.path}"


Reference = Remote | Local


def is_digest(text: str) -> bool:
    """`sha256:` or `sha512:` and as many lower-case hex digits as it has."""
    algorithm, _, value = text.partition(":")
    return len(value) == HEX_DIGITS.get(algorithm) and not value.strip("0123456789abcdef")


def parse(text: str, default_host: str = "") -> Reference:
    """Raises ImageError, which shows the forms that there are."""
    rest, _, digest = text.partition("@")
    if "@" in text and not is_digest(digest):
        raise _wrong(text, f"{digest!r} is no digest (sha256: or sha512: with all its hex digits)")
    if text.startswith(LAYOUT):
        return _local(text, rest.removeprefix(LAYOUT), digest)
    return _remote(text, rest.removeprefix(SCHEME), digest, default_host)


def _local(text: str, rest: str, digest: str) -> Local:
    path, tag = _tag(text, rest)
    if not path.startswith("/") or "\0" in path:
        raise _wrong(text, "the path of a layout must be absolute")
    return Local(path, tag, digest)


def _remote(text: str, rest: str, digest: str, default_host: str) -> Remote:
    path, tag = _tag(text, rest)
    first, slash, after = path.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, name = (first, after) if named else (default_host, path)
    if not host:
        raise _wrong(text, "it names no registry, and sandbox.images.default_registry is not set")
    if not HOST.fullmatch(host):
        raise _wrong(text, f"{host!r} is no host")
    if not NAME.fullmatch(name) or len(name) > MOST_NAME:
        raise _wrong(text, f"{name!r} is no name of a repository (lower case, digits, . _ - /)")
    return Remote(host, name, tag if tag or digest else LATEST, digest)


def _tag(text: str, rest: str) -> tuple[str, str]:
    """What is before the tag, and the tag; a port's colon has a slash behind it."""
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, ""
    if not TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is no tag")
    return path, tag


def _wrong(text: str, why: str) -> ImageError:
    return ImageError(f"container-image {text[:300]!r}: {why}; write {FORMS}")
