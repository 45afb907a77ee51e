"""Variables, defaults, matrices and foreach: what they become, and what is said of wrong ones."""

from collections.abc import Sequence
from textwrap import dedent

import pytest

from builder.base.document import parse
from builder.base.errors import UsageError
from builder.project.graph import graph
from builder.project.loader import load, validate
from builder.project.model import Project
from builder.project.paths import Pattern
from tests.project.sample import SCHEMA

FILES = ["lib/deep/c.c", "src/a.c", "src/b.tar.c", "src/gen.c", "src/notes"]


def project(text: str, files: Sequence[str] = FILES) -> Project:
    """With these source files."""

    def find(wanted: Sequence[Pattern], excluded: Sequence[Pattern]) -> list[str]:
        found = [path for path in files if any(one.matches(path) for one in wanted)]
        return [path for path in found if not any(one.matches(path) for one in excluded)]

    document = parse(dedent(text), "Builderfile")
    validate(document, SCHEMA)
    return load(document, find)


def test_foreach_is_one_action_for_each_file() -> None:
    """Each has the file among its inputs and its own names; the group is all of their outputs."""
    loaded = project("""\
        target objects:
          description: compiled
          foreach: ["**/*.c", "!src/gen.c"]
          inputs: [include/x.h]
          outputs: ["o/{{dir}}/{{stem}}.o"]
          command: [cc, -c, "{{file}}", -o, "o/{{dir}}/{{ stem }}.o"]
          env: {NAME: "{{name}}"}
          parallelism: 2
        target app: {command: "cc o/*", inputs: [":objects"], outputs: [app]}
        """)
    names = ["objects/lib/deep/c.c", "objects/src/a.c", "objects/src/b.tar.c"]
    assert list(loaded.targets) == [*names, "objects", "app"]
    one = loaded.targets["objects/src/b.tar.c"]
    assert one.arguments == ("cc", "-c", "src/b.tar.c", "-o", "o/src/b.tar.o")
    assert [item.text for item in one.inputs] == ["src/b.tar.c", "include/x.h"]
    assert [output.path for output in one.outputs] == ["o/src/b.tar.o"]
    assert (one.environment, one.parallelism) == ({"NAME": "b.tar.c"}, 0)
    group = loaded.targets["objects"]
    assert [depend.target for depend in group.depends] == names
    assert (group.arguments, group.parallelism, group.description) == ((), 2, "compiled")
    made = graph(loaded).outputs("objects")
    assert [output.path for output in made] == ["o/lib/deep/c.o", "o/src/a.o", "o/src/b.tar.o"]


def test_a_file_with_the_characters_of_a_glob_is_itself() -> None:
    """The input that a foreach adds is this very file."""
    loaded = project("target t: {foreach: '*.c', command: [x]}", ["[ab]*.c"])
    (item,) = loaded.targets["t/[ab]*.c"].inputs
    assert item.pattern is not None
    assert not item.pattern.wild
    assert item.pattern.matches("[ab]*.c")


def test_foreach_is_over_source_files() -> None:
    """What a target makes is no source, whether it is there already or not."""
    text = """\
        target gen: {command: [x], outputs: [src/gen.c]}
        target t: {foreach: "src/*.c", outputs: ["src/{{stem}}.x.c"], command: [x]}
        """
    once = project(text)
    again = project(text, [*FILES, "src/a.x.c", "src/b.tar.x.c", "src/gen.x.c"])
    assert list(once.targets) == ["gen", "t/src/a.c", "t/src/b.tar.c", "t"]
    assert list(again.targets) == list(once.targets)
    assert again.targets["t"].depends == once.targets["t"].depends


def test_a_matrix_is_every_combination() -> None:
    """In the order of its axes; with foreach, for each file."""
    loaded = project("""\
        vars: {ext: o}
        target t:
          matrix: {mode: [fast, small], bits: [32, 64]}
          foreach: src/a.c
          outputs: ["{{mode}}-{{bits}}/{{stem}}.{{ext}}"]
          command: "cc --{{mode}} -m{{bits}} {{file}}"
        """)
    assert list(loaded.targets) == [
        "t/fast/32/src/a.c",
        "t/fast/64/src/a.c",
        "t/small/32/src/a.c",
        "t/small/64/src/a.c",
        "t",
    ]
    one = loaded.targets["t/small/64/src/a.c"]
    assert one.arguments[-1] == "cc --small -m64 src/a.c"
    assert one.outputs[0].path == "small-64/a.o"


