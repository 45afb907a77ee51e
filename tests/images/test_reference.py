"""What `container-image` may say."""

import pytest

from builder.images.challenge import Challenge, challenges
from builder.images.errors import ImageError
from builder.images.reference import Local, Reference, Remote, parse

A = f"sha256:{'a' * 64}"
B = f"sha512:{'b' * 128}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("docker://r.example/a/b:1.0", Remote("r.example", "a/b", "1.0")),
        ("r.example/a/b", Remote("r.example", "a/b", "latest")),
        ("docker://r.example:5000/a", Remote("r.example:5000", "a", "latest")),
        ("localhost/a", Remote("localhost", "a", "latest")),
        ("127.0.0.1:5000/a:x", Remote("127.0.0.1:5000", "a", "x")),
        ("[::1]:5000/a", Remote("[::1]:5000", "a", "latest")),
        (f"r.example/a@{A}", Remote("r.example", "a", "", A)),
        (f"docker://r.example/a:t@{B}", Remote("r.example", "a", "t", B)),
        ("a/b-c__d.e:T", Remote("default.example", "a/b-c__d.e", "T")),
        ("a", Remote("default.example", "a", "latest")),
        ("oci:/srv/a", Local("/srv/a", "")),
        ("oci:/srv/a:1.0", Local("/srv/a", "1.0")),
        (f"oci:/srv/a:1.0@{A}", Local("/srv/a", "1.0", A)),
        ("oci:/srv/with:colon/a", Local("/srv/with:colon/a", "")),
    ],
)
def test_forms(text: str, wanted: Reference) -> None:
    assert parse(text, "default.example") == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("", "docker://", "docker:///a", "r.example/", "r.example/A", "r.example/a//b"),
        *("r.example/a:", "r.example/a:-x", "r.example/../a", "r.example/a/../../b", "-.example/a"),
        *("r.example/a?x=1", "r.example/a#x", "user:pw@r.example/a", "r.example:port/a", "a b.c/d"),
        *("r.example/a@", "r.example/a@sha256:00", f"r.example/a@md5:{'0' * 32}"),
        *(f"r.example/a@sha256:{'A' * 64}", f"r.example/a@{A}@{A}", f"r.example/{'a' * 300}"),
        *("oci:", "oci:relative/path", "oci:/a\0b", "oci:/a@sha256:0", "r.exa\nmple/a"),
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    """With the forms that there are."""
    with pytest.raises(ImageError, match="docker://HOST/NAME:TAG"):
        parse(text, "default.example")


def test_a_name_without_a_host_needs_a_default() -> None:
    with pytest.raises(ImageError, match="default_registry"):
        parse("docker://debian:12")


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([], []),
        (["Basic realm=x"], [Challenge("basic", {"realm": "x"})]),
        (
            ['Bearer realm="https://a.example/t?x=1,2",service="s s",Scope="repository:a:pull,b"'],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://a.example/t?x=1,2",
                        "service": "s s",
                        "scope": "repository:a:pull,b",
                    },
                )
            ],
        ),
        (
            ['Bearer realm="r", error="invalid_token", Basic realm="a \\"b\\""', "Negotiate"],
            [
                Challenge("bearer", {"realm": "r", "error": "invalid_token"}),
                Challenge("basic", {"realm": 'a "b"'}),
                Challenge("negotiate", {}),
            ],
        ),
        (["=x, =", ""], []),
    ],
)
def test_challenges(headers: list[str], wanted: list[Challenge]) -> None:
    """As RFC 9110 has them: several in a header, parameters quoted or not."""
    assert challenges(headers) == wanted
