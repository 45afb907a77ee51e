"""The one file: what is in it, how it starts, and that a user with nothing can use it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from build_zipapp import NEWER_SYNTAX
from tests.e2e.service import ROOT, environment, running

pytestmark = pytest.mark.slow
NOBODY = 65534


@pytest.fixture(scope="module")
def zipapp() -> Path:
    """dist/builder.pyz of the sources as they are."""
    build = [sys.executable, ROOT / "build_zipapp.py"]
    done = subprocess.run(build, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "dist" / "builder.pyz"


@pytest.fixture
def stranger(zipapp: Path) -> Iterator[Path]:
    """A home with the zipapp and the example, of a user that is not root."""
    home = Path(tempfile.mkdtemp(prefix="builder-stranger-"))
    shutil.copy(zipapp, home)
    shutil.copytree(ROOT / "examples" / "remote-execution", home / "example", symlinks=True)
    if os.getuid() == 0:
        for path in [home, *home.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    yield home
    shutil.rmtree(home)


def run(
    program: Path, *arguments: str, home: Path, **how: object
) -> "subprocess.CompletedProcess[str]":
    variables = {**environment(home), "PYTHONPATH": ""}
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        **how,  # type: ignore[call-overload]  # user, group and cwd as they come
    )


def test_the_archive_is_the_same_wherever_it_is_made(zipapp: Path) -> None:
    """Fixed times and modes, no entry twice, and no folder of this machine in any entry."""
    with zipfile.ZipFile(zipapp) as archive:
        items = archive.infolist()
        assert {item.date_time for item in items} == {(1980, 1, 1, 0, 0, 0)}
        assert {item.external_attr >> 16 for item in items} == {0o100644}
        names = [item.filename for item in items]
        assert len(names) == len(set(names))
        here = str(ROOT).encode()
        assert [name for name in names if here in archive.read(name)] == []


def test_every_module_is_compiled_and_no_time_is_compared(zipapp: Path) -> None:
    """Each source has byte code beside it that this Python takes without looking at the source.

    Sources in the syntax of a newer Python are for that one, and have none.
    """
    newer = re.compile(NEWER_SYNTAX)
    with zipfile.ZipFile(zipapp) as archive:
        names = set(archive.namelist())
        sources = [n for n in names if n.startswith("site-packages/") and n.endswith(".py")]
        sources = [name for name in sources if not newer.search(name)]
        assert len(sources) > 500
        for name in sources:
            compiled = importlib.util.cache_from_source(name)
            assert compiled in names, name
        ours = importlib.util.cache_from_source("site-packages/builder/cli/main.py")
        head = archive.read(ours)[:8]
    assert head[:4] == importlib.util.MAGIC_NUMBER
    assert int.from_bytes(head[4:], "little") == 0b01, "hash-based, and never checked"


def test_schemas_and_protos_are_inside(zipapp: Path) -> None:
    """What `schema/` holds is read from the package at run time."""
    with zipfile.ZipFile(zipapp) as archive:
        inside = {n.removeprefix("site-packages/builder/_schema/") for n in archive.namelist()}
    there = {str(p.relative_to(ROOT / "schema")) for p in (ROOT / "schema").rglob("*.*")}
    assert {path for path in there if (ROOT / "schema" / path).is_file()} <= inside


def test_it_unpacks_once_and_then_starts_from_there(zipapp: Path, home: Path) -> None:
    """The first start fills SHIV_ROOT, the second leaves it as it is."""
    first = run(zipapp, "version", home=home)
    assert first.returncode == 0, first.stderr
    assert re.match(r"builder \d+\.\d+", first.stdout)
    (unpacked,) = (home / ".shiv").glob("builder.pyz_*")
    before = unpacked.stat().st_mtime_ns
    assert run(zipapp, "version", home=home).stdout == first.stdout
    assert unpacked.stat().st_mtime_ns == before


def test_a_root_that_cannot_be_written_is_one_line(stranger: Path) -> None:
    """Where it cannot unpack, it says where and which variable moves it."""
    closed = stranger / "closed"
    closed.mkdir(mode=0o500)
    variables = {**environment(stranger), "SHIV_ROOT": str(closed / "shiv")}
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    done = subprocess.run(
        [sys.executable, str(stranger / "builder.pyz"), "version"],
        env=variables,
        capture_output=True,
        text=True,
        cwd=stranger,
        **user,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: cannot unpack to \S+: .*set SHIV_ROOT\n", done.stderr)


def test_a_user_that_is_not_root_builds_the_example(stranger: Path) -> None:
    """In the sandbox, with namespaces, by nothing but the file."""
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    pyz = stranger / "builder.pyz"
    done = run(pyz, "build", "cpp_project", home=stranger, cwd=stranger / "example", **user)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hermetic: namespaces" in done.stdout
    again = run(pyz, "build", "cpp_project", home=stranger, cwd=stranger / "example", **user)
    assert again.returncode == 0, again.stdout + again.stderr


def test_it_serves_with_workers_of_the_same_file(zipapp: Path, tmp_path: Path) -> None:
    """`builder.pyz serve` is ready, and its workers are processes that connected."""
    program = (sys.executable, str(zipapp))
    with running(tmp_path, program, variables={"PYTHONPATH": ""}) as service:
        status = service.until("two workers", lambda status: status.workers.total == 2)
        commands = [Path(f"/proc/{w.pid}/cmdline").read_bytes() for w in status.worker]
    assert all(b"builder.pyz" in command for command in commands), commands
