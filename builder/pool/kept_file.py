"""A file of JSON that outlives its coordinator: written whole, in the place of the one before."""

import json
import os
from pathlib import Path

from builder.base.errors import UsageError
from builder.telemetry.log import get_logger

log = get_logger()


def read(path: Path, what: str) -> object:
    """None, if there is no file. Raises UsageError for one that cannot be read, or is no JSON."""
    try:
        found: object = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"pool.forecast: {path} cannot be read: {error}") from error
    except ValueError as error:  # bad UTF-8 is one, too
        raise no_such(path, what) from error
    if found is None:
        raise no_such(path, what)
    return found


def no_such(path: Path, what: str) -> UsageError:
    return UsageError(f"pool.forecast: {path} is no {what}; remove it to begin anew")


def write(path: Path, value: object, what: str) -> None:
    """What cannot be written is missing after a restart, and said."""
    beside = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(value))
        os.replace(beside, path)
    except OSError as error:
        log.warning(f"The {what} is not kept", file=str(path), why=error.strerror)
