"""A coordinator that is killed in the middle of a build."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.service import FROM_SOURCE, environment, running

pytestmark = pytest.mark.slow

BUILDERFILE = """\
target first: {inputs: [seed], outputs: [out/first], command: "cat seed > out/first"}
target slow:
  inputs: [":first"]
  outputs: [out/slow]
  command: "sleep 1; cat out/first out/first > out/slow"
target last:
  inputs: [":slow"]
  outputs: [out/dir/]
  command: "mkdir out/dir; cp out/slow out/dir/copy"
"""


def test_killed_in_mid_build(tmp_path: Path, home: Path) -> None:
    """With --fallback the build goes on here: it says so, and the bytes are right."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "Builderfile").write_text(BUILDERFILE)
    (root / "seed").write_text("seed\n")
    with running(tmp_path / "service") as service:
        variables = environment(home, BUILDER_COORDINATOR=service.coordinator)
        build = subprocess.Popen(
            [*FROM_SOURCE, "build", "last", "--remote", "--fallback"],
            cwd=root,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert build.stdout
        lines = []
        for line in build.stdout:
            lines.append(line)
            if re.match(r"\[INFO\] slow: Executing on ", line):
                service.process.kill()
        build.stdout.close()
        said = "".join(lines)
        assert build.wait(120) == 0, said
    assert "building here instead" in said
    assert "[INFO] last: Executing on this machine" in said
    assert (root / "out" / "dir" / "copy").read_text() == "seed\n" * 2
    assert sorted(path.name for path in (root / "out").iterdir()) == ["dir", "first", "slow"]
    assert list((root / ".builder" / "tmp").iterdir()) == []
