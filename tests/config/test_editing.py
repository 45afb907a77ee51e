"""Config files with values changed: everything else stays as it was."""

import difflib
from pathlib import Path

import pytest
import yaml

from builder.base.errors import UsageError
from builder.config.editing import edited

CONFIGS = sorted(Path("configs").glob("*.yaml"))
TEXT = """\
# A service.

role: all   # one host

pool:
  min: 2    # never fewer
  max: "20"

auth:
  tokens:
    - {name: ci, token: "file:/a", role: writer}
"""


def changed(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[:1] in "+-"]


def test_one_value_is_one_line() -> None:
    """Its comment stays beside it."""
    assert changed(TEXT, edited(TEXT, {("pool", "min"): 4})) == [
        "-   min: 2    # never fewer",
        "+   min: 4    # never fewer",
    ]


def test_what_is_not_there_is_added() -> None:
    new = edited(TEXT, {("pool", "provider"): "aws", ("providers", "aws", "spot"): True})
    assert changed(TEXT, new) == [
        "+   provider: aws",
        "+ providers:",
        "+   aws:",
        "+     spot: true",
    ]
    assert yaml.safe_load(new)["providers"] == {"aws": {"spot": True}}


def test_an_empty_file_begins_with_what_is_set() -> None:
    assert edited("", {("pool", "min"): 4}) == "pool:\n  min: 4\n"
    assert edited("# nothing yet\n", {("role",): "all"}) == "# nothing yet\nrole: all\n"


def test_a_section_in_braces_stays_in_them() -> None:
    text = "pool: {min: 2, max: 20}  # small\nstore: {}\n"
    changes = {("pool", "max"): 9, ("pool", "policy"): "hpa", ("store", "max_size"): "1GiB"}
    new = "pool: {min: 2, max: 9, policy: hpa}  # small\nstore: {max_size: 1GiB}\n"
    assert edited(text, changes) == new
    assert edited("a: {}\n", {("a", "b", "c"): 1}) == "a: {b: {c: 1}}\n"


def test_texts_of_many_lines_and_missing_ends_are_found() -> None:
    """A script's last line, comments below a section, a file without a last line break."""
    text = "a:\n  script: |\n    one\n    two\n  # below\n\nb: 1"
    new = edited(text, {("a", "more"): "x: y", ("b",): [1, 2], ("c",): None})
    assert new == (
        "a:\n  script: |\n    one\n    two\n  more: 'x: y'\n  # below\n\nb: [1, 2]\nc: null\n"
    )
    assert edited("a:\n- 1\n- 2\nb: 1\n", {("a",): []}) == "a: []\nb: 1\n"


def test_an_item_of_a_list_is_changed_by_its_number() -> None:
    """In a block and in braces; one that is not there is refused."""
    new = edited(TEXT, {("auth", "tokens", "0", "role"): "reader"})
    assert new == TEXT.replace("role: writer", "role: reader")
    text = "pools:\n  - name: a   # first\n    min: 1\n  - name: b\n\nrole: all\n"
    new = edited(text, {("pools", "1", "max"): 3, ("pools", "0", "min"): 2})
    assert new == text.replace("min: 1", "min: 2").replace("name: b\n", "name: b\n    max: 3\n")
    with pytest.raises(UsageError, match=r"auth\.tokens has no item 1"):
        edited(TEXT, {("auth", "tokens", "1", "role"): "reader"})


def test_a_key_below_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="role is no section"):
        edited(TEXT, {("role", "more"): 1})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_sample_survives_a_change(path: Path) -> None:
    """All samples of the project: nothing moves but the line that is asked for."""
    text = path.read_text()
    new = edited(text, {("logging", "level"): "debug"})
    assert len(changed(text, new)) in (1, 2)
    known = yaml.safe_load(text) or {}
    known.setdefault("logging", {})["level"] = "debug"
    assert yaml.safe_load(new) == known
