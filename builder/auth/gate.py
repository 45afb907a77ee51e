"""Who calls, and whether they may: bearer tokens and certificates against the table of rights.

Tokens are kept and looked up as SHA-256 digests, so how long a comparison takes says nothing of a
token; no message and no log has one. UNAUTHENTICATED says that we do not know the caller and how
to be known, PERMISSION_DENIED who they are, what they may not do, and who may.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from builder.auth.rights import RIGHTS, Right, roles_with
from builder.base.errors import PermissionDeniedError, UnauthenticatedError

HOW = "send the header `authorization: Bearer TOKEN`"
HINT = "bldr: client.token or BUILDER_TOKEN; Bazel: --remote_header='authorization=Bearer TOKEN'"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is known: a name for messages, and a role of RIGHTS."""

    name: str
    role: str


class Gate:
    """`tokens` are pairs of a token and whose it is; `identities` map a certificate's name to its
    owner. With `certificates`, any other certificate that TLS has verified is a reader's.
    """

    def __init__(
        self,
        tokens: Sequence[tuple[str, Caller]],
        identities: Mapping[str, Caller] | None = None,
        *,
        certificates: bool = False,
        rights: Mapping[str, frozenset[Right]] = RIGHTS,
    ) -> None:
        self._rights = rights
        self._by_digest = {_digest(token.encode()): caller for token, caller in tokens}
        self._identities = dict(identities or {})
        self._certificates = certificates

    def check(self, right: Right, authorization: str | bytes | None, identity: str) -> None:
        """Raises UnauthenticatedError or PermissionDeniedError.

        `authorization` is the header of that name; `identity` is what TLS has verified, or "".
        """
        if right is Right.OPEN:
            return
        caller = self.caller(authorization, identity)
        if right not in self._rights[caller.role]:
            able = " or ".join(roles_with(right, self._rights))
            raise PermissionDeniedError(
                f"{caller.name} is a {caller.role} here and may not {right.value}: that takes the "
                f"role {able}"
            )

    def caller(self, authorization: str | bytes | None, identity: str) -> Caller:
        """Who it is; a token counts more than a certificate. Raises UnauthenticatedError."""
        if authorization:
            caller = self._by_digest.get(_digest(_token(authorization)))
            if caller is None:
                raise UnauthenticatedError(f"this token is not known here ({HINT})")
            return caller
        if identity and self._certificates:
            return self._identities.get(identity) or Caller(identity, "reader")
        if self._certificates:
            raise UnauthenticatedError("who are you? Show a client certificate, or " + HOW)
        raise UnauthenticatedError(f"who are you? Please {HOW} ({HINT})")


def _digest(token: bytes) -> bytes:
    return sha256(token).digest()


def _token(authorization: str | bytes) -> bytes:
    """The token of a Bearer header, or the password of a Basic one (RFC 6750, RFC 7617)."""
    raw = authorization.encode() if isinstance(authorization, str) else authorization
    scheme, _, rest = raw.strip().partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() == b"basic":
        try:
            return b64decode(rest.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            raise UnauthenticatedError("the authorization header is not Basic's base64") from None
    raise UnauthenticatedError(f"the authorization header is neither Bearer nor Basic: {HOW}")
