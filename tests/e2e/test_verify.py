"""`bldr verify` on the workers of a real service."""

import re
from pathlib import Path

import pytest

from tests.e2e.service import Service
from tests.e2e.test_walkthrough import bldr

pytestmark = pytest.mark.slow
PROJECT = """
target same: {outputs: [same], command: hostname > same}
target stamped: {outputs: [when], command: date +%s > when}
target standing: {outputs: [then], command: date +%s.%N > then, hermetic: {clock: fixed}}
target sown: {outputs: [seed], command: 'echo "$PYTHONHASHSEED" > seed'}
"""


@pytest.fixture
def where(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Builderfile").write_text(PROJECT)
    return folder


def verify(where: Path, service: Service, *arguments: str) -> tuple[int, str]:
    said = bldr(where, "verify", *arguments, "--remote", "--coordinator", service.coordinator)
    return said.returncode, said.stdout + said.stderr


def test_each_run_has_another_worker(where: Path, service: Service) -> None:
    """Even where one and the same was free for both."""
    code, said = verify(where, service, "same", "--download=none")
    assert code == 0, said
    assert "2 runs made the same bytes" in said
    assert len(set(re.findall(r"Executing on (worker-\d+)", said))) == 2
    assert (where / "same").exists()


def test_a_time_of_day_is_found(where: Path, service: Service) -> None:
    """The runs begin in different seconds; the byte is named, and who made which."""
    code, said = verify(where, service, "stamped")
    assert code == 1, said
    assert re.search(r"stamped: when: run 1 and run 2 differ from byte \d+ on \(", said)
    assert re.search(r"run 1 was on worker-\d+; run 2 was on worker-\d+", said)


def test_a_time_of_day_can_stand_still(where: Path, service: Service) -> None:
    """By the Builderfile: runs in different seconds write the same date."""
    code, said = verify(where, service, "standing")
    assert code == 0, said
    assert (where / "then").read_text() == "315532800.000000000\n"


def test_seeds_vary(where: Path, service: Service) -> None:
    """With --seeds only; they are the run's number."""
    assert verify(where, service, "sown")[0] == 0
    code, said = verify(where, service, "sown", "--seeds")
    assert code == 1, said
    assert "differ from byte 0 on (31 0a and 32 0a; 2 and 2 bytes)" in said
