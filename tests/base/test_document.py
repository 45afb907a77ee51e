"""Documents: plain values, and where each of them stands."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.base.document import MAX_DEPTH, parse
from builder.base.errors import UsageError
from builder.base.problems import DocumentError, Position, Problem, redacted

SAMPLE = """\
role: worker        # a comment
worker:
  slots: 4
  platform: {gpu: "1", ratio: 0.5}
  tags:
    - one
    - {two: 2}
defaults: &shared
  memory: 2GiB
merged:
  <<: *shared
  own: true
"""


def problem(text: str | bytes) -> str:
    with pytest.raises(DocumentError) as caught:
        parse(text, "f.yaml")
    return str(caught.value)


def test_values_are_plain() -> None:
    """Blocks are dicts, lists are lists, scalars are str, int, float, bool and None."""
    assert parse(SAMPLE, "f.yaml").value == {
        "role": "worker",
        "worker": {
            "slots": 4,
            "platform": {"gpu": "1", "ratio": 0.5},
            "tags": ["one", {"two": 2}],
        },
        "defaults": {"memory": "2GiB"},
        "merged": {"own": True, "memory": "2GiB"},
    }


@pytest.mark.parametrize(
    ("path", "value_at", "key_at"),
    [
        (("role",), (1, 7), (1, 1)),
        (("worker", "slots"), (3, 10), (3, 3)),
        (("worker", "platform", "ratio"), (4, 31), (4, 24)),
        (("worker", "tags", 0), (6, 7), (6, 7)),
        (("worker", "tags", 1, "two"), (7, 13), (7, 8)),
        (("merged", "own"), (12, 8), (12, 3)),
        (("merged", "memory"), (9, 11), (9, 3)),
    ],
)
def test_positions(
    path: tuple[str | int, ...], value_at: tuple[int, int], key_at: tuple[int, int]
) -> None:
    """Lines and columns count from 1; what was merged stands where it was written."""
    document = parse(SAMPLE, "f.yaml")
    assert document.position(path) == Position(*value_at)
    assert document.position(path, key=True) == Position(*key_at)


def test_position_of_what_is_not_there_is_that_of_its_block() -> None:
    """A path that leads nowhere has the position of the nearest value above it."""
    document = parse(SAMPLE, "f.yaml")
    assert document.position(("worker", "platform", "nope")) == (4, 13)
    assert document.position(("worker", "tags", 7)) == (6, 5)
    assert document.position(("nope",)) == (1, 1)
    assert parse("", "f.yaml").position(("a",)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("+3", 3),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2024-01-31", "2024-01-31"),
        ("1_000", "1_000"),
        ("True", True),
        ("~", None),
        ("", None),
        ("null", None),
        ("'true'", "true"),
        ("!!str 5", "5"),
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        (":9090", ":9090"),
        ("=", "="),
    ],
)
def test_scalars(text: str, value: object) -> None:
    """Only what nobody can misread is a number, a flag or nothing."""
    found = parse(f"a: {text}\n", "f.yaml").value
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_keys_are_text() -> None:
    """A key that looks like a number or a flag is text all the same."""
    assert parse("1: a\ntrue: b\n'<<': c\n", "f.yaml").value == {"1": "a", "true": "b", "<<": "c"}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "the key 'a' stands twice; the first is in line 1"),
        ("{a: 1, a: 2}", "1:8", "the key 'a' stands twice"),
        ("a:\n\t- b\n", "2:1", "a tab cannot indent"),
        ("a:\n  b: 1\n\tc: 2\n", "3:1", "a tab cannot indent"),
        ("a: b: c\n", "1:5", "a ':' cannot stand here"),
        ("a: 'x\nb: 1\n", "1:4", "this quote is never closed"),
        ("a: [1, 2\nb: 3\n", "1:4", "this '[' is never closed"),
        ("a: {b: 1\n", "1:4", "this '{' is never closed"),
        ("a: 1\nword\n", "2:1", "a ':' is missing after the key"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "a key was expected here"),
        ("- a\nb: 1\n", "2:1", "a list item ('- value') was expected here"),
        ("a: @b\n", "1:4", "this character cannot stand here"),
        ("a: *b\n", "1:4", "this alias has no anchor above it"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document starts here"),
        ("a: &x [*x]\n", "1:4", "this anchor contains itself"),
        ("a: &x\n  b: {c: *x}\n", "1:4", "this anchor contains itself"),
        ("a: &x\n  <<: *x\n", "2:3", "this block merges itself"),
        ("a:\n  <<: 1\n", "2:3", "'<<' merges blocks of keys only"),
        ("a: !thing 1\n", "1:4", "the tag !thing has no meaning here"),
        ("a: !!binary 1\n", "1:4", "the tag !!binary has no meaning here"),
        ("a: !!python/object:os.system {}\n", "1:4", "the tag !!python/object:os.system has"),
        ("a: !!int x\n", "1:4", "'x' is not a number"),
        ("a: 1e999\n", "1:4", "the number 1e999 is too large"),
        ("? [a]\n: b\n", "1:3", "a key must be text"),
        ("a: \x01\n", "1:4", "the character U+0001 is not allowed in YAML"),
        ("a: \ud800\n", "1:4", "this is not a character"),
        (b"a: 1\nb: \xff\n", "2:4", "this is not UTF-8 text"),
        (b"\xff\xfea\x00", "1:1", "this is not UTF-8 text"),
    ],
)
def test_what_is_wrong_and_where(text: str | bytes, where: str, what: str) -> None:
    """Every mistake is told with source, line, column and a sentence."""
    assert problem(text).startswith(f"f.yaml:{where}: {what}")


def test_a_problem_shows_the_line_and_a_caret() -> None:
    """Below the sentence stand the source line, a caret under the column, and what to do."""
    assert problem("ok: 1\n\nbroken: {a: 1, a: 2}\n") == (
        "f.yaml:3:16: the key 'a' stands twice; the first is in line 3\n"
        "    3 | broken: {a: 1, a: 2}\n"
        "      |                ^\n"
        "        remove one of the two"
    )


def test_a_long_line_is_cut_around_the_column() -> None:
    """The caret still stands under the column that it means."""
    shown = problem("x" * 500 + ": {a: 1, a: 2}\n").splitlines()
    assert len(shown[1]) < 130
    assert shown[1][shown[2].index("^")] == "a"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000 + "]" * 200_000,
        "[" * 200_000,
        "- " * 100_000 + "a",
        "{a: " * 3000 + "1" + "}" * 3000,
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    ],
)
def test_an_abyss_is_refused(text: str) -> None:
    """Nesting without end is an error, never a crash."""
    assert f"nested deeper than {MAX_DEPTH} levels" in problem(text)


def test_an_alias_bomb_is_refused() -> None:
    """Aliases that expand to more values than memory holds are an error."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    assert "more than 1000000 values" in problem(bomb)


