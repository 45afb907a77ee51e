"""What `bldr fmt` makes of a Builderfile."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.document import parse
from builder.base.errors import UsageError
from builder.project.formatting import formatted
from tests.project.sample import SCHEMA

ORDER = list(SCHEMA["$defs"]["target"]["properties"])
ROOT = Path(__file__).parents[2]

BEFORE = """\
# The head of the file.

vars: {a: 1}~~~
target one:
      # why these outputs
      outputs: [o]

      command: |~~~
          # no comment but a part of the script

            indented~~~
          last
      description: Said first.

# above two

# and this


target two:
  command: [x]
  inputs:
    - a   # beside

    # above b
    - b
  # at the end of two
target three: {command: [y], outputs: [z]}
# at the end
""".replace("~", " ")
AFTER = """\
# The head of the file.

vars: {a: 1}

target one:
  description: Said first.
  # why these outputs
  outputs: [o]
  command: |
      # no comment but a part of the script

        indented~~~
      last

# above two

# and this

target two:
  inputs:
    - a   # beside
    # above b
    - b
  command: [x]
  # at the end of two

target three: {command: [y], outputs: [z]}

# at the end
""".replace("~", " ")


def fmt(text: str) -> str:
    return formatted(text, "Builderfile", ORDER)


def test_the_usual_form() -> None:
    """Every rule once; doing it again changes nothing."""
    assert fmt(BEFORE) == AFTER
    assert fmt(AFTER) == AFTER


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("target a: {command: [x]}", "target a: {command: [x]}\n"),
        ("\ufefftarget a:\r\n  command: x\r\n\r\n\r\n", "target a:\n  command: x\n"),
        ("target a:\n    command:\n        - x\n", "target a:\n  command:\n      - x\n"),
        ("target a:\n command: x\n outputs: [o]\n", "target a:\n  outputs: [o]\n  command: x\n"),
        ("{target a: {command: [x]}}\n\n", "{target a: {command: [x]}}\n"),
        ("# nothing\n\n", "# nothing\n"),
        (
            "x-e: &e {A: b}\ntarget a:\n  env:\n    <<: *e\n  command: [x]\n",
            "x-e: &e {A: b}\n\ntarget a:\n  command: [x]\n  env:\n    <<: *e\n",
        ),
        (
            "target a:\n  depends: &d\n  - b\n  command: [x]\ntarget c: {depends: *d}\n",
            "target a:\n  depends: &d\n  - b\n  command: [x]\n\ntarget c: {depends: *d}\n",
        ),
    ],
)
def test_shapes(text: str, result: str) -> None:
    """Flow, other indentations, other ends of lines, anchors."""
    assert fmt(text) == result
    assert fmt(result) == result


def test_what_would_say_something_else() -> None:
    """An alias before its anchor: the file is left alone, and the message says so."""
    text = "target a:\n  outputs: &o [x]\n  inputs: *o\n  command: [x]\n"
    with pytest.raises(UsageError, match=r"left alone|no anchor"):
        fmt(text)
    with pytest.raises(UsageError, match="Builderfile:2:1:"):
        fmt("target a: [")


def test_the_examples() -> None:
    """Ours are in their usual form."""
    for path in sorted(ROOT.glob("examples/**/Builderfile*")):
        assert fmt(path.read_text()) == path.read_text(), path


WORD = st.sampled_from(["a", "b c", "# no", "x: y", "'q'", "", "ü", "- l", "|", "{{v}}"])
BODY = st.fixed_dictionaries(
    {"command": st.lists(WORD, min_size=1, max_size=3)},
    optional={
        "description": WORD,
        "outputs": st.lists(WORD, max_size=2),
        "env": st.dictionaries(st.sampled_from("AB"), WORD, max_size=2),
    },
)


def block_yaml(value: object, indent: int) -> str:
    """With texts as JSON, which is YAML, and the rest in blocks."""
    pad = " " * indent
    if isinstance(value, dict) and value:
        return "".join(f"\n{pad}{k}:{block_yaml(v, indent + 3)}" for k, v in value.items())
    if isinstance(value, list) and value:
        return "".join(f"\n{pad}- {json.dumps(item)}\n" for item in value).rstrip("\n")
    return f" {json.dumps(value)}\n"


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["t", "u", "v"]), BODY, min_size=1))
def test_it_says_the_same(targets: dict[str, dict[str, object]]) -> None:
    """Whatever is written, its values stay, and the form is stable."""
    text = "".join(f"target {name}:{block_yaml(body, 4)}\n\n" for name, body in targets.items())
    result = fmt(text)
    assert parse(result, "b").value == parse(text, "b").value
    assert fmt(result) == result
    assert "\n\n\n" not in result
