"""What lies in a directory, and on this machine, for those who write its first Builderfile."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.action.encode import BASE_ENVIRONMENT
from builder.client.walk import Walker
from builder.project.paths import Pattern, pattern

SKIPPED = [pattern(text) for text in ("build/", "vendor/", "node_modules/", ".venv/", "venv/")]
# Directories with mains of their own, mostly, that need more than the sources do.
ASIDE = [
    pattern(f"{name}/")
    for name in ("test", "tests", "testes", "testing", "example", "examples", "bench", "benchmarks")
]
READ_BYTES = 1024 * 1024
SHOWN = "/usr/"  # of this machine, to actions, whatever the configuration says


@dataclass(frozen=True, slots=True)
class Place:
    root: Path
    walker: Walker

    @property
    def name(self) -> str:
        """The directory's, as far as a target's name can be that."""
        kept = "".join(
            c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in self.root.name
        )
        return kept if kept[:1].isalnum() else "app"

    def has(self, name: str) -> bool:
        return (self.root / name).exists()

    def files(self, glob: str, *skipped: Pattern) -> list[str]:
        return self.walker.find([pattern(glob)], [*SKIPPED, *skipped])

    def sources(self, endings: tuple[str, ...]) -> list[str]:
        """Without those of tests and examples."""
        return [path for ending in endings for path in self.files(f"**/*{ending}", *ASIDE)]

    def text(self, path: str) -> str:
        """The first megabyte of it; empty if it cannot be read."""
        with suppress(OSError), open(self.root / path, "rb") as file:
            return file.read(READ_BYTES).decode(errors="replace")
        return ""

    def more(self, *names: str) -> str:
        """Those that are there, as further items of a list."""
        return "".join(f", {name}" for name in names if self.has(name.rstrip("/")))


def tools(*programs: str) -> str:
    """The keys of a target that needs these: its `tools`, and the PATH where actions would not find
    one of them; nothing of those that this machine does not have, or that actions are not shown."""
    usual = BASE_ENVIRONMENT["PATH"]
    added: list[str] = []
    named = []
    for program in programs:
        found = shutil.which(program, path=usual)
        if not found and (elsewhere := shutil.which(program)) and elsewhere.startswith(SHOWN):
            found = elsewhere
            added.append(os.path.dirname(elsewhere))
        if found:
            named.append(program)
    text = f"  tools: [{', '.join(named)}]\n" if named else ""
    if added:
        text += f'  env: {{PATH: "{":".join([*added, usual])}"}}\n'
    return text


def unseen(program: str) -> str:
    """Where this machine has a program that actions are not shown; empty where there is nothing to
    tell."""
    found = shutil.which(program)
    shown = shutil.which(program, path=BASE_ENVIRONMENT["PATH"])
    return "" if shown or not found or found.startswith(SHOWN) else found
