"""Bazel as a user runs it, in folders of its own, with its answers in a form to compare."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bazel import debian, workspace
from tests.e2e.service import environment

SUMMARY = re.compile(r"INFO: \d+ process(?:es)?: (.*)\.$", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """How a Bazel command ended: exit code, what it printed, and which ways its actions went."""

    code: int
    text: str

    @property
    def invocation(self) -> str:
        """Its id, which the client gives with each of its calls."""
        found = re.search(r"^INFO: Invocation ID: (\S+)$", self.text, re.MULTILINE)
        assert found, self.text
        return found[1]

    @property
    def ways(self) -> dict[str, int]:
        """For example {"internal": 97, "remote": 110}; empty when no build was done."""
        found = SUMMARY.findall(self.text)
        if not found:
            return {}
        pairs = [part.split(" ", 1) for part in found[-1].split(", ")]
        return {way: int(count) for count, way in pairs}


@dataclass(frozen=True)
class Bazel:
    """A workspace and a Bazel server for it."""

    folder: Path
    rc: Path

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def command(self, *arguments: str) -> list[str]:
        start = [f"--output_user_root={self.folder / 'out'}", "--nohome_rc"]
        start += [f"--bazelrc={self.rc}", "--host_jvm_args=-Xmx700m", "--max_idle_secs=120"]
        return ["bazel", *start, *arguments]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.workspace,
            env=environment(self.folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> Answer:
        with self.start(*arguments) as process:
            try:
                text, _ = process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Answer(process.returncode, text)

    def output(self, path: str) -> Path:
        return self.workspace / "bazel-bin" / path


def remote(address: str, salt: str = "", *more: str) -> list[str]:
    """Options that a user gives, and a platform property that no worker knows: by default such a
    one is ignored, but it makes every action of the build a new one.
    """
    options = [
        f"--remote_executor=grpc://{address}",
        "--remote_default_exec_properties=OSFamily=linux",
    ]
    options += ["--jobs=8", "--color=no", "--curses=no", "--show_progress_rate_limit=600"]
    if salt:
        options.append(f"--remote_default_exec_properties=salt={salt}")
    return [*options, *more]


@contextmanager
def installed(folder: Path) -> Iterator[Bazel]:
    """A Bazel with a fresh workspace; its server is shut down and its output removed."""
    folder.mkdir(parents=True)
    bazel = Bazel(folder, debian.prepare(folder / "repositories"))
    workspace.write(bazel.workspace)
    try:
        yield bazel
    finally:
        bazel.run("clean", "--expunge")
        bazel.run("shutdown")
