"""In what two actions differ."""

import dataclasses
import json

import pytest

from builder.action.difference import MOST_SHOWN, differences, notes_of
from builder.action.encode import Step
from builder.action.tree import Entry, File, Folder, Link
from builder.base.digest import digest_of

STEP = Step(("cc", "-O2", "a.c"), ("out",), {"MODE": "fast"}, (("ISA", "x86-64"),), 5.0)
INPUTS: dict[str, Entry] = {"a.c": File(digest_of(b"A")), "l": Link("a.c"), "d": Folder()}

CHANGES = {
    "bytes": (STEP, {**INPUTS, "a.c": File(digest_of(b"B"))}, ["input a.c changed"]),
    "mode": (STEP, {**INPUTS, "a.c": File(digest_of(b"A"), True)}, ["input a.c changed"]),
    "link": (STEP, {**INPUTS, "l": Link("b")}, ["input l changed"]),
    "more": (STEP, {**INPUTS, "b.c": Link("x")}, ["input b.c is new"]),
    "less": (STEP, {"a.c": INPUTS["a.c"], "d": Folder()}, ["input l is gone"]),
    "flag": (
        dataclasses.replace(STEP, arguments=("cc", "-O3", "a.c")),
        INPUTS,
        ["command -O2 → -O3"],
    ),
    "flag more": (
        dataclasses.replace(STEP, arguments=("cc", "-O2", "-g", "a.c")),
        INPUTS,
        ["command without → -g"],
    ),
    "order": (
        dataclasses.replace(STEP, arguments=("cc", "a.c", "-O2")),
        INPUTS,
        ["command changed"],
    ),
    "script": (
        dataclasses.replace(STEP, arguments=("cc", "-O2", "a.c", "x\ny")),
        INPUTS,
        ["command changed"],
    ),
    "output": (dataclasses.replace(STEP, output_paths=("o",)), INPUTS, ["outputs out → o"]),
    "variable": (
        dataclasses.replace(STEP, environment={"MODE": "slow", "N": "1"}),
        INPUTS,
        ["env MODE fast → slow", "env N is new: 1"],
    ),
    "variable gone": (dataclasses.replace(STEP, environment={}), INPUTS, ["env MODE is gone"]),
    "platform": (
        dataclasses.replace(STEP, platform=(("ISA", "arm-a64"),)),
        INPUTS,
        ["platform ISA x86-64 → arm-a64"],
    ),
    "timeout": (dataclasses.replace(STEP, timeout_s=9.0), INPUTS, ["timeout 5.0 → 9.0"]),
    "cache": (dataclasses.replace(STEP, cacheable=False), INPUTS, ["cache True → False"]),
    "tools": (dataclasses.replace(STEP, salt=b"\1"), INPUTS, ["tools are other ones"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_is_named(what: str) -> None:
    """In the order: inputs, command, outputs, env, the rest; notes survive JSON."""
    step, inputs, said = CHANGES[what]
    old = json.loads(json.dumps(notes_of(STEP, INPUTS)))
    assert differences(old, json.loads(json.dumps(notes_of(step, inputs)))) == said
    assert differences(old, notes_of(STEP, INPUTS)) == []


def test_every_part_of_a_step_counts() -> None:
    """No field of a Step is left out of the notes."""
    assert len(notes_of(STEP, {})) == len(dataclasses.fields(Step)) + 1


def test_not_all_of_very_many() -> None:
    """The first ones, and how many there are."""
    many: dict[str, Entry] = {f"f{n:02}": Link("x") for n in range(30)}
    said = differences(notes_of(STEP, {}), notes_of(STEP, many))
    assert len(said) == MOST_SHOWN + 1
    assert said[-1] == "... and 20 more"
