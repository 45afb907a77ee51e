"""What an action writes is bounded, in bytes and in files, as an outcome of its own."""

import os
from pathlib import Path

import pytest

from builder.sandbox.interface import Limits, Outcome, Sandbox
from builder.sandbox.kernel.quota import INTERVAL_S, MAX_DEPTH, Quota, exceeds
from tests.sandbox.support import python, shell

MIB = 1 << 20


async def test_writer_that_goes_on_is_ended(sandbox: Sandbox, tmp_path: Path) -> None:
    """An action over its limit ends while it still runs, whatever it would have done next."""
    script = "echo early; mkdir d; head -c 3M /dev/zero > d/x; chmod 0 d; sleep 60"
    done = await shell(sandbox, tmp_path, script, limits=Limits(disk_bytes=MIB))
    assert done.exit.outcome is Outcome.DISK_FULL
    assert done.exit.message == "disk full: it wrote more than 1MiB"
    assert "disk=1MiB (watched)" in done.exit.limits
    assert done.out == "early\n"
    assert done.exit.usage.wall_s < 30


async def test_quick_writer_is_found_at_its_end(sandbox: Sandbox, tmp_path: Path) -> None:
    """Who is done before anybody looks is looked at afterwards."""
    done = await shell(
        sandbox, tmp_path, "head -c 3M /dev/zero > x", limits=Limits(disk_bytes=2 * MIB)
    )
    assert done.exit.outcome is Outcome.DISK_FULL


async def test_files_without_names_are_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    """A file that is removed while it is open takes its place on the disk as before."""
    script = "exec 3> x; rm x; (exec 4>y; rm y; head -c 3M /dev/zero >&4; sleep 60) & "
    script += "echo written >&3; wait"
    done = await shell(sandbox, tmp_path, script, limits=Limits(disk_bytes=MIB))
    assert done.exit.outcome is Outcome.DISK_FULL


async def test_files_are_counted(sandbox: Sandbox, tmp_path: Path) -> None:
    """Many empty files are too much as well."""
    script = "for n in range(101): open(f'f{n}', 'w').close()"
    done = await python(sandbox, tmp_path, script, limits=Limits(disk_files=100))
    assert done.exit.outcome is Outcome.DISK_FULL
    assert "100 files" in done.exit.message


async def test_what_fits_is_no_matter(sandbox: Sandbox, tmp_path: Path) -> None:
    """Inputs, deleted and sparse files do not count."""
    script = "head -c 3M /dev/zero > y; rm y; truncate -s 1G sparse; cat big | wc -c"
    done = await shell(
        sandbox, tmp_path, script, files={"big": "x" * 2 * MIB}, limits=Limits(disk_bytes=MIB)
    )
    assert (done.exit.outcome, done.out.strip()) == (Outcome.EXITED, str(2 * MIB))


def test_bottomless_trees_are_too_much(tmp_path: Path) -> None:
    """A tree that is only there to hide something is not followed for ever."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 1):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    assert exceeds(str(tmp_path), None, None)


@pytest.mark.parametrize(("files", "over"), [(3, False), (2, True)])
def test_counting(tmp_path: Path, files: int, over: bool) -> None:
    """Directories count as files; links are not followed."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("")
    (tmp_path / "d/l").symlink_to("/usr")
    assert exceeds(str(tmp_path), None, files) is over


def test_one_look_at_a_time(tmp_path: Path) -> None:
    """While it goes on, the one who asks comes again soon: it may have found something."""
    (tmp_path / "x").write_bytes(bytes(2 * MIB))
    quota = Quota(str(tmp_path), MIB, None, os.getpid(), frozenset())
    now = quota.next
    assert not quota.due(now - INTERVAL_S)
    assert [quota.due(now), quota.due(now), quota.due(now + INTERVAL_S)] == [True, False, False]
    assert now < quota.next <= now + 2 * INTERVAL_S
    quota.look()
    assert quota.over
    assert not quota.due(quota.next)
