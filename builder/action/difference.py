"""What an action was made of, and in what it differs from another: in words.

The notes are plain values, so that they can be kept as JSON. They hold all that is in an action's
digest and nothing else: two notes without a difference are one action.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from builder.action.encode import Step
from builder.action.tree import Entry, File, Link

Notes = dict[str, Any]
MOST_SHOWN = 10


def notes_of(step: Step, inputs: Mapping[str, Entry]) -> Notes:
    return {
        "arguments": list(step.arguments),
        "outputs": sorted(step.output_paths),
        "environment": dict(step.environment),
        "platform": dict(step.platform),
        "timeout_s": step.timeout_s,
        "cacheable": step.cacheable,
        "salt": step.salt.hex(),
        "directory": step.directory,
        "inputs": {path: _looks(entry) for path, entry in inputs.items()},
    }


def _looks(entry: Entry) -> str:
    match entry:
        case File(digest, executable):
            return f"{digest.hash}{' executable' if executable else ''}"
        case Link(target):
            return f"-> {target}"
    return "directory"


def differences(old: Notes, new: Notes) -> list[str]:
    """One line each; the inputs first, because they mostly are the reason."""
    found = list(_of_tables("input", old["inputs"], new["inputs"], values=False))
    found += _of_lists("command", old["arguments"], new["arguments"])
    found += _of_lists("outputs", old["outputs"], new["outputs"])
    found += _of_tables("env", old["environment"], new["environment"], values=True)
    found += _of_tables("platform", old["platform"], new["platform"], values=True)
    found += [
        f"{name} {old[key]} → {new[key]}"
        for key, name in (("timeout_s", "timeout"), ("cacheable", "cache"))
        if old[key] != new[key]
    ]
    if old.get("directory", "") != new["directory"]:
        found.append(f"directory {old.get('directory') or '.'} → {new['directory'] or '.'}")
    if old["salt"] != new["salt"]:
        found.append("tools are other ones")
    if len(found) > MOST_SHOWN:
        found[MOST_SHOWN:] = [f"... and {len(found) - MOST_SHOWN} more"]
    return found


def _of_tables(
    what: str, old: Mapping[str, str], new: Mapping[str, str], *, values: bool
) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        if key not in old:
            yield f"{what} {key} is new" + (f": {new[key]}" if values else "")
        elif key not in new:
            yield f"{what} {key} is gone"
        elif old[key] != new[key]:
            yield f"{what} {key} {old[key]} → {new[key]}" if values else f"{what} {key} changed"


def _of_lists(what: str, old: list[str], new: list[str]) -> Iterator[str]:
    """Items that went and came; a change of order alone, or of a script, is said as such."""
    if old == new:
        return
    gone = [item for item in old if item not in new and "\n" not in item]
    come = [item for item in new if item not in old and "\n" not in item]
    if gone or come:
        yield f"{what} {' '.join(gone) or 'without'} → {' '.join(come) or 'nothing'}"
    else:
        yield f"{what} changed"
