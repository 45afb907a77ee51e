"""The frame of the command line."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import click
import pytest

from builder.base.errors import BuilderError
from builder.base.version import VERSION
from builder.cli.lazy import Entry, LazyGroup
from builder.cli.main import COMMAND_OF_ROLE, COMMANDS, program, program_name, run
from builder.cli.options import config_option
from builder.config.settings import Role

ROOT = Path(__file__).parents[2]


def builder(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builder", *args],
        cwd=ROOT,
        env={**os.environ, "BUILDER_CONFIG": "", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command_and_imports_none() -> None:
    """Neither the commands nor what they stand on is loaded to describe them."""
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import json, sys; from builder.cli.main import run\n"
                "code = run(['--help'], 'builder')\n"
                "print(json.dumps(sorted(m for m in sys.modules if m.startswith('builder.'))))\n"
                "print(json.dumps([m for m in ('trio', 'yaml', 'jsonschema', 'google.protobuf') "
                "if m in sys.modules]))"
            ),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *help_, loaded, heavy = ran.stdout.splitlines()
    text = "\n".join(help_)
    for name, entry in COMMANDS.items():
        assert f"  {name:<8} {entry.help}\n" in text
    assert "Examples:\n    builder serve " in text
    assert json.loads(heavy) == []
    assert set(json.loads(loaded)) == {
        "builder.base",
        "builder.base.errors",
        "builder.base.nearest",
        "builder.base.version",
        "builder.cli",
        "builder.cli.errors",
        "builder.cli.lazy",
        "builder.cli.main",
    }


def test_without_anything_it_shows_the_help() -> None:
    """A person who types only the name learns what there is."""
    ran = builder()
    assert ran.returncode == 0
    assert ran.stdout == builder("--help").stdout


def test_a_group_alone_shows_its_help() -> None:
    """On standard error, because nothing was done."""
    ran = builder("config")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == builder("config", "--help").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["config", "shwo"], "error: No such command 'shwo'"),
        (["sevre"], "error: no command 'sevre'; did you mean 'serve'? (try 'builder --help')\n"),
        (
            ["xyzzy"],
            f"error: no command 'xyzzy'; there is {', '.join(COMMANDS)} (try 'builder --help')\n",
        ),
        (["--nope"], "error: No such option"),
        (["--config"], "error: Option '--config' requires an argument"),
        (["version", "--nope"], "error: No such option"),
        (["--config", "/nope"], "error: the config file /nope cannot be read: No such file or"),
    ],
)
def test_wrong_arguments(args: list[str], message: str) -> None:
    """One line that says what is wrong, and exit code 2."""
    ran = builder(*args)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(message)
    assert ran.stderr.count("\n") == 1


def test_a_wrong_config_file_ends_with_its_place(tmp_path: Path) -> None:
    """Before any command and any role runs."""
    file = tmp_path / "c.yaml"
    file.write_text("role: worker\nwroker:\n  slots: 4\n")
    for ran in (builder("--config", str(file)), builder(BUILDER_CONFIG=str(file))):
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.startswith(
            f"error: {file}:2:1: unknown key 'wroker'; did you mean 'worker'?\n"
            "    2 | wroker:\n      | ^\n"
        )


def test_a_file_of_a_client_builds_its_targets(tmp_path: Path) -> None:
    """`builder --config FILE` runs the role that the file declares, with what the role needs."""
    (tmp_path / "c.yaml").write_text("role: client\nclient: {targets: [planet]}\n")
    (tmp_path / "Builderfile").write_text(
        "target plant:\n  command: [touch, out]\n  outputs: [out]\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "BUILDER_CONFIG": ""}
    ran = subprocess.run(
        [sys.executable, "-m", "builder", "--config", "c.yaml"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert "'planet'" in ran.stderr
    assert "'plant'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_version() -> None:
    """For people, for scripts, and the same as the package's."""
    assert builder("--version").stdout == f"builder {VERSION}\n"
    assert builder("version").stdout.startswith(f"builder {VERSION}\npython 3.")
    facts = json.loads(builder("version", "--json").stdout)
    assert facts["builder"] == VERSION
    assert facts.keys() == {"builder", "python", "system", "program"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("/usr/bin/bldr", "bldr"),
        ("./builder.pyz", "builder.pyz"),
        ("/x/builder/__main__.py", "builder"),
        ("-c", "builder"),
        ("", "builder"),
    ],
)
def test_program_name(argv0: str, name: str) -> None:
    """Messages call the program as the person did."""
    assert program_name(argv0) == name


def test_every_role_has_its_command() -> None:
    """And every command of a role is in the table."""
    assert COMMAND_OF_ROLE.keys() == set(get_args(Role))
    assert set(COMMAND_OF_ROLE.values()) <= COMMANDS.keys()


@pytest.mark.parametrize(("name", "entry"), COMMANDS.items())
def test_every_command_is_there_and_explains_itself(name: str, entry: Entry) -> None:
    """Its help says at least as much as its line in the table."""
    with click.Context(program, info_name="builder") as ctx:
        command = program.get_command(ctx, name)
        assert command is not None
        with click.Context(command, info_name=name, parent=ctx) as inner:
            text = command.get_help(inner)
    assert command.help
    assert text.startswith(f"Usage: builder {name} ")


def group(**entries: Entry) -> LazyGroup:
    return LazyGroup(entries=entries)


def test_a_command_without_its_module(capfd: pytest.CaptureFixture[str]) -> None:
    """It is told in one line."""
    it = group(gone=Entry("builder.cli.gone", "Is not there."))
    assert run(["gone"], "it", it) == 1
    told = capfd.readouterr().err
    assert told == "error: the command 'gone' is not part of this version of builder\n"


def test_a_command_whose_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line names the package and how to get it."""
    (tmp_path / "needs_much.py").write_text("import no_such_package.inside\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert run(["much"], "it", group(much=Entry("needs_much", "Needs much."))) == 1
    assert capfd.readouterr().err == (
        "error: the command 'much' needs the Python package 'no_such_package', which is not "
        "installed; use builder.pyz, which brings all that it needs, or install it with pip\n"
    )
    with click.Context(program) as ctx, pytest.raises(BuilderError):
        group(much=Entry("needs_much", "Needs much.")).get_command(ctx, "much")


def test_config_may_stand_before_and_behind_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    """Behind it wins."""

    @click.group
    @click.option("--config")
    def outer(config: str | None) -> None:
        """Takes a config."""

    @outer.command
    @config_option
    def inner(config: str | None) -> None:
        click.echo(config)

    for args in (["inner"], ["--config", "a", "inner"], ["--config", "a", "inner", "--config=b"]):
        assert run(args, "it", outer) == 0
    assert capfd.readouterr().out == "\na\nb\n"
