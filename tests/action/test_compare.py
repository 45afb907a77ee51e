"""Why the second of two actions was no hit."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.action.compare import Described, Difference, differences, summary, text_diff

ONE = Described(
    arguments=("gcc", "-O2", "-c", "a.c"),
    variables={"PATH": "/usr/bin"},
    platform={"OSFamily": "linux"},
    inputs={"a.c": "aaaa/3", "lib/x.h": "bbbb/9"},
    outputs=("a.o",),
    settings={"working directory": ""},
)


def test_an_action_does_not_differ_from_itself() -> None:
    assert differences(ONE, ONE) == []
    assert summary([]) == ""


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (
            replace(ONE, arguments=("gcc", "-O3", "-c", "a.c")),
            Difference("argument", "1", "-O2", "-O3"),
        ),
        (
            replace(ONE, arguments=("gcc", "-O2", "-g", "-c", "a.c")),
            Difference("argument", "2", None, "-g"),
        ),
        (replace(ONE, arguments=("gcc", "-O2", "-c")), Difference("argument", "3", "a.c", None)),
        (
            replace(ONE, variables={"PATH": "/usr/bin", "DATE": "today"}),
            Difference("variable", "DATE", None, "today"),
        ),
        (replace(ONE, platform={}), Difference("platform", "OSFamily", "linux", None)),
        (
            replace(ONE, inputs={"a.c": "cccc/4", "lib/x.h": "bbbb/9"}),
            Difference("input", "a.c", "aaaa/3", "cccc/4"),
        ),
        (replace(ONE, outputs=("a.o", "a.d")), Difference("output", "a.d", None, "declared")),
        (
            replace(ONE, settings={"working directory": "sub"}),
            Difference("setting", "working directory", "", "sub"),
        ),
    ],
)
def test_each_kind_of_difference_is_told_alone(other: Described, found: Difference) -> None:
    """What is equal is not spoken of."""
    assert differences(ONE, other) == [found]


def test_arguments_that_have_nothing_in_common_are_counted() -> None:
    """A long list is not aligned, which would take seconds."""
    many = replace(ONE, arguments=("gcc", *map(str, range(1000)), "a.c"))
    assert differences(ONE, many) == [
        Difference("argument", "1 and on", "2 arguments", "1000 other arguments")
    ]


arguments = st.lists(st.sampled_from("abcd"), max_size=8)


@given(arguments, arguments)
def test_arguments_differ_exactly_when_a_difference_is_told(one: list[str], two: list[str]) -> None:
    found = differences(Described(arguments=one), Described(arguments=two))
    assert bool(found) == (one != two)
    assert all(difference.before != difference.after for difference in found)


def test_a_summary_counts_by_kind() -> None:
    one, two = Difference("argument", "1", "a", "b"), Difference("input", "x", "a", "b")
    third = Difference("platform", "x", "a", "b")
    assert summary([one]) == "1 argument"
    assert summary([one, two, two]) == "1 argument and 2 inputs"
    assert summary([one, third, two]) == "1 argument, 1 platform property and 1 input"


def test_small_texts_are_shown_line_by_line() -> None:
    assert text_diff(b"a\nb\n", b"a\nc\n") == "--- before\n+++ after\n@@ -1,2 +1,2 @@\n a\n-b\n+c"


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a\0b"])
def test_what_is_no_text_has_no_diff(data: bytes) -> None:
    assert text_diff(b"a", data) == ""


def test_a_long_diff_is_cut_and_says_so() -> None:
    text = text_diff(b"", b"x\n" * 1000)
    assert text.count("\n") == 60
    assert text.endswith("lines more")
