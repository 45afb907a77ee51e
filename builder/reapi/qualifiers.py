"""Qualifiers of the Remote Asset API: what a client says of the thing that it wants.

    checksum.sri           the content's hash, as Subresource Integrity (W3C): sha256-BASE64
    resource_type          application/x-git, or a type of file that needs no treatment
    vcs.commit             the whole hash of a commit
    http_header:{NAME}     a header to send, to every URI
    http_header_url:{INDEX}:{NAME}  the same, to one of the request's URIs, counted from 0
    bazel.auth_headers     Bazel's: a JSON object, URI -> header -> value
    bazel.canonical_id     Bazel's: part of the thing's identity, and nothing else

Headers carry secrets and say nothing of the content, so they are no part of its identity.
"""

import binascii
import hashlib
import json
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from builder.base.digest import HEX, Hasher
from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import error_details_pb2, status_pb2
from builder.reapi.pb import remote_asset_pb2 as pb

HEADER = "http_header:"
HEADER_OF_ONE = "http_header_url:"
AUTH = "bazel.auth_headers"
GIT = "application/x-git"
SRI = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
KNOWN = frozenset({"checksum.sri", "resource_type", "vcs.commit", "bazel.canonical_id", AUTH})


@dataclass(frozen=True, slots=True)
class Integrity:
    """One expression of Subresource Integrity."""

    algorithm: str
    digest: bytes

    def hasher(self) -> Hasher:
        return SRI[self.algorithm]()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Qualifiers that were understood."""

    integrity: Integrity | None = None
    commit: str = ""
    git: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)  # for every URI
    headers_by_uri: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def headers_for(self, uri: str) -> dict[str, str]:
        return {**self.headers, **self.headers_by_uri.get(uri, {})}


def identity(qualifiers: Iterable[pb.Qualifier]) -> list[tuple[str, str]]:
    """Those that tell one thing from another, in a settled order."""
    pairs = {(one.name, one.value) for one in qualifiers}
    return sorted((name, value) for name, value in pairs if not _is_header(name))


def understood(qualifiers: Iterable[pb.Qualifier], uris: Sequence[str] = ()) -> Wanted:
    """Raises InvalidArgumentError that names, as the API has it, what is not supported."""
    given: dict[str, str] = {}
    headers: dict[str, str] = {}
    of_one: dict[str, dict[str, str]] = {}
    for one in qualifiers:
        if one.name.startswith(HEADER):
            headers[one.name.removeprefix(HEADER)] = one.value
        elif one.name.startswith(HEADER_OF_ONE):
            uri, name = _of_one(one.name, uris)
            of_one.setdefault(uri, {})[name] = one.value
        elif one.name not in KNOWN:
            raise _unsupported(one.name)
        elif given.setdefault(one.name, one.value) != one.value:
            raise InvalidArgumentError(f"qualifier {one.name!r} is given twice")
    commit = given.get("vcs.commit", "")
    if commit and (len(commit) not in (40, 64) or not HEX.issuperset(commit)):
        raise InvalidArgumentError(f"vcs.commit is {commit[:80]!r}: give the whole hash")
    return Wanted(
        integrity=_integrity(given["checksum.sri"]) if given.get("checksum.sri") else None,
        commit=commit,
        git=bool(commit) or given.get("resource_type") == GIT,
        headers=headers,
        headers_by_uri=_joined(_auth(given.get(AUTH, "")), of_one),
    )


def _is_header(name: str) -> bool:
    return name == AUTH or name.startswith((HEADER, HEADER_OF_ONE))


def _of_one(qualifier: str, uris: Sequence[str]) -> tuple[str, str]:
    """The URI that it is for, and the header's name."""
    index, _, name = qualifier.removeprefix(HEADER_OF_ONE).partition(":")
    if not name or not (index.isascii() and index.isdigit()) or int(index[:9]) >= len(uris):
        raise InvalidArgumentError(
            f"qualifier {qualifier[:200]!r}: write {HEADER_OF_ONE}INDEX:NAME, and the request "
            f"has {len(uris)} URIs"
        )
    return uris[int(index)], name


def _joined(
    first: Mapping[str, Mapping[str, str]], second: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]]:
    return {uri: {**first.get(uri, {}), **second.get(uri, {})} for uri in {**first, **second}}


def _integrity(text: str) -> Integrity:
    """The strongest expression that is known here, as the W3C has it."""
    found: dict[str, Integrity] = {}
    for expression in text.split():
        algorithm, _, value = expression.partition("?")[0].partition("-")
        if algorithm in SRI:
            try:
                digest = b64decode(value, validate=True)
            except binascii.Error:
                digest = b""
            if len(digest) != SRI[algorithm]().digest_size:
                raise InvalidArgumentError(f"checksum.sri has {expression[:200]!r}: no such hash")
            found[algorithm] = Integrity(algorithm, digest)
    if not found:
        raise InvalidArgumentError(
            f"checksum.sri is {text[:200]!r}: give one of {', '.join(SRI)}, a dash, and base64"
        )
    return found[max(found)]


def _auth(text: str) -> dict[str, dict[str, str]]:
    if not text:
        return {}
    try:
        told = json.loads(text)
        return {str(uri): {str(k): str(v) for k, v in one.items()} for uri, one in told.items()}
    except (ValueError, AttributeError):
        raise InvalidArgumentError(f"{AUTH} is no JSON object of objects") from None


def _unsupported(name: str) -> InvalidArgumentError:
    message = f'"{name[:200]}" not supported'
    detail = error_details_pb2.BadRequest()
    detail.field_violations.add(field="qualifiers.name", description=message)
    status = status_pb2.Status(code=InvalidArgumentError.code, message=message)
    status.details.add().Pack(detail)
    return InvalidArgumentError(message, status.SerializeToString())
