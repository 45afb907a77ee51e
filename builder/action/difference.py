"""What an action was made of, and in what it differs from another: in words.

The notes are plain values, so that they can be kept as JSON. They hold all that is in an action's
digest and nothing else: two notes without a difference are one action.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from builder.action.encode import BASE_ENVIRONMENT, Step, own_environment
from builder.action.tree import Entry, File, Link
from builder.reapi.pb import remote_execution_pb2 as pb
from builder.reapi.times import nanoseconds

Notes = dict[str, Any]
MOST_SHOWN = 10


def notes_of(step: Step, inputs: Mapping[str, Entry]) -> Notes:
    return {
        "arguments": list(step.arguments),
        "outputs": sorted(step.output_paths),
        "environment": own_environment(step),
        "platform": dict(step.platform),
        "timeout_s": step.timeout_s,
        "cacheable": step.cacheable,
        "salt": step.salt.hex(),
        "tools": dict(step.tools),
        "directory": step.directory,
        "inputs": {path: _looks(entry) for path, entry in inputs.items()},
    }


def notes_of_messages(action: pb.Action, command: pb.Command, inputs: Mapping[str, Entry]) -> Notes:
    """Of an action as another client has stored it."""
    timeout_s = nanoseconds(action.timeout) / 1e9
    platform = (action.platform if action.platform.properties else command.platform).properties
    return {
        "arguments": list(command.arguments),
        "outputs": sorted(command.output_paths),
        "environment": {pair.name: pair.value for pair in command.environment_variables},
        "platform": {pair.name: pair.value for pair in platform},
        "timeout_s": timeout_s if action.HasField("timeout") else None,
        "cacheable": not action.do_not_cache,
        "salt": action.salt.hex(),
        "directory": command.working_directory,
        "inputs": {path: _looks(entry) for path, entry in inputs.items()},
    }


def bare(notes: Notes) -> Notes:
    """Without what every command has, and without directories that other paths imply."""
    inputs: Mapping[str, str] = notes["inputs"]
    implied = {str(parent) for path in inputs for parent in PurePosixPath(path).parents}
    environment = notes["environment"].items() - BASE_ENVIRONMENT.items()
    return {
        **notes,
        "outputs": sorted(set(notes["outputs"])),
        "environment": dict(environment),
        "inputs": {path: looks for path, looks in inputs.items() if path not in implied},
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
        known = "tools" in old and "tools" in new
        tools = _of_tables("tool", old["tools"], new["tools"], values=False) if known else ()
        found += list(tools) or ["tools are other ones"]
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
    """Items that went and came, of a script its lines; a change of order alone is said as such."""
    if old == new:
        return
    before = [line for item in old for line in item.splitlines()]
    after = [line for item in new for line in item.splitlines()]
    gone = _without(before, after)
    come = _without(after, before)
    yield f"{what} {gone or 'without'} → {come or 'nothing'}" if gone or come else f"{what} changed"


def _without(lines: list[str], others: list[str]) -> str:
    known = set(others)
    left = [line.strip() for line in lines if line not in known]
    more = f" ... and {len(left) - MOST_SHOWN} more" if len(left) > MOST_SHOWN else ""
    return " ".join(left[:MOST_SHOWN]) + more