def test_variables() -> None:
    """A list alone is as many items, in a text it is joined; values are not looked at again."""
    loaded = project("""\
        vars: {flags: [-a, -b], where: out, none: [], braces: "{{where}}", n: 3}
        target t:
          inputs: ["{{none}}", "{{where}}.in"]
          outputs: ["{{where}}/x"]
          command: [run, "{{flags}}", "{{none}}", "all: {{flags}}", "{{braces}}", "{{n}}"]
        target s: {command: "docker {{.Name}} {{ flags }}"}
        """)
    t = loaded.targets["t"]
    assert t.arguments == ("run", "-a", "-b", "all: -a -b", "{{where}}", "3")
    assert [item.text for item in t.inputs] == ["out.in"]
    assert t.outputs[0].path == "out/x"
    assert loaded.targets["s"].arguments[-1] == "docker {{.Name}} -a -b"


def test_defaults() -> None:
    """Inputs are added, tables are merged, other keys are replaced; groups have none."""
    loaded = project("""\
        defaults:
          inputs: [common.h]
          env: {A: 1, B: 1}
          hermetic: {timeout: 5s, network: true}
          platform: {Pool: small}
          cache: false
        target a: {command: [x]}
        target b:
          command: [x]
          inputs: [own.h]
          env: {B: 2}
          hermetic: {network: false}
          platform: {Pool: large}
          cache: true
        target all: {depends: [a, b]}
        """)
    a, b = loaded.targets["a"], loaded.targets["b"]
    assert [item.text for item in b.inputs] == ["common.h", "own.h"]
    assert (a.environment, b.environment) == ({"A": "1", "B": "1"}, {"A": "1", "B": "2"})
    assert (b.hermetic.timeout_s, a.hermetic.network, b.hermetic.network) == (5.0, True, False)
    assert (a.platform, b.platform) == ({"Pool": "small"}, {"Pool": "large"})
    assert (a.cache, b.cache) == (False, True)
    assert loaded.targets["all"].inputs == ()


WRONG = {
    "unknown variable": (
        "vars: {flags: x}\ntarget t:\n  command: [a, 'b {{flag}}']\n",
        """\
Builderfile:3:16: there is no variable 'flag'
    3 |   command: [a, 'b {{flag}}']
      |                ^
        did you mean {{flags}}?""",
    ),
    "a foreach that finds nothing": (
        "target t:\n  foreach: no/*.c\n  command: [x]\n",
        """\
Builderfile:2:12: foreach over no/*.c finds no file
    2 |   foreach: no/*.c
      |            ^
        correct the glob (it is relative to the Builderfile), or remove the target""",
    ),
    "a foreach without a command": (
        "target t:\n  foreach: src/*.c\n  depends: [t]\n",
        """\
Builderfile:2:3: target 't' has foreach but no command
    2 |   foreach: src/*.c
      |   ^
        add a 'command'""",
    ),
    "an axis named like a variable": (
        "target t:\n  matrix: {file: [a]}\n  command: [x]\n",
        """\
Builderfile:2:12: 'file' is the name of a variable already
    2 |   matrix: {file: [a]}
      |            ^
        choose another name""",
    ),
    "one output for several files": (
        "target t:\n  foreach: src/*.c\n  outputs: [one.o]\n  command: [x]\n",
        """\
Builderfile:3:13: output 'one.o' of target 't/src/b.tar.c' overlaps: the same path is an \
output of target 't/src/a.c'
    3 |   outputs: [one.o]
      |             ^
        each path is made by one target: give each its own""",
    ),
    "an absolute glob": (
        "target t:\n  foreach: /src/*.c\n  command: [x]\n",
        """\
Builderfile:2:12: '/src/*.c' is absolute: an action sees only what lies in the project
    2 |   foreach: /src/*.c
      |            ^
        write it relative to the Builderfile; programs of the system are found by PATH""",
    ),
    "an unknown default": (
        "defaults: {outputs: [a]}\ntarget t: {command: [x]}\n",
        """\
Builderfile:1:12: unknown key 'outputs' in 'defaults'; did you mean 'inputs'?
    1 | defaults: {outputs: [a]}
      |            ^
        known here: inputs, tools, env, hermetic, platform, remote, cache, priority""",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_ones(name: str) -> None:
    """The message names the place, the reason and what to write."""
    text, message = WRONG[name]
    with pytest.raises(UsageError) as caught:
        graph(project(text))
    assert str(caught.value) == message
