"""Commands from clients, checked."""

import pytest

from builder.base.errors import InvalidArgumentError
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.worker.command import Kind, Output, plan


def command(**fields: object) -> pb.Command:
    return pb.Command(arguments=["cc"], **fields)  # type: ignore[arg-type]


def test_outputs_are_relative_to_the_working_directory() -> None:
    """The name stays the client's own; the path is from the input root."""
    found = plan(command(working_directory="a/b", output_paths=["x/y", "../z"]))
    assert found.outputs == (
        Output("x/y", "a/b/x/y", Kind.ANY),
        Output("../z", "a/z", Kind.ANY),
    )
    assert found.output_parents == ("a/b/x", "a")


def test_output_paths_silence_the_old_fields() -> None:
    """REAPI 2.1: with output_paths, output_files and output_directories are ignored."""
    found = plan(command(output_paths=["new"], output_files=["old"], output_directories=["d"]))
    assert found.outputs == (Output("new", "new", Kind.ANY),)


def test_old_fields_say_what_kind_it_is() -> None:
    found = plan(command(output_files=["f"], output_directories=["", "d"]))
    assert found.outputs == (
        Output("f", "f", Kind.FILE),
        Output("", "", Kind.DIRECTORY),
        Output("d", "d", Kind.DIRECTORY),
    )


def test_an_output_named_twice_is_one_output() -> None:
    assert len(plan(command(output_paths=["a", "a"])).outputs) == 1


@pytest.mark.parametrize(
    ("form", "tree", "directory"),
    [
        (pb.Command.TREE_ONLY, True, False),
        (pb.Command.DIRECTORY_ONLY, False, True),
        (pb.Command.TREE_AND_DIRECTORY, True, True),
    ],
)
def test_directory_formats(
    form: pb.Command.OutputDirectoryFormat, tree: bool, directory: bool
) -> None:
    found = plan(command(output_directory_format=form))
    assert (found.wants_tree, found.wants_directory) == (tree, directory)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (pb.Command(), "no program"),
        (pb.Command(arguments=[""]), "no program"),
        (pb.Command(arguments=["a\0b"]), "NUL"),
        (command(working_directory="/etc"), "working directory '/etc' is absolute"),
        (command(working_directory="a/../.."), "leads out of the input root"),
        (command(output_paths=["/etc/passwd"]), "output path '/etc/passwd' is absolute"),
        (command(output_paths=["../x"]), "leads out of the input root"),
        (command(working_directory="w", output_files=["a/../../../x"]), "leads out"),
        (command(output_files=["."]), "is the input root"),
        (command(output_paths=["o" * 256]), "output path 'ooo.* a name over 255 bytes"),
        (command(output_paths=["d/" * 201]), "more than 200 levels"),
        (command(working_directory="é" * 128), "working directory 'éé.* a name over 255 bytes"),
        (command(output_files=["a"], output_directories=["a"]), "as output file and as directory"),
        (
            command(environment_variables=[pb.Command.EnvironmentVariable(name="A=B", value="")]),
            "cannot name",
        ),
        (
            command(environment_variables=[pb.Command.EnvironmentVariable(name="A")] * 2),
            "set twice",
        ),
    ],
)
def test_wrong_commands_are_refused_by_name(wrong: pb.Command, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        plan(wrong)
