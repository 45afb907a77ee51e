"""What was done to each target the last time, and the builds so far, for `explain` and `log`.

    .builder/history/index.json     the last action of each target
    .builder/history/t/NAME.json    what it was made of, why it was looked for, how it went
    .builder/history/builds.jsonl   one line for each build, newest last

Notes are best effort: without them a build is the same, and explains less.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from builder.action.difference import Notes, differences
from builder.client.filestate import replaced

MOST_BUILDS = 200
LINE_BYTES = 400  # about


@dataclass(slots=True)
class History:
    """`folder` is made when there is something to keep."""

    folder: Path
    _index: dict[str, str] = field(default_factory=dict)
    _changed: bool = False

    def __post_init__(self) -> None:
        found = _json(self.folder / "index.json")
        self._index = found if isinstance(found, dict) else {}

    def is_last(self, target: str, action: str) -> bool:
        """Whether this is the action that it had the last time."""
        return self._index.get(target) == action

    def note(self, target: str, action: str, notes: Notes, **how: Any) -> None:
        """A target was looked for under a new action, or ran. `how` is kept with it."""
        before = self.last(target)
        reasons = differences(before["notes"], notes) if before else []
        if before and not reasons:
            reasons = ["nothing changed; its result was not in the cache"]
        content = {"action": action, "at": time.time(), "notes": notes, "reasons": reasons, **how}
        with suppress(OSError):
            place = self._place(target)
            place.parent.mkdir(parents=True, exist_ok=True)
            with replaced(place) as temporary:
                temporary.write_text(json.dumps(content))
            self._index[target] = action
            self._changed = True

    def last(self, target: str) -> dict[str, Any] | None:
        """What was noted of it last."""
        found = _json(self._place(target))
        return found if isinstance(found, dict) and "notes" in found else None

    def save(self) -> None:
        if not self._changed:
            return
        with suppress(OSError), replaced(self.folder / "index.json") as temporary:
            temporary.write_text(json.dumps(self._index))
        self._changed = False

    def add_build(self, build: Mapping[str, Any]) -> None:
        path = self.folder / "builds.jsonl"
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(json.dumps(build) + "\n")
            if path.stat().st_size > 2 * MOST_BUILDS * LINE_BYTES:
                kept = path.read_text().splitlines()[-MOST_BUILDS:]
                with replaced(path) as temporary:
                    temporary.write_text("".join(line + "\n" for line in kept))

    def builds(self) -> list[dict[str, Any]]:
        """Newest last. A line that was cut by a crash is left out."""
        found = []
        with suppress(OSError):
            for line in (self.folder / "builds.jsonl").read_text().splitlines():
                with suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def _place(self, target: str) -> Path:
        return self.folder / "t" / f"{quote(target, safe='')[:200]}.json"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
