"""In what two actions differ."""

import dataclasses
import json

import pytest

from builder.action.difference import MOST_SHOWN, bare, differences, notes_of, notes_of_messages
from builder.action.encode import Step, prepare
from builder.action.tree import Entry, File, Folder, Link, entries_of
from builder.base.digest import digest_of
from builder.reapi.pb import remote_execution_pb2 as pb

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
        ["command without → x y"],
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
    "tools": (dataclasses.replace(STEP, tools={"cc": "12"}), INPUTS, ["tool cc is new"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_is_named(what: str) -> None:
    """In the order: inputs, command, outputs, env, the rest; notes survive JSON."""
    step, inputs, said = CHANGES[what]
    old = json.loads(json.dumps(notes_of(STEP, INPUTS)))
    assert differences(old, json.loads(json.dumps(notes_of(step, inputs)))) == said
    assert differences(old, notes_of(STEP, INPUTS)) == []


def test_each_tool_is_named() -> None:
    """Where both know their tools; of a client that does not tell, that they are other ones."""
    old = notes_of(dataclasses.replace(STEP, tools={"cc": "12", "ld": "2"}), INPUTS)
    new = notes_of(dataclasses.replace(STEP, tools={"cc": "13", "ld": "2"}), INPUTS)
    assert differences(old, new) == ["tool cc changed"]
    assert differences({k: v for k, v in old.items() if k != "tools"}, new) == [
        "tools are other ones"
    ]


def test_long_scripts_are_not_told_whole() -> None:
    """The lines that differ, and how many more there are."""
    lines = [f"line {number}" for number in range(30)]
    old = dataclasses.replace(STEP, arguments=("sh", "-c", "\n".join(["a", *lines])))
    new = dataclasses.replace(STEP, arguments=("sh", "-c", "\n".join(["a", "b"])))
    (said,) = differences(notes_of(old, {}), notes_of(new, {}))
    assert said.startswith("command line 0 line 1 ")
    assert said.endswith("line 9 ... and 20 more → b")


def test_an_action_that_was_stored() -> None:
    """Its messages give the notes that it was made of, but for what every command has."""
    step = dataclasses.replace(STEP, tools={"cc": "12"}, directory="lib", cacheable=False)
    inputs: dict[str, Entry] = {"lib/d/a.c": File(digest_of(b"A")), "empty": Folder()}
    prepared = prepare(step, inputs)
    tree = pb.Tree(root=pb.Directory.FromString(prepared.blobs[prepared.root]))
    tree.children.extend(
        pb.Directory.FromString(data)
        for digest, data in prepared.blobs.items()
        if digest not in (prepared.action, prepared.command, prepared.root)
    )
    action = pb.Action.FromString(prepared.blobs[prepared.action])
    command = pb.Command.FromString(prepared.blobs[prepared.command])
    stored = notes_of_messages(action, command, entries_of(tree))
    assert differences(bare(stored), bare(notes_of(step, inputs))) == []
    assert differences(bare(stored), bare(notes_of(STEP, inputs))) == [
        "cache False → True",
        "directory lib → .",
        "tools are other ones",
    ]


def test_every_part_of_a_step_counts() -> None:
    """No field of a Step is left out of the notes."""
    assert len(notes_of(STEP, {})) == len(dataclasses.fields(Step)) + 2  # inputs, salt


def test_not_all_of_very_many() -> None:
    """The first ones, and how many there are."""
    many: dict[str, Entry] = {f"f{n:02}": Link("x") for n in range(30)}
    said = differences(notes_of(STEP, {}), notes_of(STEP, many))
    assert len(said) == MOST_SHOWN + 1
    assert said[-1] == "... and 20 more"
