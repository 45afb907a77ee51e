"""Names across packages."""

import pytest

from builder.project.labels import beneath, full_name, package_of, resolved, unknown


@pytest.mark.parametrize(
    ("text", "package", "name"),
    [
        ("app", "", "app"),
        (":app", "", "app"),
        ("//:app", "lib", "app"),
        ("core", "lib/net", "//lib/net:core"),
        (":core", "lib/net", "//lib/net:core"),
        ("//lib/net:core", "", "//lib/net:core"),
        ("//lib/net/:core", "x", "//lib/net:core"),
        ("//lib:obj/src/a:b.c", "", "//lib:obj/src/a:b.c"),
        ("obj/a.c", "lib", "//lib:obj/a.c"),
    ],
)
def test_a_label_in_full(text: str, package: str, name: str) -> None:
    """Names without a package are of the one that they are written in."""
    assert resolved(text, package) == name
    assert full_name(package_of(name), name.rpartition("//")[2].partition(":")[2] or name) == name


def test_all_beneath() -> None:
    """`//...` and `//lib/...` mean packages, other texts a target."""
    assert [beneath(text) for text in ("//...", "//lib/...", "//a/b/...")] == ["", "lib", "a/b"]
    assert [beneath(text) for text in ("//lib:...", "...", "lib/...", "//lib")] == [None] * 4


def test_unknown_names() -> None:
    """The package is looked at first, then its names; the nearest is suggested."""
    names, packages = ["app", "//lib:core", "//lib:test"], ["", "lib"]
    assert unknown("//lob:core", names, packages) == (
        "there is no package //lob; did you mean //lib?",
        "packages are directories with a Builderfile: //, //lib",
    )
    assert unknown("//lib:cora", names, packages) == (
        "there is no target '//lib:cora'; did you mean '//lib:core'?",
        "targets of //lib: //lib:core, //lib:test",
    )
    assert unknown("ap", names, packages)[1] == "targets here: app"
    assert unknown(resolved("//lib", ""), names, packages) == (
        "'//lib' is a package and no target",
        "write one of its targets: //lib:core, //lib:test",
    )
