"""Which worker may serve an action, and what it is asked. No process is started here."""

from dataclasses import replace
from pathlib import Path

import pytest

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.persistent import JSON, PROTO, Persistent, known_as, persistent
from builder.sandbox.interface import AuditLevel, Limits, Network, SandboxSpec
from builder.worker.persistent.command import (
    FLAG_FILE,
    UnfitError,
    work_request,
    worker_command,
)

SPEC = SandboxSpec(("tool", "-a", "@args", "--flagfile=more", "-b"), "", "")


def node(data: str = "x", tool: bool = False) -> pb.FileNode:
    found = pb.FileNode(digest=pb.Digest(hash=data * 64, size_bytes=1))
    if tool:
        found.node_properties.properties.add(name="bazel_tool_input")
    return found


FILES = {"tool": node("a", True), "args": node("b"), "more": node("c")}


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ({}, None),
        ({"supports-workers": "0"}, None),
        ({"requires-worker-protocol": "json"}, None),
        ({"supports-workers": "1"}, Persistent()),
        ({"supports-workers": "true"}, Persistent()),
        ({"persistentWorkerKey": "k"}, Persistent(key="k")),
        (
            {"persistentWorkerKey": "k", "persistentWorkerProtocol": "json"},
            Persistent(JSON, key="k"),
        ),
        ({"supports-workers": "1", "requires-worker-protocol": "proto"}, Persistent(PROTO)),
        ({"supports-multiplex-workers": "1"}, Persistent()),
        (
            {"supports-multiplex-workers": "1", "supports-multiplex-sandboxing": "1"},
            Persistent(together=True),
        ),
        (
            {"supports-workers": "1", "supports-worker-cancellation": "1"},
            Persistent(cancellable=True),
        ),
    ],
)
def test_properties_ask_for_a_worker(properties: dict[str, str], wanted: Persistent | None) -> None:
    assert persistent(properties.items()) == wanted


@pytest.mark.parametrize(
    "properties",
    [
        {"supports-workers": "yes"},
        {"supports-workers": "1", "requires-worker-protocol": "xml"},
        {"persistentWorkerKey": "k", "persistentWorkerProtocol": "protobuf"},
    ],
)
def test_a_wrong_property_is_refused_by_name(properties: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError, match=f"property {list(properties)[-1]} is"):
        persistent(properties.items())


def test_arguments_are_split_as_bazel_does() -> None:
    """Flag files are the request, wherever they stand; the rest starts the program."""
    command = worker_command(Persistent(), "", SPEC, FILES)
    assert command.argv == ("tool", "-a", "-b", "--persistent_worker")
    assert command.tools == {"tool"}


def test_tools_can_be_named_too() -> None:
    """By clients that cannot mark them: files, and directories with all below."""
    files = {"t/a": node(), "t/b/c": node(), "tb": node(), "one": node(), "args": node()}
    wish = persistent({"supports-workers": "1", "persistent-worker-tools": "one,t/"}.items())
    assert wish is not None
    assert worker_command(wish, "", SPEC, files).tools == {"t/a", "t/b/c", "one"}


def test_the_scheduler_knows_programs_by_what_it_knows_itself() -> None:
    """The client's key, else the mnemonic; instances share nothing, and nobody else has a name."""

    def name(properties: dict[str, str], instance: str = "", mnemonic: str = "Javac") -> str:
        return known_as(properties.items(), instance, mnemonic)

    keyed, asked = {"persistentWorkerKey": "k"}, {"supports-workers": "1"}
    names = [name(keyed), name(asked), name(keyed, "i"), name(asked, "i"), name(asked, "", "Kt")]
    assert len(set(names)) == len(names)
    assert name(keyed) == name(keyed, mnemonic="Kt") == name({**keyed, **asked, "a": "b"})
    assert {name({}), name({"supports-workers": "0"}), name(asked, "", "")} == {""}
    wish = persistent(keyed.items(), "i", "Javac")
    assert wish is not None
    assert wish.name == name(keyed, "i")


@pytest.mark.parametrize("argument", ["@a", "-flagfile=a", "--flagfile=a", "@@a", "@r//l:x"])
def test_flag_files(argument: str) -> None:
    assert FLAG_FILE.fullmatch(argument)


@pytest.mark.parametrize("argument", ["@", "a@b", "--flagfile=", "---flagfile=a", "flagfile=a"])
def test_what_is_no_flag_file(argument: str) -> None:
    assert not FLAG_FILE.fullmatch(argument)


