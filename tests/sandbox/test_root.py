"""A prepared root: actions see its system, and nothing of the host's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.base.errors import UsageError
from builder.sandbox.interface import Outcome
from builder.sandbox.native import open_sandbox
from tests.sandbox.support import shell

PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/ls")


def new_root(base: Path) -> Path:
    """A small merged-/usr system: three programs and their libraries."""
    root = base / "a [root]"
    for name in ("usr/bin", "usr/lib", "etc/alternatives"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to("usr/lib" if name == "lib64" else f"usr/{name}")
    (root / "etc/os-release").write_text("ID=prepared\n")
    (root / "etc/shadow").write_text("hidden")
    for program in PROGRAMS:
        shutil.copy(os.path.realpath(program), root / "usr/bin" / Path(program).name)
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in {word for word in told.split() if word.startswith("/")}:
            if "ld-linux" in library:
                shutil.copy(library, root / "usr/lib")
                continue
            target = root / "usr/lib" / Path(library).parent.name
            target.mkdir(exist_ok=True)
            shutil.copy(library, target)
    return root


async def test_actions_see_the_prepared_system(open_place: Path, tmp_path: Path) -> None:
    """Its programs run with its libraries, its files of /etc are shown as the host's would be."""
    root = new_root(open_place)
    script = "cat /etc/os-release; ls /usr /usr/bin; ls /etc/shadow; /usr/bin/env"
    async with open_sandbox(ready=1, root=str(root)) as sandbox:
        done = await shell(sandbox, tmp_path, script)
    assert done.exit.outcome is Outcome.EXITED, done
    assert done.out.splitlines() == (
        ["ID=prepared", "/usr:", "bin", "lib", "", "/usr/bin:", "cat", "ls", "sh"]
    ), done
    assert "/etc/shadow" in done.err
    assert "env" in done.err  # the host's is not there
    assert sorted(path.name for path in (root / "usr/bin").iterdir()) == ["cat", "ls", "sh"]


async def test_root_without_a_system_is_refused(tmp_path: Path) -> None:
    """A directory that holds no system is told with how to make one."""
    with pytest.raises(UsageError, match="debootstrap"):
        async with open_sandbox(root=str(tmp_path)):
            pass
