"""The project's own state: `.builder` beside the Builderfile, ignored by version control.

    .builder/.gitignore     `*`
    .builder/files.json     digests of files (see `filestate`)
    .builder/checked.json   the last good Builderfile, so that it is not parsed again
    .builder/times.json     how long each target took, for the order of the next build
    .builder/made.json      output directories and files of globs that we made, and may replace
    .builder/done/          receipts of builds (see `noop`)
    .builder/history/       what was done to each target (see `history`)
    .builder/tmp/           outputs on their way; what a killed build left there goes in time

All of it may be deleted at any time. Blobs and results are not here: they lie in the user's cache
directory, so that all checkouts share them.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.base.errors import BuilderError
from builder.client.filestate import replaced

NAME = ".builder"
STALE_S = 24 * 3600.0


class StateDirectory:
    """Made at once. Raises BuilderError when the project cannot be written to."""

    def __init__(self, root: Path) -> None:
        self.path = root / NAME
        try:
            (self.path / "tmp").mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise BuilderError(
                f"cannot write {self.path}: {error.strerror}; "
                "build in a directory that you may write to"
            ) from error
        self._remove_stale()

    @property
    def files(self) -> Path:
        return self.path / "files.json"

    @property
    def checked(self) -> Path:
        return self.path / "checked.json"

    @property
    def history(self) -> Path:
        return self.path / "history"

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty directory on the project's disk, removed afterwards with all that is in it."""
        path = Path(tempfile.mkdtemp(dir=self.path / "tmp"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def times(self) -> dict[str, float]:
        """Seconds by target; empty when nothing is known."""
        try:
            content = json.loads((self.path / "times.json").read_bytes())
            return {str(name): float(seconds) for name, seconds in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def save_times(self, times: Mapping[str, float]) -> None:
        with replaced(self.path / "times.json") as temporary:
            temporary.write_text(json.dumps({name: round(s, 3) for name, s in times.items()}))

    def made(self) -> set[str]:
        """Paths of output directories, and of files that a glob found."""
        try:
            content = json.loads((self.path / "made.json").read_bytes())
            return {str(path) for path in content}
        except (OSError, ValueError, TypeError):
            return set()

    def save_made(self, paths: Iterable[str]) -> None:
        with replaced(self.path / "made.json") as temporary:
            temporary.write_text(json.dumps(sorted(paths)))

    def _remove_stale(self) -> None:
        oldest = time.time() - STALE_S
        for path in (self.path / "tmp").iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path, ignore_errors=True)
