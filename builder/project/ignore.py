""".builderignore: what globs do not see, and where no packages are looked for.

One glob a line; `#` begins a comment. Without a `/` (but at its end) a glob means a name in any
directory, else a path from the workspace's own directory. A directory that is ignored hides all
that is beneath it. A file that an input names in full is there all the same.
"""

from dataclasses import dataclass

from builder.project.paths import PathError, Pattern, parents, pattern

FILE_NAME = ".builderignore"


@dataclass(frozen=True, slots=True)
class Ignored:
    """`names` are patterns of one segment, `paths` of whole paths."""

    names: tuple[Pattern, ...] = ()
    paths: tuple[Pattern, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.paths)

    def ignores(self, path: str) -> bool:
        """Of a file or directory in a directory that is not ignored."""
        name = path.rpartition("/")[2]
        return any(one.matches(name) for one in self.names) or any(
            one.matches(path) for one in self.paths
        )

    def hides(self, path: str) -> bool:
        """Whether it or a directory above it is ignored."""
        return any(self.ignores(one) for one in (path, *parents(path)))


def parse(text: str) -> Ignored:
    """Raises PathError, which names the line, for what is no glob."""
    names: list[Pattern] = []
    paths: list[Pattern] = []
    for number, line in enumerate(text.splitlines(), 1):
        written = line.partition("#")[0].strip()
        if not written:
            continue
        if written.startswith("!"):
            message = f"{FILE_NAME}:{number}: {written!r}: nothing is taken back here"
            raise PathError(message, "name what is to be ignored only")
        bare = written.rstrip("/").removeprefix("./")
        try:
            (paths if "/" in bare else names).append(pattern(bare.lstrip("/")))
        except PathError as error:
            raise PathError(f"{FILE_NAME}:{number}: {error}", error.hint) from None
    return Ignored(tuple(names), tuple(paths))
