"""Builderfiles: what they mean, and what is said of those that are wrong."""

import pytest

from builder.base.errors import UsageError
from builder.project.loader import SHELL
from builder.project.model import Hermetic, Priority
from tests.project.sample import graph_of, project


def test_every_key_arrives() -> None:
    """A target with all keys is loaded as written, in our own units."""
    loaded = project("""\
        target app:
          description: The app
          command: [cc, -o, app, 7]
          inputs: ["src/**/*.c", "!src/old/**", ":gen", ./lib//x.h]
          outputs: [app, docs/]
          depends: [gen, ":other"]
          env: {MODE: fast, N: 3}
          hermetic:
            {max_memory: 2GiB, max_cpu: 1.5, timeout: 1m30s, network: true, processes: 9,
             deterministic: true, programs: [cc, /usr/lib/gcc],
             clock: 2024-05-01T12:00:00Z}
          remote: local
          cache: false
          parallelism: 4
          priority: critical
        """)
    app = loaded.targets["app"]
    assert app.description == "The app"
    assert app.arguments == ("cc", "-o", "app", "7")
    assert [(i.text, i.excluded, i.target) for i in app.inputs] == [
        ("src/**/*.c", False, ""),
        ("!src/old/**", True, ""),
        (":gen", False, "gen"),
        ("./lib//x.h", False, ""),
    ]
    assert app.inputs[3].pattern is not None
    assert app.inputs[3].pattern.text == "lib/x.h"
    assert [(o.path, o.directory) for o in app.outputs] == [("app", False), ("docs", True)]
    assert [d.target for d in app.depends] == ["gen", "other"]
    assert app.environment == {"MODE": "fast", "N": "3"}
    assert app.hermetic == Hermetic(
        2 * 1024**3, 1.5, 90.0, True, None, 9, True, ("cc", "/usr/lib/gcc"), 1714564800
    )
    assert (app.remote, app.cache, app.parallelism) == (False, False, 4)
    assert app.priority is Priority.CRITICAL


def test_defaults() -> None:
    """A bare target runs where it is told, is cached, and has no network."""
    bare = project("target a: {command: echo hi}").targets["a"]
    assert bare.arguments == (*SHELL, "echo hi")
    assert (bare.remote, bare.cache, bare.parallelism) == (True, True, 0)
    assert bare.priority is Priority.NORMAL
    assert bare.hermetic == Hermetic(None, None, None, False)


def test_network_may_be_a_list_of_hosts() -> None:
    """In one form however it is written; what is no host is told with its place."""
    loaded = project("target a: {command: x, hermetic: {network: [PyPI.org, 'a.b:8443']}}")
    assert loaded.targets["a"].hermetic.network == ("a.b:8443", "pypi.org")
    with pytest.raises(UsageError, match=r"'http://x' is no host.*write 'example.org'"):
        project("target a: {command: x, hermetic: {network: ['http://x']}}")


def test_blocks_for_anchors_are_ignored() -> None:
    """Keys that start with x- are a place for shared blocks."""
    loaded = project("""\
        x-limits: &limits {timeout: 5s}
        target a: {command: "true", hermetic: *limits}
        """)
    assert list(loaded.targets) == ["a"]
    assert loaded.targets["a"].hermetic.timeout_s == 5.0


