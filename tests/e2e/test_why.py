"""Three planted problems, and the commands by which a stranger finds each: README, "Why?"."""

import re
import shutil
from pathlib import Path

import pytest

from tests.e2e.service import Service
from tests.e2e.test_walkthrough import bldr

pytestmark = pytest.mark.slow
PROJECT = """
target gpu:
  platform: {Pool: gpu}
  command: ["true"]

target stamped:
  inputs: ["src/**"]
  outputs: [out]
  command: cat src/* > out

target many:
  inputs: ["many/**"]
  command: ["true"]
"""


@pytest.fixture
def where(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.c").write_text("int main;\n")
    (folder / "Builderfile").write_text(PROJECT)
    return folder


def ask(where: Path, service: Service, *command: str) -> str:
    said = bldr(where, "remote", *command, "--coordinator", service.coordinator)
    return said.stdout + said.stderr


def build(where: Path, service: Service, target: str) -> "tuple[int, str]":
    said = bldr(where, "build", target, "--remote", "--coordinator", service.coordinator)
    return said.returncode, said.stdout + said.stderr


def newest(where: Path, service: Service, target: str) -> str:
    """The id of the last action of a target, as the list shows it."""
    lines = ask(where, service, "actions").splitlines()
    return next(line for line in lines if target in line).split()[0]


def test_no_worker_for_a_platform(where: Path, service: Service) -> None:
    """The build says what is asked for and what there is; so does the list of failures."""
    code, said = build(where, service, "gpu")
    assert code == 1
    assert "Pool=gpu" in said
    listed = ask(where, service, "actions", "--failures")
    row = next(line for line in listed.splitlines() if "gpu" in line)
    assert "Pool" in row
    assert "default" in row  # the nearest that is there


def test_an_input_that_spoils_the_cache(where: Path, service: Service) -> None:
    """A file that something writes anew each time: both sides of it are shown."""
    for stamp in ("Monday", "Tuesday"):
        (where / "src" / "stamp.txt").write_text(f"built on {stamp}\n")
        code, said = build(where, service, "stamped")
        assert code == 0, said
        assert "Cache miss" in said
    told = ask(where, service, "explain-miss", newest(where, service, "stamped"))
    assert "input src/stamp.txt" in told
    assert "-built on Monday" in told
    assert "+built on Tuesday" in told
    assert "input src/stamp.txt" in bldr(where, "explain", "stamped").stdout.replace("'", "")


def test_a_slow_input_tree(where: Path, service: Service) -> None:
    """The action's own page tells how long its inputs took, beside what its command took."""
    (where / "many").mkdir()
    for number in range(2000):
        (where / "many" / f"{number}.txt").write_text(str(number))
    code, said = build(where, service, "many")
    assert code == 0, said
    told = ask(where, service, "action", newest(where, service, "many"))
    assert "Inputs (2000 files" in told
    for stage in ("queued", "inputs", "execution", "outputs"):
        assert re.search(rf"^  {stage}: [\d.]+m?s$", told, re.MULTILINE), told


def test_a_target_that_somebody_else_built(where: Path, service: Service) -> None:
    """A checkout without a history asks the coordinator: why it ran, what differs here."""
    (where / "src" / "stamp.txt").write_text("one")
    assert build(where, service, "stamped")[0] == 0
    (where / "src" / "stamp.txt").write_text("two")
    assert build(where, service, "stamped")[0] == 0
    other = where.parent / "other"
    shutil.copytree(where, other, ignore=shutil.ignore_patterns(".builder"))
    asked = ("explain", "stamped", "--remote", "--coordinator", service.coordinator)
    again = bldr(where, "verify", "stamped", "--remote", "--coordinator", service.coordinator)
    assert again.returncode == 0, again.stdout + again.stderr  # runs that somebody ordered
    first, *rest = bldr(other, *asked).stdout.splitlines()
    assert re.fullmatch(r"stamped: ran there, succeeded, \d+[sm] ago on worker-\d+", first)
    assert rest == ["  because input src/stamp.txt changed", "  since then nothing has changed"]
    (other / "src" / "new.c").write_text("")
    text = (other / "Builderfile").read_text()
    (other / "Builderfile").write_text(text.replace("cat src/* > out", "cat src/*.c > out"))
    assert bldr(other, *asked).stdout.splitlines()[2:] == [
        "  since then input src/new.c is new",
        "  since then command cat src/* > out → cat src/*.c > out",
    ]
    (other / "Builderfile").write_text(text.replace("target many", "target never"))
    said = bldr(other, "explain", "never", "--remote", "--coordinator", service.coordinator)
    assert said.stdout == "the coordinator does not remember that never ran\n"


def test_a_file_that_is_gone_after_the_build(where: Path, service: Service) -> None:
    """What a command wrote beside its outputs is told of, when it ran and where it was."""
    text = "target t: {outputs: [kept], command: 'mkdir more; touch kept lost more/file'}\n"
    (where / "Builderfile").write_text(text)
    code, said = build(where, service, "t")
    assert code == 0, said
    assert "[WARN] lost, more/ are no outputs of 't' and not kept; add to 'outputs'" in said
    assert "[WARN]" not in build(where, service, "t")[1]
