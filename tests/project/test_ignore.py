"""What .builderignore leaves out."""

import pytest

from builder.project.ignore import parse
from builder.project.paths import PathError

TEXT = """\
# comments and empty lines

node_modules/
*.tmp   # at any depth
/third_party/
docs/*.html
gen/**/deep
"""


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("node_modules/a/b.js", True),
        ("web/node_modules/a.js", True),
        ("a.tmp", True),
        ("src/x/a.tmp", True),
        ("a.tmpl", False),
        ("third_party", True),
        ("docs/a.html", True),
        ("docs/sub/a.html", False),
        ("src/docs/a.html", False),
        ("gen/x/y/deep/file", True),
        ("src/main.c", False),
    ],
)
def test_what_is_hidden(path: str, hidden: bool) -> None:
    """A name counts in every directory, a path from the top; beneath them all is hidden."""
    assert parse(TEXT).hides(path) is hidden


def test_nothing_ignored() -> None:
    """An empty file is none."""
    assert not parse("# nothing\n")


@pytest.mark.parametrize(("line", "said"), [("!keep", "taken back"), ("../up", "holds '..'")])
def test_wrong_lines(line: str, said: str) -> None:
    """The line is named."""
    with pytest.raises(PathError, match=rf"\.builderignore:2: .*{said}"):
        parse(f"fine\n{line}\n")