@pytest.mark.parametrize(
    ("instance", "spec", "files", "wish"),
    [
        ("other", SPEC, FILES, Persistent()),
        ("", replace(SPEC, argv=(*SPEC.argv, "-c")), FILES, Persistent()),
        ("", replace(SPEC, environment={"A": "b"}), FILES, Persistent()),
        ("", replace(SPEC, limits=Limits(memory_bytes=1)), FILES, Persistent()),
        ("", replace(SPEC, required=frozenset({"seccomp"})), FILES, Persistent()),
        ("", SPEC, {**FILES, "tool": node("d", True)}, Persistent()),
        ("", SPEC, {**FILES, "tool2": node("d", True)}, Persistent()),
        ("", SPEC, FILES, Persistent(JSON)),
        ("", SPEC, FILES, Persistent(key="k")),
    ],
)
def test_everything_that_makes_it_is_in_the_key(
    instance: str, spec: SandboxSpec, files: dict[str, pb.FileNode], wish: Persistent
) -> None:
    usual = worker_command(Persistent(), "", SPEC, FILES).key
    assert worker_command(wish, instance, spec, files).key != usual


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        (replace(SPEC, argv=("tool", "-a", "@other", "-b")), {**FILES, "other": node()}),
        (SPEC, {**FILES, "args": node("d")}),
        (SPEC, {**FILES, "new": node()}),
        (replace(SPEC, limits=Limits(wall_s=5)), FILES),
    ],
)
def test_a_request_is_not_in_the_key(spec: SandboxSpec, files: dict[str, pb.FileNode]) -> None:
    """Its files, its arguments and its time may differ."""
    usual = worker_command(Persistent(), "", SPEC, FILES).key
    assert worker_command(Persistent(), "", spec, files).key == usual


@pytest.mark.parametrize(
    ("spec", "files", "why"),
    [
        (replace(SPEC, argv=("tool", "-a")), FILES, "no @file"),
        (SPEC, {"args": node()}, "marked as one of the tool"),
        (replace(SPEC, audit=AuditLevel.FULL), FILES, "audited"),
        (replace(SPEC, network=Network.FULL), FILES, "has a network"),
        (replace(SPEC, deterministic=True), FILES, "deterministic"),
        (replace(SPEC, programs=("sh",)), FILES, "some programs only"),
        (replace(SPEC, clock=0), FILES, "wall clock"),
        (replace(SPEC, limits=Limits(disk_files=1)), FILES, "disk is limited"),
        (replace(SPEC, required=frozenset({"fresh-process"})), FILES, "fresh process"),
        (replace(SPEC, layers=("/image",)), FILES, "has an image"),
        (replace(SPEC, inputs_as_root=True), FILES, "inputs are its root"),
        (replace(SPEC, working_directory="a"), FILES, "working directory"),
    ],
)
def test_what_no_worker_can_serve(
    spec: SandboxSpec, files: dict[str, pb.FileNode], why: str
) -> None:
    with pytest.raises(UnfitError, match=why):
        worker_command(Persistent(), "", spec, files)


def asked(tmp_path: Path, texts: dict[str, str], *argv: str) -> list[str]:
    """The request's arguments."""
    files = {}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        files[name] = node()
    spec = replace(SPEC, argv=("tool", *argv))
    return list(work_request(spec, files, str(tmp_path)).arguments)


def test_files_of_arguments_are_read_line_by_line(tmp_path: Path) -> None:
    """Empty lines count for nothing; spaces are kept; a file may name another."""
    texts = {"args": "-a b\n\n  c\r\n@more\n@@d\n@r//l:x", "more": "e\n"}
    assert asked(tmp_path, texts, "@args") == ["-a b", "  c", "e", "@@d", "@r//l:x"]


def test_a_flagfile_option_stays_as_it_is(tmp_path: Path) -> None:
    """Bazel leaves its reading to the program."""
    assert asked(tmp_path, {"args": "a"}, "-x", "@./args", "--flagfile=args") == [
        "a",
        "--flagfile=args",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [("@args", "names too many files"), ("@../../etc/passwd", "is no file among its inputs")],
)
def test_files_of_arguments_that_cannot_be_read(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UnfitError, match=why):
        asked(tmp_path, {"args": text}, "@args")


def test_arguments_are_text(tmp_path: Path) -> None:
    (tmp_path / "args").write_bytes(b"\xff")
    with pytest.raises(UnfitError, match="UTF-8"):
        work_request(SPEC, {"args": node(), "more": node()}, str(tmp_path))


def test_inputs_are_told_in_order(tmp_path: Path) -> None:
    (tmp_path / "args").touch()
    request = work_request(SPEC, FILES, str(tmp_path))
    assert [one.path for one in request.inputs] == ["args", "more", "tool"]
    assert request.inputs[0].digest == b"b" * 64
