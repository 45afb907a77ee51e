"""`builder config`."""

import json
from pathlib import Path

import pytest

from builder.cli.main import run
from builder.host.resources import schema_text

CONFIGS = Path(__file__).parents[2] / "configs"


class Ran:
    """One command line, run in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *args: str) -> None:
        self.code = run(["config", *args], "builder")
        self.out, self.err = capfd.readouterr()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "COORDINATOR", "STORE", "LOG_LEVEL", "TOKEN", "JOIN_TOKEN"):
        monkeypatch.delenv(f"BUILDER_{name}", raising=False)


def test_check_of_a_good_file(capfd: pytest.CaptureFixture[str]) -> None:
    """One line, with the role."""
    file = str(CONFIGS / "single-host.yaml")
    ran = Ran(capfd, "check", file)
    assert (ran.code, ran.out, ran.err) == (0, f"{file}: valid (role all)\n", "")


def test_check_tells_what_is_open_to_others(capfd: pytest.CaptureFixture[str]) -> None:
    """Accepted, but not in silence."""
    ran = Ran(capfd, "check", str(CONFIGS / "coordinator.yaml"))
    assert ran.code == 0
    assert ran.out.splitlines()[1:] == [
        "warning: coordinator.listen 0.0.0.0:9000 is open to other machines (insecure: true)",
        "warning: reapi.listen 0.0.0.0:9001 is open to other machines (insecure: true)",
    ]


def test_check_of_a_file_for_another_machine(capfd: pytest.CaptureFixture[str]) -> None:
    """Its secrets need not be here."""
    file = str(CONFIGS / "production.yaml")
    assert Ran(capfd, "check", "--elsewhere", file).code == 0
    ran = Ran(capfd, "check", file)
    assert ran.code == 2
    assert "the secret file /etc/builder/join-token cannot be read" in ran.err


def test_check_of_a_wrong_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every mistake with its line and column, and exit code 2."""
    file = tmp_path / "c.yaml"
    file.write_text("pool:\n  min: two\n  maximum: 4\n")
    ran = Ran(capfd, "check", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(
        f"error: {file}:2:8: 'pool.min' must be a whole number, not 'two'\n"
        "    2 |   min: two\n"
        "      |        ^\n"
        f"{file}:3:3: unknown key 'maximum' in 'pool'; "
    )


def test_show_of_a_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value with its origin; what is shown is a file that can be checked."""
    monkeypatch.setenv("BUILDER_LOG_LEVEL", "debug")
    file = tmp_path / "c.yaml"
    file.write_text("pool:\n  min: 3\nworker: {join_token: hush}\n")
    ran = Ran(capfd, "show", str(file))
    assert (ran.code, ran.err) == (0, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert f"min: 3 # {file}:2" in lines
    assert "max: 20 # default" in lines
    assert f"join_token: (hidden) # {file}:3" in lines
    assert "level: debug # environment variable BUILDER_LOG_LEVEL" in lines
    assert "hush" not in ran.out
    again = tmp_path / "again.yaml"
    again.write_text(ran.out)
    assert Ran(capfd, "check", str(again)).code == 0


def test_show_as_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """For programs; --config names the file as well."""
    file = tmp_path / "c.yaml"
    file.write_text("pool: {min: 3}\nclient: {token: hush}\n")
    ran = Ran(capfd, "show", "--json", "--config", str(file))
    entries = json.loads(ran.out)
    assert entries["pool.min"] == {"value": 3, "origin": f"{file}:1"}
    assert entries["client.token"]["value"] == "(hidden)"
    assert entries["role"] == {"value": "all", "origin": "default"}


def test_show_with_values_on_top(capfd: pytest.CaptureFixture[str]) -> None:
    """As the flags of other commands do; what is no setting is refused."""
    ran = Ran(capfd, "show", "--json", "--set", "pool.min=4", "--set", "worker.platform.gpu=1")
    entries = json.loads(ran.out)
    assert entries["pool.min"] == {"value": 4, "origin": "command line"}
    assert entries["worker.platform"] == {"value": {"gpu": "1"}, "origin": "command line"}
    ran = Ran(capfd, "show", "--set", "pool.mim=4")
    assert (ran.code, ran.err) == (
        2,
        "error: command line: unknown key 'pool.mim'; did you mean 'pool.min'?\n",
    )
    ran = Ran(capfd, "show", "--set", "pool.min")
    assert ran.code == 2
    assert "'pool.min' is no KEY=VALUE: write for example pool.min=4" in ran.err


def test_show_without_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    """The built-in defaults."""
    ran = Ran(capfd, "show")
    assert ran.code == 0
    comments = {line.partition("  # ")[2] for line in ran.out.splitlines() if line[-1] != ":"}
    assert {comment.rpartition("# ")[2] for comment in comments} == {"default", "not set"}


def test_schemas(capfd: pytest.CaptureFixture[str]) -> None:
    """As they stand in `schema/`."""
    assert Ran(capfd, "schema").out == schema_text("config.schema.json")
    ran = Ran(capfd, "schema", "--builderfile")
    assert ran.out == schema_text("builderfile.schema.json")
    json.loads(ran.out)


def test_help_tells_the_variables(capfd: pytest.CaptureFixture[str]) -> None:
    """All that the environment can set."""
    assert (
        "BUILDER_COORDINATOR   client.coordinator, worker.coordinator" in Ran(capfd, "--help").out
    )


def test_the_environment_names_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BUILDER_CONFIG holds for every command; --config goes before it."""
    for name, least in (("a.yaml", 3), ("b.yaml", 4)):
        (tmp_path / name).write_text(f"pool: {{min: {least}}}\n")
    monkeypatch.setenv("BUILDER_CONFIG", str(tmp_path / "a.yaml"))
    first = json.loads(Ran(capfd, "show", "--json").out)
    second = json.loads(Ran(capfd, "show", "--json", "--config", str(tmp_path / "b.yaml")).out)
    assert (first["pool.min"]["value"], second["pool.min"]["value"]) == (3, 4)
