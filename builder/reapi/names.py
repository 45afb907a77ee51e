"""Resource names of ByteStream, both ways.

    read    [{instance}/]blobs/[{function}/]{hash}/{size}[/{anything}]
    read    [{instance}/]compressed-blobs/{compressor}/[{function}/]{hash}/{size}[/{anything}]
    write   [{instance}/]uploads/{uuid}/blobs/[{function}/]{hash}/{size}[/{anything}]
    write   [{instance}/]uploads/{uuid}/compressed-blobs/{compressor}/[{function}/]...

An instance name may be empty and may hold slashes, but none of its segments is a keyword; so the
first keyword ends it. Hash and size are always those of the uncompressed blob. The function's
segment is left out where the hash's length tells it. Source: REAPI v2, ContentAddressableStorage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from builder.base.digest import Digest, checked
from builder.base.errors import InvalidArgumentError
from builder.reapi.digests import DEFAULT_FUNCTIONS, NUMBERS, function_of, path_of

KEYWORDS = frozenset(
    {
        "blobs",
        "uploads",
        "actions",
        "actionResults",
        "operations",
        "capabilities",
        "compressed-blobs",
    }
)
COMPRESSORS = frozenset({"zstd", "deflate", "brotli"})
LONGEST = 2048  # characters of a name; longer ones are no names but attacks
READ_FORM = "[{instance}/]blobs/[{function}/]{hash}/{size}"
WRITE_FORM = "[{instance}/]uploads/{uuid}/blobs/[{function}/]{hash}/{size}"


@dataclass(frozen=True, slots=True)
class BlobName:
    """A parsed resource name: `compressor` is `identity` for plain blobs, `upload` the uuid."""

    instance: str
    digest: Digest
    compressor: str = "identity"
    upload: str = ""


def check_instance(name: str) -> str:
    """The name itself. Raises InvalidArgumentError for one that resource names cannot carry."""
    if name and not KEYWORDS.isdisjoint(name.split("/")):
        raise InvalidArgumentError(
            f"instance name {name[:200]!r} has a segment that resource names reserve: "
            f"none of {', '.join(sorted(KEYWORDS))}"
        )
    return name


def read_name(instance: str, digest: Digest, compressor: str = "identity") -> str:
    prefix = f"{instance}/" if instance else ""
    return f"{prefix}{_kind(compressor)}/{path_of(digest)}"


def write_name(instance: str, digest: Digest, upload: str, compressor: str = "identity") -> str:
    prefix = f"{instance}/" if instance else ""
    return f"{prefix}uploads/{upload}/{_kind(compressor)}/{path_of(digest)}"


def parse_read(name: str, served: Sequence[str] = DEFAULT_FUNCTIONS) -> BlobName:
    """Raises InvalidArgumentError that shows the right form."""
    instance, rest = _split(name, READ_FORM)
    if rest[0] not in ("blobs", "compressed-blobs"):
        raise _malformed(name, READ_FORM)
    compressor, digest = _blob(rest, name, READ_FORM, served)
    return BlobName(instance, digest, compressor)


def parse_write(name: str, served: Sequence[str] = DEFAULT_FUNCTIONS) -> BlobName:
    """Raises InvalidArgumentError that shows the right form."""
    instance, rest = _split(name, WRITE_FORM)
    if rest[0] != "uploads" or len(rest) < 3 or not rest[1]:
        raise _malformed(name, WRITE_FORM)
    compressor, digest = _blob(rest[2:], name, WRITE_FORM, served)
    return BlobName(instance, digest, compressor, rest[1])


def _kind(compressor: str) -> str:
    return "blobs" if compressor == "identity" else f"compressed-blobs/{compressor}"


def _split(name: str, form: str) -> tuple[str, list[str]]:
    """The instance, and the segments from the first keyword on."""
    if len(name) <= LONGEST:
        segments = name.split("/")
        for index, segment in enumerate(segments):
            if segment in KEYWORDS:
                return "/".join(segments[:index]), segments[index:]
    raise _malformed(name, form)


def _blob(
    segments: Sequence[str], name: str, form: str, served: Sequence[str]
) -> tuple[str, Digest]:
    """Compressor and digest from `blobs/...` or `compressed-blobs/...`; what follows is free."""
    rest = list(segments[1:])
    compressor = "identity"
    if segments[0] == "compressed-blobs":
        compressor = rest.pop(0) if rest else ""
        if compressor not in COMPRESSORS:
            raise InvalidArgumentError(
                f"compressor {compressor[:40]!r} in resource name {name[:300]!r} is unknown: "
                f"one of {', '.join(sorted(COMPRESSORS))}"
            )
    elif segments[0] != "blobs":
        raise _malformed(name, form)
    named = NUMBERS.get(rest[0]) if rest else None
    if named is not None:
        rest.pop(0)
    if len(rest) < 2 or not (rest[1].isascii() and rest[1].isdigit() and len(rest[1]) <= 19):
        raise _malformed(name, form)
    function = function_of(named or 0, rest[0], served)
    return compressor, checked(rest[0], int(rest[1]), function)


def _malformed(name: str, form: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name[:300]!r} is no resource name; the form is {form}")