WRONG = {
    "unknown key": (
        "target a:\n  comand: [x]\n",
        """\
Builderfile:2:3: unknown key 'comand' in 'target a'; did you mean 'command'?
    2 |   comand: [x]
      |   ^""",
    ),
    "not a target": (
        "app:\n  command: [x]\n",
        """\
Builderfile:1:1: unknown key 'app'
    1 | app:
      | ^
        at the top there are targets only: write 'target app:'""",
    ),
    "the word alone": (
        "target:\n  command: [x]\n",
        """\
Builderfile:1:1: unknown key 'target'
    1 | target:
      | ^
        at the top there are targets only: write 'target NAME:'""",
    ),
    "a name of two words": (
        "target my app:\n  command: [x]\n",
        """\
Builderfile:1:1: 'my app' cannot name a target
    1 | target my app:
      | ^
        use letters, digits and '_', and after the first of them also '.', '+' and '-'""",
    ),
    "unknown target, nearest name": (
        "target libs: {command: [x]}\ntarget a:\n  command: [x]\n  depends: [lib]\n",
        """\
Builderfile:4:13: there is no target 'lib'; did you mean 'libs'?
    4 |   depends: [lib]
      |             ^
        targets here: libs, a""",
    ),
    "cycle": (
        (
            "target a: {command: [x], depends: [b]}\n"
            "target b: {command: [x], inputs: [':c']}\n"
            "target c: {command: [x], outputs: [o], inputs: [p/q]}\n"
            "target d: {command: [x], outputs: [p/], depends: [b]}\n"
        ),
        """\
Builderfile:2:35: targets need each other: b -> c -> d -> b
    2 | target b: {command: [x], inputs: [':c']}
      |                                   ^
        remove one of these needs""",
    ),
    "needs itself": (
        "target a: {command: [x], depends: [a]}\n",
        """\
Builderfile:1:36: target 'a' needs itself
    1 | target a: {command: [x], depends: [a]}
      |                                    ^
        remove it: a target's own outputs are new""",
    ),
    "two makers": (
        (
            "target a: {command: [x], outputs: [out/]}\n"
            "target b:\n  command: [x]\n  outputs:\n    - out/b.o\n"
        ),
        """\
Builderfile:5:7: output 'out/b.o' of target 'b' overlaps: beneath 'out' is an output of target 'a'
    5 |     - out/b.o
      |       ^
        each path is made by one target: give each its own""",
    ),
    "twice the same": (
        "target a: {command: [x], outputs: [o, ./o]}\n",
        """\
Builderfile:1:39: output 'o' of target 'a' overlaps: the same path is of this target too
    1 | target a: {command: [x], outputs: [o, ./o]}
      |                                       ^
        each path is made by one target: give each its own""",
    ),
    "own output as input": (
        "target a:\n  command: [x]\n  inputs: [out/x]\n  outputs: [out/]\n",
        """\
Builderfile:3:12: input 'out/x' overlaps the output 'out' of the same target 'a'
    3 |   inputs: [out/x]
      |            ^
        a command cannot read what it has yet to make: write to another path""",
    ),
    "own output by a glob": (
        "target a:\n  command: [x]\n  inputs: ['src/**/*.c']\n  outputs: [src/]\n",
        """\
Builderfile:3:12: input 'src/**/*.c' overlaps the output 'src' of the same target 'a'
    3 |   inputs: ['src/**/*.c']
      |            ^
        a command cannot read what it has yet to make: write to another path""",
    ),
    "absolute": (
        "target a:\n  command: [x]\n  outputs: [/usr/bin/x]\n",
        """\
Builderfile:3:13: '/usr/bin/x' is absolute: an action sees only what lies in the project
    3 |   outputs: [/usr/bin/x]
      |             ^
        write it relative to the Builderfile; programs of the system are found by PATH""",
    ),
    "escaping": (
        "target a:\n  command: [x]\n  inputs: [ok.c, ../x.c]\n",
        """\
Builderfile:3:18: '../x.c' holds '..': an action sees only what lies in the project
    3 |   inputs: [ok.c, ../x.c]
      |                  ^
        move the Builderfile up to the directory that holds all of it""",
    ),
    "glob as output": (
        "target a:\n  command: [x]\n  outputs: ['*.o']\n",
        """\
Builderfile:3:13: output '*.o' is a glob over the whole work tree
    3 |   outputs: ['*.o']
      |             ^
        let the command write into a directory of its own: for example build/*.o""",
    ),
    "group with outputs": (
        "target a: {depends: [b], outputs: [o]}\ntarget b: {command: [x]}\n",
        """\
Builderfile:1:26: target 'a' has outputs but no command
    1 | target a: {depends: [b], outputs: [o]}
      |                          ^
        add a 'command', or keep 'depends' alone to name a group of targets""",
    ),
    "does nothing": (
        "target a: {}\n",
        """\
Builderfile:1:1: target 'a' does nothing
    1 | target a: {}
      | ^
        add a 'command', or 'depends' to name a group of targets""",
    ),
    "package label": (
        "target a: {command: [x], inputs: ['//lib:x']}\n",
        """\
Builderfile:1:35: there is no package //lib
    1 | target a: {command: [x], inputs: ['//lib:x']}
      |                                   ^
        write a file 'Builderfile.workspace' in the directory above all packages""",
    ),
    "empty": (
        "# nothing\n",
        """\
Builderfile:1:1: there is no target here
    1 | # nothing
      | ^
        write 'target NAME:' and its keys""",
    ),
    "only shared blocks": (
        "x-a: 1\n",
        """\
Builderfile:1:1: there is no target here
    1 | x-a: 1
      | ^
        write 'target NAME:' and its keys""",
    ),
    "no name is near": (
        "target a: {command: [x], depends: [zzzzzz]}\n",
        """\
Builderfile:1:36: there is no target 'zzzzzz'
    1 | target a: {command: [x], depends: [zzzzzz]}
      |                                    ^
        targets here: a""",
    ),
    "no memory": (
        "target a: {command: [x], hermetic: {max_memory: 0K}}\n",
        """\
Builderfile:1:49: 'max_memory' must be more than 0
    1 | target a: {command: [x], hermetic: {max_memory: 0K}}
      |                                                 ^""",
    ),
    "no moment": (
        "target a: {command: [x], hermetic: {clock: noon}}\n",
        """\
Builderfile:1:44: 'noon' is no moment: use fixed, 2024-05-01T12:00:00Z, or seconds since 1970
    1 | target a: {command: [x], hermetic: {clock: noon}}
      |                                            ^""",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_show_the_place(case: str) -> None:
    """Each mistake is told with file, line, column, a caret and what to do."""
    text, said = WRONG[case]
    with pytest.raises(UsageError) as caught:
        graph_of(text)
    assert str(caught.value).startswith(said), str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("command: []", "must not be empty"),
        ("command: 5", "must be a list of a program and its arguments or a script's text"),
        ("command: [x]\n  remote: maybe", "true, false or local"),
        ("command: [x]\n  cache: yes", "write true"),
        ("command: [x]\n  priority: urgent", "critical, high, normal or low"),
        ("command: [x]\n  parallelism: 0", "at least 1"),
        ("command: [x]\n  hermetic: {timeout: soon}", "a duration"),
        ("command: [x]\n  hermetic: {max_memory: lots}", "a size"),
        ("command: [x]\n  hermetic: {clock: true}", "fixed, a moment, or a number of seconds"),
        ("command: [x]\n  env: {A-B: x}", "a name of letters"),
        ("command: [x]\n  inputs: src", "[src]"),
        ("command: [true]", "quote it"),
        ('command: "a\\0b"', "a command cannot hold a NUL character"),
        ("command: ['', x]", "the program's name is empty"),
        ("command: [x]\n  hermetic: {timeout: 0s}", "'timeout' must be more than 0"),
        ("command: [x]\n  inputs: [!old/**]", "quote a text value"),
        ("command: [x]\n  inputs:\n    - !old/**", "quote a text value"),
        ("command: [x]\n  inputs: [*.c]", "quote it"),
    ],
)
def test_the_schema_speaks(body: str, said: str) -> None:
    """Values of a wrong kind are told by what was expected."""
    with pytest.raises(UsageError) as caught:
        graph_of(f"target a:\n  {body}\n")
    assert said in str(caught.value)


def test_every_key_of_the_schema_is_described() -> None:
    """Editors show a description for each key of a target."""
    from tests.project.sample import SCHEMA

    def keys(schema: dict[str, object]) -> list[object]:
        found: list[object] = []
        for name in ("properties", "patternProperties", "$defs"):
            for child in dict(schema.get(name, {})).values():  # type: ignore[call-overload]
                found += [child, *keys(child)]
        return found

    for key in keys(SCHEMA):
        assert isinstance(key, dict)
        assert "$ref" in key or len(key["description"]) > 20, key
