"""Who is known at the gate, and what the others are told."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.auth.gate import Caller, Gate
from builder.auth.rights import RIGHTS, Right
from builder.base.errors import PermissionDeniedError, StatusError, UnauthenticatedError

CI = Caller("ci", "writer")
GATE = Gate([("s3cret", CI), ("look", Caller("you", "reader"))])
MTLS = Gate([("s3cret", CI)], {"spiffe://x/ci": CI}, certificates=True)


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "authorization",
    ["Bearer s3cret", "bearer  s3cret", b"Bearer s3cret", basic(":s3cret"), basic("me:s3cret")],
)
def test_a_token_is_known_however_it_comes(authorization: str | bytes) -> None:
    """As bearer token, or as the password of Basic authentication; the user name says nothing."""
    assert GATE.caller(authorization, "") == CI


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        (None, "who are you"),
        ("", "who are you"),
        ("Bearer", "not known here"),
        ("Bearer S3CRET", "not known here"),
        ("Bearer s3cret2", "not known here"),
        (basic("s3cret"), "not known here"),
        ("Basic !", "not Basic's base64"),
        ("Digest s3cret", "neither Bearer nor Basic"),
        ("s3cret", "neither Bearer nor Basic"),
        (b"\xff\xfe", "neither Bearer nor Basic"),
    ],
)
def test_others_are_told_how_to_be_known(authorization: str | bytes | None, words: str) -> None:
    """UNAUTHENTICATED, and the message never repeats what was shown."""
    with pytest.raises(UnauthenticatedError, match=words) as caught:
        GATE.check(Right.READ, authorization, "spiffe://x/ci")
    assert "s3cret" not in caught.value.message.lower()


def test_who_may_not_is_told_who_may() -> None:
    """PERMISSION_DENIED with the name, the role, and the roles that it takes."""
    with pytest.raises(PermissionDeniedError) as caught:
        GATE.check(Right.EXECUTE, "Bearer look", "")
    assert caught.value.message == (
        "you is a reader here and may not execute actions: that takes the role "
        "writer or trusted or operator"
    )


def test_health_is_not_asked_who_it_is() -> None:
    """Nor is a wrong token of any matter there."""
    GATE.check(Right.OPEN, None, "")
    GATE.check(Right.OPEN, "Bearer wrong", "")


def test_certificates() -> None:
    """One that is named has its role, any other that TLS has verified reads, none is asked for."""
    assert MTLS.caller(None, "spiffe://x/ci") == CI
    assert MTLS.caller(None, "spiffe://x/other") == Caller("spiffe://x/other", "reader")
    assert MTLS.caller("Bearer s3cret", "spiffe://x/other") == CI
    with pytest.raises(UnauthenticatedError, match="client certificate"):
        MTLS.caller(None, "")
    with pytest.raises(UnauthenticatedError):
        MTLS.caller("Bearer wrong", "spiffe://x/ci")


@pytest.mark.no_cover
@given(st.text(max_size=40) | st.binary(max_size=40), st.sampled_from(Right))
def test_nothing_that_is_shown_breaks_the_gate(shown: str | bytes, right: Right) -> None:
    """Any header ends in a status, or passes because the right is open to all."""
    try:
        GATE.check(right, shown, "")
    except StatusError:
        assert right is not Right.OPEN
    else:
        assert right is Right.OPEN


def test_every_role_of_the_settings_is_known() -> None:
    """A role that the configuration takes has its row."""
    from typing import get_args

    from builder.config.settings import AccessRole

    assert set(get_args(AccessRole)) == RIGHTS.keys()