def test_a_byte_order_mark_is_no_content() -> None:
    """Editors of some systems write one."""
    assert parse("\ufeffa: 1\n".encode(), "f.yaml").value == {"a": 1}


def test_empty_documents_are_none() -> None:
    """Nothing, white space and comments are the empty value."""
    assert [parse(text, "f").value for text in ("", "\n\n", "# a\n", "---\n")] == [None] * 4


def test_error_at_a_path() -> None:
    """A caller names a path; the error tells its place."""
    error = parse(SAMPLE, "f.yaml").error(("worker", "slots"), "too many", "use 2")
    assert isinstance(error, UsageError)
    assert error.problems == (Problem(Position(3, 10), "too many", "use 2"),)
    assert str(error).startswith("f.yaml:3:10: too many\n    3 |   slots: 4\n")


def test_many_problems_are_counted_not_flooded() -> None:
    """Twenty are shown, the rest is counted."""
    error = DocumentError("f", "a\n", [Problem(Position(1, 1), "bad")] * 25)
    assert str(error).count("f:1:1: bad") == 20
    assert str(error).endswith("f: and 5 more problems")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("join_token: hush", "join_token: ****"),
        ('- {name: ci, token: "hush", role: x}', '- {name: ci, token: "****", role: x}'),
        ("DB_PASSWORD: 'a'", "DB_PASSWORD: '*'"),
        ("token: file:/run/t", "token: file:/run/t"),
        ("token: ${TOKEN}", "token: ${TOKEN}"),
        ("slots: 4", "slots: 4"),
        ("tokens: [{name: ci, token: ab}]", "tokens: [{name: ci, token: **}]"),
    ],
)
def test_secrets_in_shown_lines_are_starred_out(line: str, shown: str) -> None:
    """Column for column, so that the caret stays right."""
    assert redacted(line) == shown


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(plain)
def test_round_trip(value: object) -> None:
    """What a writer of YAML wrote is read back the same (it quotes what could be misread)."""
    assert parse(yaml.safe_dump(value, allow_unicode=True), "f.yaml").value == value


@settings(deadline=None)
@given(st.text(max_size=80) | st.text("[]{}:,-&*!|>'\"%@ \n\tab1<?", max_size=60))
def test_any_text_is_a_document_or_an_error_with_a_place(text: str) -> None:
    """No input ends in anything else, and the place lies in the text or just behind it."""
    try:
        parse(text, "f.yaml")
    except DocumentError as error:
        lines = text.count("\n") + text.count("\r") + text.count("\x85") + 4
        for found in error.problems:
            assert 1 <= found.position.line <= lines
            assert found.position.column >= 1


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True), st.data())
def test_positions_point_at_the_keys(names: list[str], data: st.DataObject) -> None:
    """Taking the text from a key's position finds that very key."""
    depth = data.draw(st.integers(0, 3))
    indent = "  " * depth
    head = "".join(f"{'  ' * n}n{n}:\n" for n in range(depth))
    text = head + "".join(f"{indent}{name}: {name}\n" for name in names)
    document = parse(text, "f.yaml")
    above = tuple(f"n{n}" for n in range(depth))
    for name in names:
        line, column = document.position((*above, name), key=True)
        assert text.splitlines()[line - 1][column - 1 :].startswith(f"{name}: ")
        assert document.position((*above, name)) == (line, column + 3)
