"""A real project, as its authors published it, built by a Builderfile on a service's workers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.debian_source import NoSourceError, fetched
from tests.e2e.service import FROM_SOURCE, Service, environment

pytestmark = pytest.mark.slow

LUA = """\
vars:
  flags: [-O2, -std=gnu99, -DLUA_COMPAT_5_3, -DLUA_USE_POSIX]

defaults:
  hermetic: {timeout: 2m, max_memory: 1GiB}

target objects:
  foreach: ["src/*.c", "!src/lua.c", "!src/luac.c"]
  inputs: ["src/*.h"]
  outputs: ["build/obj/{{stem}}.o"]
  command: [gcc, "{{flags}}", -c, "{{file}}", -o, "build/obj/{{stem}}.o"]

target library:
  inputs: [":objects"]
  outputs: [build/liblua.a]
  command: ar crD /tmp/liblua.a build/obj/*.o && cp /tmp/liblua.a build  # ar leaves traces beside

target lua:
  matrix: {program: [lua, luac]}
  inputs: [":library", "src/{{program}}.c", "src/*.h"]
  outputs: ["build/{{program}}"]
  command: gcc {{flags}} src/{{program}}.c build/liblua.a -lm -o build/{{program}}

target test:
  test: true
  inputs: [":lua"]
  command: |
    echo 'print(("lua"):rep(3, " "), 7 // 2, _VERSION)' > /tmp/t.lua
    build/luac -o /tmp/t.out /tmp/t.lua
    test "$(build/lua /tmp/t.out)" = "lua lua lua\t3\tLua 5.4"
"""
TARGETS = 36


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc here")
    try:
        root = fetched("lua5.4", tmp_path_factory.mktemp("lua"))
    except NoSourceError as error:
        pytest.skip(f"Debian's sources: {error}")
    (root / "Builderfile").write_text(LUA)
    return root


def bldr(where: Path, home: Path, *arguments: str) -> str:
    ran = subprocess.run(
        [*FROM_SOURCE, *arguments],
        cwd=where,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_lua(service: Service, source: Path, home: Path, tmp_path: Path) -> None:
    """Every action on a worker, none uses what it does not declare, the tests pass; from another
    checkout everything is a hit, with the same bytes; and one changed line is one action."""
    remote = ("--remote", "--coordinator", service.coordinator, "--hermetic-audit")
    first = bldr(source, home, "test", *remote)
    audits = [line for line in first.splitlines() if ": audit: " in line]
    assert len(audits) == TARGETS
    assert all("all of them declared" in line for line in audits), first
    assert first.count("Executing on worker-") == TARGETS, first
    assert "[INFO] Tests: 1 passed\n" in first
    program = source / "build" / "lua"
    printed = subprocess.run([program, "-e", "print(2^10)"], capture_output=True, check=True)
    assert printed.stdout == b"1024.0\n"

    other = tmp_path / "other"
    shutil.copytree(source, other, ignore=shutil.ignore_patterns("build", ".builder"))
    second = bldr(other, home, "test", *remote)
    assert second.count("Cache hit: ") == TARGETS
    assert (other / "build" / "lua").read_bytes() == program.read_bytes()

    with (other / "src" / "lua.c").open("a") as file:
        file.write("/* changed */\n")
    third = bldr(other, home, "build", "lua", *remote)
    assert third.count("Executing on worker-") == 1
    assert "input src/lua.c changed" in bldr(other, home, "explain", "lua/lua")
