"""The programs that a target needs, as a part of its key: another compiler is another action.

A tool is looked up on this machine, in the PATH that the command will have, and goes into the
action's salt by the hash of its file, or by what its version command says.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from builder.action.encode import BASE_ENVIRONMENT
from builder.client.filestate import FileStates
from builder.project.model import Target, Tool

VERSION_TIMEOUT_S = 20.0


@dataclass(slots=True)
class Tools:
    """One per build; not for several threads at once. `memory`: a file for the hashes of tools.

    `read` and `absent` are paths that were looked at; `asked` is whether a tool told its version,
    which no look at files can stand for.
    """

    memory: Path
    read: set[str] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)
    asked: bool = False
    _files: FileStates | None = None
    _versions: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)

    def identities(self, target: Target) -> dict[str, str]:
        """What tells each tool from others of its name. Raises UsageError, with its place."""
        environment = {**BASE_ENVIRONMENT, **target.environment}
        found = {}
        for tool in target.tools:
            path = self._find(target, tool, environment["PATH"])
            found[tool.name] = (
                self._version(target, tool, path, environment)
                if tool.version
                else self._content(path)
            )
        return found

    def save(self) -> None:
        if self._files is not None:
            self._files.save()

    def _find(self, target: Target, tool: Tool, path: str) -> str:
        for directory in path.split(":"):
            candidate = os.path.join(directory or "/", tool.name)
            if shutil.which(candidate):
                self.read.update((candidate, os.path.realpath(candidate)))
                return candidate
            if not os.path.lexists(candidate):
                self.absent.add(candidate)
        raise target.source.error(
            tool.where,
            f"there is no program {tool.name!r} in {path} of this machine",
            _advice(tool.name, path),
        )

    def _content(self, path: str) -> str:
        if self._files is None:
            self._files = FileStates(Path("/"), self.memory)
        real = os.path.realpath(path)
        return self._files.file(real.lstrip("/")).digest.hash

    def _version(self, target: Target, tool: Tool, path: str, environment: dict[str, str]) -> str:
        self.asked = True
        key = (path, tool.version)
        if key not in self._versions:
            self._versions[key] = self._ask(target, tool, environment)
        return self._versions[key]

    def _ask(self, target: Target, tool: Tool, environment: dict[str, str]) -> str:
        shown = " ".join(tool.version)
        try:
            done = subprocess.run(
                tool.version,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=VERSION_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise target.source.error(tool.where, f"{shown!r} cannot be run: {error}") from None
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip()
            message = f"{shown!r} ends with exit code {done.returncode}: {said}"
            raise target.source.error(tool.where, message, "it should print the tool's version")
        return done.stdout.decode(errors="surrogateescape")


def _advice(name: str, path: str) -> str:
    """What to do about a tool that is not in this PATH."""
    found = shutil.which(name)
    if not found:
        return "install it, correct its name, or leave it out of 'tools'"
    wanted = f"{os.path.dirname(found)}:{path}"
    return f"yours is {found}: give the target 'env: {{PATH: \"{wanted}\"}}'"
