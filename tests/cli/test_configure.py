"""`builder remote configure`: the file, the difference, and what is refused."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from builder.base.errors import UsageError
from builder.cli.configure import configure

TEXT = """\
role: all
pool:
  min: 2   # never fewer
  max: 20
"""
AWS = """\
providers:
  aws: {region: r, image: ami-0123456789abcdef0, worker_config: worker.yaml}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "worker.yaml").write_text("role: worker\n")
    path = tmp_path / "service.yaml"
    path.write_text(TEXT)
    path.chmod(0o640)
    return path


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(configure, ["--config", str(file), *arguments])


def test_the_difference_is_shown_and_written(file: Path) -> None:
    """Comments and permissions stay."""
    done = run(file, "--min", "4", "--autoscale")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "-  min: 2   # never fewer" in lines
    assert "+  min: 4   # never fewer" in lines
    assert "+  autoscale: true" in lines
    assert file.read_text() == TEXT.replace("min: 2", "min: 4") + "  autoscale: true\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in sorted(file.parent.iterdir())] == ["service.yaml", "worker.yaml"]


def test_spot_goes_to_the_provider_that_is_chosen(file: Path) -> None:
    file.write_text(TEXT + AWS)
    done = run(file, "--provider", "aws", "--spot", "--spot-max-price", "0.2")
    assert done.exit_code == 0, done.output
    assert "spot: true" in file.read_text()
    assert "spot_max_price: 0.2" in file.read_text()
    assert run(file, "--on-demand-base", "3").exit_code == 0
    assert "on_demand_base: 3" in file.read_text()


def test_a_pool_is_named_where_there_are_several(file: Path) -> None:
    """Its own entry of the list changes, also below its own providers."""
    own = AWS.replace("\n", "\n    ").rstrip()
    pools = f"pools:\n  - name: gpu   # cards\n    max: 2\n    provider: aws\n    {own}\n"
    file.write_text(TEXT + pools)
    done = run(file, "--pool", "gpu", "--min", "0", "--max", "4", "--spot")
    assert done.exit_code == 0, done.output
    after = yaml.safe_load(file.read_text())
    assert "  - name: gpu   # cards\n" in file.read_text()
    assert (after["pool"], after["pools"][0]["max"]) == ({"min": 2, "max": 20}, 4)
    assert (after["pools"][0]["min"], after["pools"][0]["providers"]["aws"]["spot"]) == (0, True)
    assert run(file, "--pool", "default", "--min", "3").exit_code == 0
    assert "min: 3   # never fewer" in file.read_text()
    unknown = run(file, "--pool", "gpuu", "--min", "3")
    assert isinstance(unknown.exception, UsageError)
    assert "no pool 'gpuu'; did you mean 'gpu'?" in str(unknown.exception)


def test_a_dry_run_writes_nothing(file: Path) -> None:
    done = run(file, "--set", "logging.level=debug", "--dry-run")
    assert "+  level: debug" in done.output.splitlines()
    assert file.read_text() == TEXT


def test_what_is_so_already_changes_nothing(file: Path) -> None:
    assert "nothing to change" in run(file, "--min", "2").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--min", "30"], "pool"),
        (["--set", "pool.mni=3"], "min"),
        (["--set", "pool.min"], "KEY=VALUE"),
        (["--set", "pool.min=["], "no YAML value"),
        (["--set", "role.more=1"], "role"),
        (["--spot"], "providers.local"),
        ([], "say what to change"),
    ],
)
def test_what_would_not_be_valid_is_not_written(
    file: Path, arguments: list[str], said: str
) -> None:
    """One error that speaks of the file itself; the file is as it was."""
    done = run(file, *arguments)
    assert isinstance(done.exception, UsageError), done.output
    assert said in str(done.exception)
    assert ".new" not in str(done.exception)
    assert file.read_text() == TEXT


def test_without_a_file_there_is_nothing_to_change() -> None:
    done = CliRunner().invoke(configure, ["--min", "4"])
    assert "--config FILE" in str(done.exception)
